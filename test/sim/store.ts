/**
 * The durable store as the coordinator's adapters promise it: what was answered is on disk, what was under way at a
 * crash may be or may not be. Copies can be taken and put back, as an admin restores a backup. Used by coordinator.ts.
 */
import type { SetupState } from "../../coordinator/core/state.ts";
import type { JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { NodeAdmin } from "../../shared/node-admin.ts";
import { type Job, type JobRecord, jobRecordSchema } from "../../shared/job.ts";
import {
  type NodeWindow,
  type Person,
  type Quota,
  type QuotaSubject,
  type UsageLine,
  usageLineSchema,
  usageName,
} from "../../shared/scheduling.ts";
import * as before from "../wire/protocol-1/job.ts";

export class DurableStore {
  readonly stateId: string;
  epoch = 0;
  lastIds = new Map<Uid, JobId>();
  records = new Map<string, Job>();
  setups = new Map<Uid, SetupState>();
  admins = new Map<NodeName, NodeAdmin>();
  /** When each job was taken for its present attempt, by the coordinator's wall clock. */
  takenAt = new Map<string, number>();
  usage = new Map<string, UsageLine>();
  people = new Map<Uid, Person>();
  quotas = new Map<QuotaSubject, Quota>();
  windows = new Map<string, NodeWindow>();

  constructor(stateId: string) {
    this.stateId = stateId;
  }

  add(record: JobRecord): JobId {
    const id = (this.lastIds.get(record.uid) ?? 0) + 1;
    this.lastIds.set(record.uid, id);
    this.write(id, record);
    return id;
  }

  write(id: JobId, record: JobRecord): void {
    this.records.set(`${record.uid}/${id}`, { id, record: jobRecordSchema.parse(record) });
    // A rollback must find every job that uses nothing new.
    const { recovers, priority, timeLimitSeconds, limits, graceSeconds, terminateAfterPreemption } = record.shape;
    const bounds = [limits, graceSeconds, terminateAfterPreemption];
    const isNew = [recovers, priority, timeLimitSeconds, record.restoredFrom, ...bounds].some(
      (one) => one !== undefined,
    );
    if (!isNew) {
      before.jobRecordSchema.parse(record);
    }
  }

  copy(): DurableStore {
    const copy = new DurableStore(this.stateId);
    copy.epoch = this.epoch;
    copy.lastIds = new Map(this.lastIds);
    copy.records = new Map(this.records);
    copy.setups = new Map(this.setups);
    copy.admins = new Map(this.admins);
    copy.takenAt = new Map(this.takenAt);
    copy.usage = new Map(this.usage);
    copy.people = new Map(this.people);
    copy.quotas = new Map(this.quotas);
    copy.windows = new Map(this.windows);
    return copy;
  }

  count(lines: readonly UsageLine[]): void {
    for (const line of lines) {
      this.usage.set(usageName(line), usageLineSchema.parse(line));
    }
  }

  unfinished(): (Job & { takenAt: number | null })[] {
    const left = [...this.records].filter(([, job]) => job.record.phase !== "ended");
    return left.map(([key, job]) => ({ ...job, takenAt: this.takenAt.get(key) ?? null }));
  }
}
