/**
 * POST /queue, /job_status and /cancel: what a user sees and does with jobs that exist. Every look-up carries the
 * caller's uid, so another user's job is simply not there. A cancel is answered when it is durable.
 */
import type { z } from "zod";
import { type QueueRow, cancelBodySchema, jobStatusBodySchema, queueBodySchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { JobId, Uid } from "../../shared/ids.ts";
import { type Job, type JobStatus, statusOf } from "../../shared/job.ts";
import { jobsToCancel, queueRowOf, queueRows } from "../core/views.ts";
import { jobKey } from "../core/state.ts";
import { startCall } from "./call.ts";
import { isAdmin } from "./identity.ts";
import { latestJob, type LiveParts, liveParts, readJobs } from "./job-watch.ts";
import { type Route, type RouteCall, type RouteReply, route } from "./route.ts";
import { isPythonClient } from "./skypilot-dialect.ts";

/** Newest first, unfinished and finished alike, as SkyPilot lists them. */
async function queueRowsFor(call: RouteCall<z.infer<typeof queueBodySchema>>): Promise<QueueRow[]> {
  const { context, account, body } = call;
  const live = liveParts(context.parts);
  const { uid } = account;
  if (body.all_users && !isAdmin(account, context.config.admin_group)) {
    const text = `Jobs of all users are shown to members of the group '${context.config.admin_group}' only.`;
    throw new SkyError("PermissionDeniedError", text, "Your own: sky queue");
  }
  const { state } = live.loop;
  const limit = context.config.limits.finished_jobs_kept_per_user;
  const viewer = { uid, isAdmin: isAdmin(account, context.config.admin_group) };
  // In the caller's turn: the reasons of many jobs take a while, and whoever asks again and again waits for it.
  const { rows, held } = await context.turns.run(uid, () => ({
    rows: queueRows(state, body.all_users ? null : uid, viewer, Date.now()),
    held: new Map([...state.jobs].filter(([, job]) => body.all_users || job.uid === uid)),
  }));
  if (!body.skip_finished) {
    // Read after the rows: a job that moves in between is in both, and one whose end is being written in one of the two.
    const finished = await finishedJobs(live, body.all_users ? null : uid, limit);
    const listed = new Set(finished.map(({ id, record }) => jobKey(record.uid, id)));
    const ending = [...held].filter(([key, { record }]) => record.phase === "ended" && !listed.has(key));
    const ended = finished.filter(({ id, record }) => {
      return (held.get(jobKey(record.uid, id))?.record.phase ?? "ended") === "ended";
    });
    for (const { id, record } of [...ending.map(([, job]) => job), ...ended]) {
      rows.push(queueRowOf({ id, record }, record.reason, null));
    }
  }
  // SkyPilot's own client takes no row without a name.
  const named = isPythonClient(call.header("user-agent")) ? rows.map(withName) : rows;
  return named.sort((a, b) => b.submitted_at - a.submitted_at || b.job_id - a.job_id);
}

/**
 * Finished jobs, newest first: of one user all that are kept, which are `limit`. Of everybody (`of` null) no more than
 * that in all, the newest of each user in equal parts, so that a look at all users costs about what one at oneself does.
 */
async function finishedJobs(live: LiveParts, of: Uid | null, limit: number): Promise<Job[]> {
  if (of !== null) {
    return live.queue.finished(of, limit);
  }
  const uids = await live.queue.users();
  const part = Math.max(1, Math.floor(limit / uids.length));
  const found: Job[] = [];
  for (const uid of uids) {
    found.push(...(await live.queue.finished(uid, part)));
  }
  const endOf = ({ record }: Job): number => record.endedAt ?? record.submittedAt;
  return found.sort((one, other) => endOf(other) - endOf(one)).slice(0, limit);
}

function withName(row: QueueRow): QueueRow {
  return { ...row, job_name: row.job_name ?? "-" };
}

async function statusesFor(
  call: RouteCall<z.infer<typeof jobStatusBodySchema>>,
): Promise<Record<string, JobStatus | null>> {
  const live = liveParts(call.context.parts);
  const { uid } = call.account;
  let ids: readonly JobId[] | null = call.body.job_ids;
  if (ids === null) {
    const latest = await latestJob(live, uid);
    ids = latest === null ? [] : [latest];
  }
  const asked = ids.slice(0, 1000);
  const records = await readJobs(live, uid, asked);
  return Object.fromEntries(
    asked.map((id) => {
      const record = records.get(id);
      return [String(id), record === undefined ? null : statusOf(record)];
    }),
  );
}

async function cancel(call: RouteCall<z.infer<typeof cancelBodySchema>>): Promise<RouteReply> {
  const { context, account, body } = call;
  if (body.all_users) {
    throw new SkyError(
      "NotSupportedError",
      "Cancelling other users' jobs is not supported.",
      "`sky cancel -a` cancels all of yours.",
    );
  }
  return startCall(call, { name: "cancel", cluster: body.cluster_name, readOnly: false }, async (running) => {
    const live = liveParts(context.parts);
    const asked = body.job_ids;
    const named = asked === null || asked.length === 0 ? null : asked;
    // Looked up once: what is carried out again after a restart must not cancel the next job instead.
    const ids = await running.once(() => jobsToCancel(live.loop.state, account.uid, { ids: named, all: body.all }));
    running.signal.throwIfAborted();
    const missed = (asked ?? []).filter((id) => !body.all && !ids.includes(id));
    if (missed.length > 0) {
      running.print(`You have no unfinished job ${missed.join(", ")}.\n`);
    }
    if (ids.length === 0) {
      running.print("No jobs to cancel.\n");
      return ids;
    }
    await live.loop.dispatch({ type: "cancelRequested", uid: account.uid, ids });
    running.print(`Cancelling jobs (${ids.join(", ")}).\n`);
    return ids;
  });
}

export const jobRoutes: Route[] = [
  route({
    method: "POST",
    path: "/queue",
    identity: "account",
    summary: "The caller's jobs, newest first; with all_users those of everybody, for admins.",
    body: queueBodySchema,
    handle: async (call) =>
      startCall(call, { name: "queue", cluster: call.body.cluster_name, readOnly: true }, () => queueRowsFor(call)),
  }),
  route({
    method: "POST",
    path: "/job_status",
    identity: "account",
    summary: "Statuses of the caller's jobs by number; null: no such job. Without numbers: the latest.",
    body: jobStatusBodySchema,
    handle: async (call) =>
      startCall(call, { name: "job_status", cluster: call.body.cluster_name, readOnly: true }, () => statusesFor(call)),
  }),
  route({
    method: "POST",
    path: "/cancel",
    identity: "account",
    summary: "Cancels the caller's jobs: by number, all, or the latest; gives the numbers that are being cancelled.",
    body: cancelBodySchema,
    handle: async (call) => cancel(call),
  }),
];
