/**
 * POST /queue, /job_status and /cancel: what a user sees and does with jobs that exist. Every look-up carries the
 * caller's uid, so another user's job is simply not there. A cancel is answered when it is durable.
 */
import type { z } from "zod";
import { type QueueRow, cancelBodySchema, jobStatusBodySchema, queueBodySchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { JobId } from "../../shared/ids.ts";
import { type JobStatus, statusOf } from "../../shared/job.ts";
import { jobsToCancel, queueRowOf, queueRows } from "../core/views.ts";
import { startCall } from "./call.ts";
import { isAdmin } from "./identity.ts";
import { latestJob, liveParts, readJobs } from "./job-watch.ts";
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
  const viewer = { uid, isAdmin: isAdmin(account, context.config.admin_group) };
  // In the caller's turn: the reasons of many jobs take a while, and whoever asks again and again waits for it.
  const { rows, own } = await context.turns.run(uid, () => ({
    rows: queueRows(state, body.all_users ? null : uid, viewer, Date.now()),
    own: new Map([...state.jobs.values()].filter((job) => job.uid === uid).map(({ id, record }) => [id, record])),
  }));
  // Read after the rows: a job that moves in between is in both, and one whose end is being written in one of the two.
  const limit = context.config.limits.finished_jobs_kept_per_user;
  const finished = body.skip_finished ? [] : await live.queue.finished(uid, limit);
  const listed = new Set(finished.map((job) => job.id));
  const ending = [...own].filter(([id, { phase }]) => !body.skip_finished && phase === "ended" && !listed.has(id));
  for (const [id, record] of ending) {
    rows.push(queueRowOf({ id, record }, record.reason, null));
  }
  for (const job of finished.filter(({ id }) => (own.get(id)?.phase ?? "ended") === "ended")) {
    rows.push(queueRowOf({ id: job.id, record: job.record }, job.record.reason, null));
  }
  // SkyPilot's own client takes no row without a name.
  const named = isPythonClient(call.header("user-agent")) ? rows.map(withName) : rows;
  return named.sort((a, b) => b.submitted_at - a.submitted_at || b.job_id - a.job_id);
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
