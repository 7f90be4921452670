/**
 * What must hold before a job is queued: free disk for what would be stored, and room among the user's waiting jobs. Each
 * throws a SkyError that names the limit and the way out. Called by routes-submit.ts; it changes nothing.
 */
import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import type { Shape } from "../../shared/job.ts";
import type { QuotaSubject } from "../../shared/scheduling.ts";
import type { Account } from "../../shared/users-policy.ts";
import { countWaiting, demandsWith, fullOfWaiting } from "../core/quota-views.ts";
import type { LiveParts } from "./job-watch.ts";
import type { ApiContext } from "./route.ts";

function mebibytes(bytes: number): number {
  return Math.floor(bytes / 1024 / 1024);
}

/** What a disk had a moment ago it still has: many submissions at once look once. Milliseconds. */
const diskLookMs = 250;
const lookedAt = new WeakMap<ApiContext, number>();

/** Throws ServerUnavailableError when a disk of the coordinator is nearly full. */
export async function requireDisk(context: ApiContext): Promise<void> {
  const start = performance.now();
  if (start - (lookedAt.get(context) ?? Number.NEGATIVE_INFINITY) < diskLookMs) {
    return;
  }
  const needed = context.config.limits.free_disk_mb;
  const folder = context.config.state_dir;
  // Beside its socket lie the files of a Redis of our own, maybe on another disk; those of a site's own Redis do not.
  const data = join(dirname(context.config.redis.socket), "appendonlydir");
  for (const [path, disk] of [
    [folder, await statfs(folder)],
    [data, await statfs(data).catch(() => null)],
  ] as const) {
    const free = disk === null ? needed : mebibytes(disk.bavail * disk.bsize);
    if (free < needed) {
      throw new SkyError(
        "ServerUnavailableError",
        `The coordinator's disk is nearly full (${free} MB free in ${path}, ${needed} MB are kept); no new jobs are taken.`,
        "Running and queued jobs go on. An admin must free space there.",
      );
    }
  }
  lookedAt.set(context, start);
}

const waitingHint = "Wait until some have run, or cancel some with `sky cancel`.";

/** Throws ValueError when the user has as many waiting jobs as the config or a quota allows. */
export function requireRoom(context: ApiContext, live: LiveParts, account: Account): void {
  const limit = context.config.limits.waiting_jobs_per_user;
  if (countWaiting(live.loop.state, account.uid) >= limit) {
    throw new SkyError(
      "ValueError",
      `You have ${limit} waiting jobs, which is the limit on cluster '${context.config.cluster}' (limits.waiting_jobs_per_user).`,
      waitingHint,
    );
  }
  const { uid, name: user, groups } = account;
  const full = fullOfWaiting(live.loop.state, { uid, user, groups });
  if (full !== null) {
    const { subject, limit, waiting } = full;
    const cluster = `on cluster '${context.config.cluster}'`;
    const text = `${quotaName(subject)} allows ${limit} waiting jobs ${cluster}, and ${waiting} wait.`;
    throw new SkyError("ValueError", text, `${waitingHint} \`sky quota\` shows your limits.`);
  }
}

/** Each different demand is looked at by itself in every full plan: one user's many must not keep the others' jobs waiting. */
export function requireFewDemands(context: ApiContext, live: LiveParts, { uid }: Account, shape: Shape): void {
  const limit = context.config.limits.waiting_demands_per_user;
  const count = demandsWith(live.loop.state, uid, shape);
  if (count > limit) {
    throw new SkyError(
      "ValueError",
      `Your waiting jobs would ask for ${count} different things, each way of \`any_of\` and \`ordered\` counted; ` +
        `${limit} is the limit on cluster '${context.config.cluster}' (limits.waiting_demands_per_user).`,
      "Let jobs ask for the same CPUs, memory, time and accelerators where you can: of equal ones more may wait.",
    );
  }
}

/** A quota, as the user reads it who is bound by it. */
function quotaName(subject: QuotaSubject): string {
  if (subject === "each") {
    return "The quota for each user";
  }
  return subject.startsWith("user:")
    ? `Your quota (${subject})`
    : `The quota of the group ${subject.slice("group:".length)}, whose members count together,`;
}
