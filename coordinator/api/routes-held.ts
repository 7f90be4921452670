/**
 * What admins do with jobs that a restore has put back and that wait: look at them, let them start, or cancel them. A
 * job may have run after the backup, and a node that has not reported may be running it now, so nothing is released
 * before every node has spoken, unless the admin says so. Unknown keys are errors.
 */
import {
  type HeldChoice,
  type HeldResult,
  heldResultSchema,
  heldRowsMax,
  releaseBodySchema,
  type ReleaseResult,
} from "../../shared/held-api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { ActiveJob, State } from "../core/state.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import { json, plainRoute, type Route, route, type RouteCall } from "./route.ts";
import type { z } from "zod";

/** Held jobs by user and number. */
function heldJobs(state: State): ActiveJob[] {
  return [...state.jobs.values()]
    .filter(({ record }) => record.phase === "waiting" && record.restoredFrom !== undefined)
    .sort((a, b) => a.uid - b.uid || a.id - b.id);
}

function silentNodes(state: State): string[] {
  return [...state.nodes.values()].filter((node) => !node.reported).map((node) => node.name);
}

/** Throws when one of the choices names nothing that is held; nothing has been done then. */
function chosen(held: ActiveJob[], choices: HeldChoice[] | null): ActiveJob[] {
  if (choices === null) {
    return held;
  }
  return choices.flatMap(({ user, jobs }) => {
    const own = held.filter((job) => job.record.user === user);
    const missing = jobs?.find((id) => !own.some((job) => job.id === id));
    if (own.length === 0 || missing !== undefined) {
      const what = missing === undefined ? `No job of '${user}' is held` : `Job ${missing} of '${user}' is not held`;
      throw new SkyError("ValueError", `${what}. Nothing was done.`, "`sky admin release` lists those that are.");
    }
    return own.filter((job) => jobs === null || jobs.includes(job.id));
  });
}

async function release(call: RouteCall<z.infer<typeof releaseBodySchema>>): Promise<ReleaseResult> {
  const { loop } = liveParts(call.context.parts);
  const { choices, cancel, anyway } = call.body;
  const jobs = chosen(heldJobs(loop.state), choices);
  const silent = silentNodes(loop.state);
  if (!cancel && !anyway && silent.length > 0) {
    throw new SkyError(
      "ValueError",
      `${silent.slice(0, 8).join(", ")} ${silent.length === 1 ? "has" : "have"} not reported yet and may be running some of these jobs. Nothing was released.`,
      "Wait for them (`sky admin nodes`), remove nodes that are gone, or release --anyway.",
    );
  }
  const { account, context } = call;
  const action = cancel ? "cancel-held" : "release-held";
  context.log.info({ admin: account.name, uid: account.uid, action, jobs: jobs.length, choices }, "an admin acted");
  const type = cancel ? "cancelRequested" : "jobsReleased";
  const uids = [...new Set(jobs.map((job) => job.uid))];
  const idsOf = (uid: number): number[] => jobs.filter((job) => job.uid === uid).map((job) => job.id);
  await Promise.all(uids.map((uid) => loop.dispatch({ type, uid, ids: idsOf(uid) })));
  return { jobs: jobs.map((job) => ({ user: job.record.user, job_id: job.id })) };
}

export const heldRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/admin/held",
    identity: "admin",
    summary: "Waiting jobs that a restore has put back and that nobody has released yet.",
    reply: heldResultSchema,
    handle: async ({ context }) => {
      const { loop } = liveParts(context.parts);
      const held = heldJobs(loop.state);
      const jobs = held.slice(0, heldRowsMax).map(({ id, record }) => ({
        ...{ user: record.user, job_id: id, name: record.name, resources: record.resourcesText },
        ...{ submitted_at: record.submittedAt / 1000, restored_from: record.restoredFrom ?? "" },
      }));
      const result: HeldResult = { total: held.length, silent: silentNodes(loop.state), jobs };
      return json(result);
    },
  }),
  route({
    method: "POST",
    path: "/onprem/admin/release",
    identity: "admin",
    summary: "Lets held jobs start, or cancels them.",
    body: releaseBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.release", cluster: null, readOnly: false }, () => release(call)),
  }),
];
