/**
 * The routes about the cluster as a whole: status, check, accelerators, down, and the refusals of what machines that one
 * owns cannot do. `down` ends the caller's jobs and skylets and touches nobody else's; the machines stay.
 */
import * as z from "zod";
import { downBodySchema, statusBodySchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { nodeRows } from "../core/views.ts";
import { startCall } from "./call.ts";
import { clusterRecord, resourcesStr } from "./cluster-record.ts";
import { liveParts, untilJob } from "./job-watch.ts";
import type { Call } from "./request-entry.ts";
import { userHash } from "./request-payload.ts";
import { isPythonClient } from "./skypilot-dialect.ts";
import { type ApiContext, type Route, type RouteCall, route } from "./route.ts";

/** How long `down` waits for jobs to end; afterwards they end by themselves. */
const downMaxMs = 60_000;

const namedBodySchema = z.object({ cluster_name: z.string() });
const anyBodySchema = z.object({});
const startedAt = Math.floor(Date.now() / 1000);

async function status(call: RouteCall<z.infer<typeof statusBodySchema>>): Promise<unknown[]> {
  const { context, account, body } = call;
  const { loop } = liveParts(context.parts);
  const own = context.config.cluster;
  // A user may have registered this cluster under another name: the name asked for is the name given.
  // SkyPilot's own client makes names up, and must hear that there is no such cluster.
  const known = (name: string): boolean => name === own || !isPythonClient(call.header("user-agent"));
  const names = (body.cluster_names ?? [own]).filter(known);
  const nodes = nodeRows(loop.state, Date.now());
  return names.slice(0, 1).map((clusterName) =>
    clusterRecord({
      clusterName,
      stateId: loop.state.stateId,
      launchedAt: startedAt,
      user: { hash: userHash(account.uid), name: account.name },
      nodes,
      withHandle: body.include_handle,
    }),
  );
}

/** Ends the user's jobs. The promise is durable at once; what a silent node still holds ends when it comes back. */
async function down(context: ApiContext, uid: number, running: Call): Promise<null> {
  const live = liveParts(context.parts);
  const jobs = [...live.loop.state.jobs.values()].filter((job) => job.uid === uid && job.record.phase !== "ended");
  // Looked up once: what is carried out again after a restart must not end jobs that were launched since.
  const ids = await running.once(() => jobs.map((job) => job.id));
  running.signal.throwIfAborted();
  await live.loop.dispatch(running.isAgain ? { type: "cancelRequested", uid, ids } : { type: "userDowned", uid });
  const deadline = performance.now() + downMaxMs;
  const ended = await Promise.all(
    ids.map(async (id) => {
      const left = Math.max(0, deadline - performance.now());
      const view = await untilJob(context.parts, uid, id, (now) => now.ended, running.signal, left);
      return view === null || view.ended ? null : id;
    }),
  );
  const open = ended.filter((id) => id !== null);
  if (open.length > 0) {
    running.print(`Jobs ${open.join(", ")} are cancelled, but their nodes have not confirmed it yet; they will.\n`);
  }
  return null;
}

function checkText(context: ApiContext): string {
  const { loop } = liveParts(context.parts);
  const nodes = nodeRows(loop.state, Date.now());
  const lines = [`  Local (${context.config.cluster}): enabled [compute]`, `    ${resourcesStr(nodes)}`];
  for (const node of nodes) {
    const decided = node.admin === null ? [] : [`is drained: ${node.admin.reason ?? "no reason was given"}`];
    const complaints = [...(node.state === "UP" ? [] : [`is ${node.state}`]), ...decided, ...node.warnings];
    lines.push(...complaints.map((complaint) => `    ${node.name}: ${complaint}`));
  }
  return `${lines.join("\n")}\n`;
}

/** A route that tells that machines which one owns are neither started nor stopped. */
function refusal(name: string, commands: string): Route {
  return route({
    method: "POST",
    path: `/${name}`,
    identity: "account",
    summary: `Refused: a local cluster does not support ${commands}.`,
    body: namedBodySchema,
    handle: async (call) =>
      startCall(call, { name, cluster: call.body.cluster_name, readOnly: false }, async () => {
        throw new SkyError(
          "NotSupportedError",
          `Skipping local cluster ${call.body.cluster_name.slice(0, 100)}, as it does not support \`${commands}\`.`,
        );
      }),
  });
}

export const clusterRoutes: Route[] = [
  route({
    method: "POST",
    path: "/status",
    identity: "account",
    summary: "The record of this cluster.",
    body: statusBodySchema,
    handle: async (call) => startCall(call, { name: "status", cluster: null, readOnly: true }, () => status(call)),
  }),
  route({
    method: "POST",
    path: "/down",
    identity: "account",
    summary: "Ends all of the caller's jobs and sessions on the nodes; the machines stay.",
    body: downBodySchema,
    handle: async (call) =>
      startCall(call, { name: "down", cluster: call.body.cluster_name, readOnly: false }, (running) =>
        down(call.context, call.account.uid, running),
      ),
  }),
  route({
    method: "POST",
    path: "/check",
    identity: "account",
    summary: "Whether the cluster can take jobs; the text is in the request's stream.",
    body: anyBodySchema,
    handle: async (call) =>
      startCall(call, { name: "check", cluster: null, readOnly: true }, async (running) => {
        running.print(checkText(call.context));
        return { default: { [`Local (${call.context.config.cluster})`]: ["compute"] } };
      }),
  }),
  refusal("start", "sky start"),
  refusal("stop", "sky stop/autostop"),
  refusal("autostop", "sky stop/autostop"),
];
