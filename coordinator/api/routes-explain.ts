/**
 * GET /onprem/explain: why one job waits and when it starts, where it runs, or how it ended. Everybody may ask about
 * their own jobs, admins about anybody's; another user's job is simply not there. Names in the answer are those that the
 * config shows to the caller. It changes nothing.
 */
import * as z from "zod";
import { SkyError } from "../../shared/errors.ts";
import { type ExplainResult, explainResultSchema } from "../../shared/explain-api.ts";
import { clusterNameSchema, type JobId, type Uid, userNameSchema } from "../../shared/ids.ts";
import type { Account } from "../../shared/users-policy.ts";
import { explainEnded, explainJob, type Reader } from "../core/explain-result.ts";
import { type JobKey, jobKey } from "../core/state.ts";
import { isAdmin } from "./identity.ts";
import { liveParts, type LiveParts } from "./job-watch.ts";
import { type ApiContext, json, plainRoute, type Route } from "./route.ts";

const querySchema = z.strictObject({
  job: z.coerce
    .number()
    .int()
    .min(1)
    .max(2 ** 31),
  /** Whose job; default: the caller's. */
  user: userNameSchema.optional(),
  /** What the caller calls the cluster, for the commands in the answer. */
  cluster: clusterNameSchema.optional(),
});
type Query = z.infer<typeof querySchema>;

/** The uid of a user who has ever sent a job; null: there is none of this name. */
function uidOf(live: LiveParts, name: string): Uid | null {
  for (const person of live.loop.state.people.values()) {
    if (person.user === name) {
      return person.uid;
    }
  }
  for (const job of live.loop.state.jobs.values()) {
    if (job.record.user === name) {
      return job.uid;
    }
  }
  return null;
}

function whoseJob(context: ApiContext, live: LiveParts, account: Account, query: Query): Uid {
  if (query.user === undefined || query.user === account.name) {
    return account.uid;
  }
  if (!isAdmin(account, context.config.admin_group)) {
    const text = `Jobs of other users are explained to members of the group '${context.config.admin_group}' only.`;
    throw new SkyError("PermissionDeniedError", text, `Your own: sky explain ${query.job}`);
  }
  const uid = uidOf(live, query.user);
  if (uid === null) {
    throw new SkyError("JobNotFoundError", `No user '${query.user}' has jobs here.`, "`sky queue -u` lists all jobs.");
  }
  return uid;
}

/** Of a job that is not finished; null: it is. In the caller's turn: whoever asks again and again waits for it. */
function explainedNow(
  context: ApiContext,
  account: Account,
  { loop }: LiveParts,
  key: JobKey,
  reader: Reader,
): Promise<ExplainResult | null> {
  return context.turns.run(account.uid, () => {
    const job = loop.state.jobs.get(key);
    return job === undefined ? null : explainJob(loop.state, job, reader);
  });
}

async function explained(context: ApiContext, account: Account, query: Query): Promise<ExplainResult> {
  const live = liveParts(context.parts);
  const uid = whoseJob(context, live, account, query);
  const id: JobId = query.job;
  const reader = {
    viewer: { uid: account.uid, isAdmin: isAdmin(account, context.config.admin_group) },
    cluster: query.cluster ?? context.config.cluster,
    now: Date.now(),
  };
  const running = await explainedNow(context, account, live, jobKey(uid, id), reader);
  if (running !== null) {
    return running;
  }
  const record = await live.queue.read(uid, id);
  if (record === null) {
    const whose = uid === account.uid ? "You have" : `${query.user} has`;
    throw new SkyError("JobNotFoundError", `${whose} no job ${id} on cluster '${reader.cluster}'.`, "See `sky queue`.");
  }
  // It may have been submitted since it was looked for among those that are not finished.
  return (await explainedNow(context, account, live, jobKey(uid, id), reader)) ?? explainEnded(id, record, reader);
}

export const explainRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/explain",
    identity: "account",
    summary: "Why a job waits and when it starts, where it runs, or how it ended: ?job=N, for admins with &user=NAME.",
    query: querySchema,
    reply: explainResultSchema,
    handle: async ({ context, account, query }) => json(await explained(context, account, query)),
  }),
];
