/**
 * SkyPilot's routes that its client calls beside the ones that do something here: lists that are empty, the one cluster
 * as infrastructure and workspace, names for completion, and what has no meaning on machines of one's own, refused with
 * the reason. They change nothing. Declared to app.ts.
 */
import * as z from "zod";
import { SkyError } from "../../shared/errors.ts";
import { schedulingOf } from "../config.ts";
import { neverFits } from "../core/never-fits.ts";
import { lookBodySchema, lookedAt } from "./admin-policy-step.ts";
import { startCall } from "./call.ts";
import { shapeOf } from "./job-shape.ts";
import { liveParts } from "./job-watch.ts";
import type { Call } from "./request-entry.ts";
import { flagSchema, json, plainRoute, type Route, type RouteCall, route } from "./route.ts";

const workspaceResultSchema = z.object({
  workspace: z.string().nullable(),
  source: z.string().nullable(),
  note: z.string().nullable(),
  preferred: z.null(),
  accessible: z.array(z.string()),
});
const anyBodySchema = z.object({});
const endpointsBodySchema = z.object({ cluster: z.string() });

/** `{method path: [request name, what it gives]}`: there is nothing of it here. */
const emptyLists: readonly [Route["method"], string, string, unknown][] = [
  ["POST", "/jobs/queue", "jobs.queue", []],
  ["POST", "/jobs/queue/v2", "jobs.queue_v2", { jobs: [], total: 0, total_no_filter: 0, status_counts: {} }],
  ["POST", "/jobs/pool_status", "jobs.pool_status", []],
  ["POST", "/serve/status", "serve.status", []],
  ["POST", "/cost_report", "cost_report", []],
  ["POST", "/cluster_events", "cluster_events", []],
  ["POST", "/slurm_gpu_availability", "realtime_slurm_gpu_availability", []],
  ["POST", "/slurm_node_info", "slurm_node_info", []],
  ["GET", "/storage/ls", "storage_ls", []],
  ["GET", "/volumes", "volume_list", []],
];

const managedJobs =
  "Managed jobs (`sky jobs`) are not run on this cluster. `sky launch` and `sky exec` queue jobs here.";
const services = "Services (`sky serve`) are not run on this cluster.";
const pools = "Pools of managed jobs are not run on this cluster.";
const volumes = "An admin publishes volumes in the coordinator's config; they are not made by users.";
const buckets = "This cluster keeps no buckets.";
const machines = "The machines of this cluster are their owners'; they are not made or removed by SkyPilot.";

/** `[path, request name, why not]`. */
const refusals: readonly [string, string, string][] = [
  ["/jobs/launch", "jobs.launch", managedJobs],
  ["/jobs/cancel", "jobs.cancel", managedJobs],
  ["/jobs/logs", "jobs.logs", managedJobs],
  ["/jobs/wait", "jobs.wait", managedJobs],
  ["/jobs/download_logs", "jobs.download_logs", managedJobs],
  ["/jobs/pool_apply", "jobs.pool_apply", pools],
  ["/jobs/pool_down", "jobs.pool_down", pools],
  ["/jobs/pool_logs", "jobs.pool_logs", pools],
  ["/serve/up", "serve.up", services],
  ["/serve/update", "serve.update", services],
  ["/serve/down", "serve.down", services],
  ["/serve/terminate-replica", "serve.terminate_replica", services],
  ["/serve/logs", "serve.logs", services],
  ["/volumes/apply", "volume_apply", volumes],
  ["/volumes/delete", "volume_delete", volumes],
  ["/storage/delete", "storage_delete", buckets],
  ["/local_up", "local_up", machines],
  ["/local_down", "local_down", machines],
  ["/provision_logs", "provision_logs", "Nothing is provisioned here; `sky logs` has the log of a job's setup."],
  ["/hook_logs", "hook_logs", "Machines of one's own are not stopped, so there are no hooks for that."],
];

function emptyList([method, path, name, value]: (typeof emptyLists)[number]): Route {
  const start = (call: RouteCall<unknown>) =>
    startCall(call, { name, cluster: null, readOnly: true }, async () => value);
  const about = { path, identity: "account" as const, summary: "There is none here: an empty list." };
  return method === "GET"
    ? plainRoute({ ...about, reply: "request", method, handle: start })
    : route({ ...about, method, body: anyBodySchema, handle: start });
}

function refused([path, name, reason]: (typeof refusals)[number]): Route {
  return route({
    method: "POST",
    path,
    identity: "account",
    summary: `Refused. ${reason}`,
    body: anyBodySchema,
    handle: (call) =>
      startCall(call, { name, cluster: null, readOnly: true }, async () => {
        throw new SkyError("NotSupportedError", reason);
      }),
  });
}

/** The cluster takes the place of a plan: whether the policies let the task pass, and whether it can ever run. */
async function optimize(call: RouteCall<z.infer<typeof lookBodySchema>>, running: Call): Promise<string> {
  const { context, account } = call;
  const { loop } = liveParts(context.parts);
  const scheduling = schedulingOf(context.config);
  const asked = await lookedAt(call, "optimize", running);
  const { id } = running;
  const { task, lines } = await context.policies.decide({ id, name: "optimize", account, task: asked, dryrun: true });
  const never = await context.turns.run(account.uid, () => neverFits(loop.state, shapeOf(task, scheduling)));
  if (never !== null) {
    throw new SkyError("ResourcesMismatchError", never);
  }
  return [...lines, `The task runs on cluster '${context.config.cluster}'.`].map((line) => `${line}\n`).join("");
}

function completions(kind: string, names: (call: RouteCall<unknown>) => readonly string[]): Route {
  return plainRoute({
    method: "GET",
    path: `/api/completion/${kind}`,
    identity: "account",
    summary: "Names that begin with `incomplete`, for the client's shell completion.",
    query: z.object({ incomplete: z.string().default("") }),
    reply: z.array(z.string()),
    handle: async (call) => json(names(call).filter((name) => name.startsWith(call.query.incomplete))),
  });
}

export const skypilotRoutes: Route[] = [
  ...emptyLists.map(emptyList),
  ...refusals.map(refused),
  plainRoute({
    method: "GET",
    path: "/enabled_clouds",
    identity: "account",
    summary: "The cluster, as the kind of infrastructure that SkyPilot knows; with expand by its name.",
    reply: "request",
    query: z.object({ expand: flagSchema }),
    handle: (call) => {
      const name = call.query.expand ? `ssh/${call.context.config.cluster}` : "ssh";
      return startCall(call, { name: "enabled_clouds", cluster: null, readOnly: true }, async () => [name]);
    },
  }),
  plainRoute({
    method: "GET",
    path: "/workspaces",
    identity: "account",
    summary: "The one workspace.",
    reply: "request",
    handle: (call) =>
      startCall(call, { name: "workspaces.get", cluster: null, readOnly: true }, async () => ({ default: {} })),
  }),
  plainRoute({
    method: "GET",
    path: "/users/me/workspace",
    identity: "account",
    summary: "The one workspace, without a request in between.",
    query: z.object({ requested: z.string().default("default") }),
    reply: workspaceResultSchema,
    handle: async ({ query }) => {
      const asked = query.requested;
      const known = asked === "default";
      return json({
        workspace: known ? "default" : null,
        source: known ? "default" : null,
        note: known ? null : `There is one workspace here, 'default', and no '${asked.slice(0, 100)}'.`,
        preferred: null,
        accessible: ["default"],
      });
    },
  }),
  route({
    method: "POST",
    path: "/optimize",
    identity: "account",
    summary: "Whether the cluster could ever run the task; the text is in the request's stream.",
    body: lookBodySchema,
    handle: (call) =>
      startCall(call, { name: "optimize", cluster: null, readOnly: true }, async (running) => {
        running.print(await optimize(call, running));
        return null;
      }),
  }),
  route({
    method: "POST",
    path: "/endpoints",
    identity: "account",
    summary: "No ports are opened for jobs: none.",
    body: endpointsBodySchema,
    handle: (call) =>
      startCall(call, { name: "endpoints", cluster: call.body.cluster, readOnly: true }, async () => ({})),
  }),
  completions("cluster_name", ({ context }) => [context.config.cluster]),
  completions("storage_name", () => []),
  completions("volume_name", ({ context }) => context.config.volumes.map(({ name }) => name)),
  completions("api_request", ({ context, account }) =>
    context.requests.list(account.uid, { all: true }).map(({ id }) => id),
  ),
];
