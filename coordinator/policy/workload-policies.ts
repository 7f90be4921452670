/**
 * The gate of declared policies: holds the set that counts, judges every task before it is queued, and writes each
 * decision into the log. The set is read anew with each connection to the store; while it cannot be read, or anything in
 * it is damaged, nothing passes. Running jobs are never touched. Made by api/server.ts; called by the routes that submit.
 */
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { RequestId, Uid } from "../../shared/ids.ts";
import type { Judgement } from "../../shared/policy/judge.ts";
import { kindOf } from "../../shared/policy/task/kind.ts";
import { taskWith } from "../../shared/policy/task/adapter.ts";
import type { Task } from "../../shared/task.ts";
import { liveParts } from "../api/job-watch.ts";
import type { Log } from "../log.ts";
import type { ApiParts, Store } from "../parts.ts";
import { type DecisionLine, keptViolation, keptWorkload } from "./decision-line.ts";
import type { DecisionLog } from "./decision-log.ts";
import { caseOf, judge, linesOf, outcomeOf, rejection, unbound } from "./judge.ts";
import type { WorkloadDecision, WorkloadGate, WorkloadRequest } from "./parts.ts";
import { type PolicyPlace, PolicySet } from "./policy-set.ts";

/** Does work of a user when it is that user's turn (api/turns.ts). */
export type Turn = <T>(uid: Uid, work: () => T) => Promise<T>;

/** Whether anything would be queued for it. */
function hasWork({ setup, run, runGenerator, workdir, fileMounts = [], volumes = [] }: Task): boolean {
  const scripts = [setup, run, runGenerator ?? null, workdir ?? null];
  return scripts.some((part) => part !== null) || fileMounts.length > 0 || volumes.length > 0;
}

/** Whether the product's own rules have nothing to say of it: then a cluster without policies costs nothing. */
function isPlain({ workload, imageOptions }: Task): boolean {
  return workload === undefined && imageOptions === undefined;
}

export class WorkloadPolicies implements WorkloadGate {
  readonly place: PolicyPlace;
  readonly decisions: DecisionLog;
  readonly #parts: ApiParts;
  readonly #turn: Turn;
  readonly #log: Log;
  #loaded: { from: Store; set: Promise<PolicySet> } | null = null;

  constructor(parts: ApiParts, place: PolicyPlace, decisions: DecisionLog, turn: Turn, log: Log) {
    this.#parts = parts;
    this.place = place;
    this.decisions = decisions;
    this.#turn = turn;
    this.#log = log;
    // Read before the first submission asks for it.
    parts.onLive(() => void this.set().catch(() => undefined));
  }

  /** The set that counts now. Throws ServerUnavailableError while there is no store. */
  set(): Promise<PolicySet> {
    const { store } = liveParts(this.#parts);
    if (this.#loaded?.from !== store) {
      const loaded = { from: store, set: this.#read(store) };
      this.#loaded = loaded;
      loaded.set.catch(() => {
        if (this.#loaded === loaded) {
          this.#loaded = null;
        }
      });
    }
    return this.#loaded.set;
  }

  /** From here on this set counts: what it was made from is on disk in `store`. */
  replace(store: Store, set: PolicySet): void {
    if (this.#loaded?.from === store) {
      this.#loaded = { from: store, set: Promise.resolve(set) };
      this.#tell(set);
    }
  }

  /** The set, if tasks can be judged by it. */
  async soundSet(): Promise<PolicySet> {
    const set = await this.set();
    if (set.fault !== null) {
      const hint = "Jobs that are queued or run go on. An admin can save the policy again, roll it back or delete it.";
      throw new SkyError("ServerUnavailableError", `Nothing can be submitted: ${set.fault}`, hint);
    }
    return set;
  }

  async decide(request: WorkloadRequest): Promise<WorkloadDecision> {
    const { task, account } = request;
    if (!hasWork(task)) {
      // SkyPilot's `sky launch -c NAME ''`: nothing is queued, so nothing is there to be bound.
      return { task, project: null, kind: kindOf(task), lines: [], warned: [], queued: () => undefined };
    }
    const set = await this.soundSet();
    const { judgement, made } = await this.#turn(account.uid, () => {
      const asked = caseOf(set, task, account, this.place);
      if (set.policies.size === 0 && isPlain(task)) {
        return { judgement: unbound(asked), made: task };
      }
      const found = judge(set, asked, Date.now());
      const isRefused = found.violations.length > 0;
      return { judgement: found, made: isRefused ? task : taskWith(task, found.effective, account) };
    });
    if (judgement.violations.length > 0) {
      this.decisions.add(this.#lineOf(request, judgement, null, task.name));
      throw rejection(judgement);
    }
    return {
      task: made,
      project: judgement.case.project,
      kind: judgement.case.kind,
      lines: linesOf(judgement),
      warned: judgement.warned,
      queued: (jobId, jobName) => this.decisions.add(this.#lineOf(request, judgement, jobId, jobName)),
    };
  }

  /** The refusal of an admin policy, for the log. */
  refused(request: { id: RequestId; name: string; account: { uid: Uid; name: string } }, text: string): void {
    const time = Date.now();
    this.decisions.add({
      ...{ format: 1, time, at: time / 1000, uid: request.account.uid, user: request.account.name, project: null },
      ...{ kind: null, request_id: request.id, request: request.name, job_id: null, job_name: null },
      ...{ outcome: "rejected", by: "admin policy", policies: [], violations: [], changed: [], text, ways: null },
    });
  }

  #lineOf(
    { id, name, account }: WorkloadRequest,
    judgement: Judgement,
    jobId: number | null,
    jobName: string | null,
  ): DecisionLine {
    const time = Date.now();
    const { kind, project, ways } = judgement.case;
    const outcome = outcomeOf(judgement);
    const { violations, excepted, warned, audited } = judgement;
    return {
      ...{ format: 1, time, at: time / 1000, uid: account.uid, user: account.name, project, kind },
      ...{ request_id: id, request: name, job_id: jobId, job_name: jobName, outcome },
      by: outcome === "rejected" ? "workload policy" : null,
      policies: judgement.policies,
      violations: [...violations, ...excepted, ...warned, ...audited].map(keptViolation),
      changed: judgement.changed,
      text: null,
      ways: ways.map(({ label, workload }) => ({ label, workload: keptWorkload(workload) })),
    };
  }

  async #read(store: Store): Promise<PolicySet> {
    try {
      const set = new PolicySet(await store.policies.load(), this.place);
      this.#tell(set);
      return set;
    } catch (error) {
      this.#log.error({ cause: messageOf(error) }, "the policies cannot be read");
      throw error;
    }
  }

  #tell({ warnings, fault }: PolicySet): void {
    for (const warning of warnings) {
      this.#log.warn(warning);
    }
    if (fault !== null) {
      this.#log.error({ fault }, "nothing can be submitted until an admin has mended the policies");
    }
  }
}
