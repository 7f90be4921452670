/**
 * The last step of a stopped attempt: that nothing of it is left. The skylet says so of its user's processes; where
 * cgroups exist root's own view counts, also when the skylet does not do its part. It ends nothing but what is in the
 * attempt's own cgroup. Called by agent/skylets.ts and agent/loop.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { AttemptId, Uid } from "../shared/ids.ts";
import type { Cgroups } from "./cgroup.ts";
import type { AgentEvent } from "./core/state.ts";

/** Between two tries at processes that no signal ends (a hung disk, for instance). */
const clearAgainMs = 2_000;

export class Clearing {
  private readonly cgroups: Cgroups;
  private readonly log: Logger;
  private readonly settle: (event: AgentEvent) => Promise<void>;
  private readonly underWay = new Set<AttemptId>();

  constructor(cgroups: Cgroups, log: Logger, settle: (event: AgentEvent) => Promise<void>) {
    this.cgroups = cgroups;
    this.log = log;
    this.settle = settle;
  }

  /** The skylet says that the attempt is gone; one look at a time, however often it says so. `attemptGone` follows once the cgroup says so too. */
  async gone(uid: Uid, attempt: AttemptId): Promise<void> {
    if (this.underWay.has(attempt)) {
      return;
    }
    this.underWay.add(attempt);
    while (!(await this.cgroups.clear(attempt))) {
      this.log.error({ uid, attempt }, "processes of a stopped job cannot be ended; trying again");
      await delay(clearAgainMs);
    }
    this.underWay.delete(attempt);
    await this.settle({ type: "attemptGone", uid, attempt });
  }

  /** The skylet has not stopped the attempt in time. */
  overdue(uid: Uid, attempt: AttemptId): void {
    if (this.cgroups.folder === null) {
      this.log.warn(
        { uid, attempt },
        "a stopped job is not gone, and without cgroups only its user's skylet can end it",
      );
      return;
    }
    this.log.warn({ uid, attempt }, "a user's skylet has not ended a stopped job in time; ending it without it");
    void this.gone(uid, attempt);
  }
}
