/**
 * What an admin asks of machines: the doctor's findings, and the journal's lines about one job. One visit of the doctor
 * at a time, since it opens sessions everywhere. What machines answer is data of machines that may be broken: it was
 * checked in coordinator/inspection.ts, and is shown and never acted on.
 */
import { hostname } from "node:os";
import type { z } from "zod";
import type { Finding } from "../../shared/doctor.ts";
import { SkyError } from "../../shared/errors.ts";
import { doctorBodySchema, type DoctorResult, jobLogsBodySchema } from "../../shared/inspect-api.ts";
import type { NodeName } from "../../shared/ids.ts";
import { didYouMean } from "../../shared/near-match.ts";
import { build } from "../../shared/version.ts";
import { knowsAdmin } from "../core/node-keys.ts";
import type { NodeState, State } from "../core/state.ts";
import { compareNodes, headFacts, type Seen } from "../head-checks.ts";
import { headUsers } from "../head-users.ts";
import { type Answer, askNode } from "../inspection.ts";
import { startCall } from "./call.ts";
import { gatherJobLogs } from "./job-journal.ts";
import { liveParts } from "./job-watch.ts";
import { type Route, route, type RouteCall } from "./route.ts";

const doctorLimits = { lines: 400, ms: 40_000 };
/** Machines that are asked at one time. */
const nodesAtOnce = 64;

let visiting = false;

/** As Promise.all over `items`, a limited number at a time. */
async function each<Item, Result>(items: Item[], run: (item: Item) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += nodesAtOnce) {
    results.push(...(await Promise.all(items.slice(at, at + nodesAtOnce).map(run))));
  }
  return results;
}

function chosen(state: State, names: readonly NodeName[] | null): NodeState[] {
  const known = [...state.nodes.values()];
  if (names === null) {
    return known.filter((node) => node.admin.state !== "removed");
  }
  return [...new Set(names)].map((name) => {
    const node = state.nodes.get(name);
    if (node === undefined) {
      const near = didYouMean(name, [...state.nodes.keys()]);
      const hint = near ?? `Its nodes: ${[...state.nodes.keys()].slice(0, 20).join(", ")}.`;
      throw new SkyError("ValueError", `There is no node '${name}' in this cluster.`, hint);
    }
    return node;
  });
}

function seenOf(node: NodeState, answer: Answer | null, now: number): Seen {
  const { name, refusal, version, protocol, lastReportAt } = node;
  const state =
    node.admin.state === "removed" ? "removed" : lastReportAt === null ? "never" : node.connected ? "up" : "silent";
  return {
    ...{ name, refusal, version, protocol, answer, state },
    silentSeconds: lastReportAt === null || node.connected ? null : (now - lastReportAt) / 1000,
  };
}

/** An answer as findings; one that is not complete has a finding more that says so. */
function examinedOf(node: NodeState, answer: Answer | null): DoctorResult["nodes"][number] {
  const findings: Finding[] = [];
  const notes: string[] = [];
  for (const line of answer?.lines ?? []) {
    if (line.type === "finding") {
      findings.push(line.finding);
    } else if (line.type === "note") {
      notes.push(line.text);
    }
  }
  const incomplete = (seen: string, mend: string | null): void => {
    const why = "What the doctor has not said of this machine is not known.";
    findings.push({ check: "doctor", level: "unknown", seen: seen.slice(0, 600), why, mend });
  };
  if (answer === null) {
    incomplete(
      node.connected ? `The agent of '${node.name}' is too old to be asked.` : `Node '${node.name}' is not connected.`,
      node.connected ? "Upgrade the agent on that machine." : `ssh ${node.name} sky admin doctor --local`,
    );
  } else if (answer.fault !== null) {
    incomplete(answer.fault.message, `ssh ${node.name} sky admin doctor --local`);
  }
  return { name: node.name, findings, notes };
}

async function visit(call: RouteCall<z.infer<typeof doctorBodySchema>>): Promise<DoctorResult> {
  const { context, body } = call;
  const { loop, fleet } = liveParts(context.parts);
  const nodes = chosen(loop.state, body.nodes);
  const first = [...loop.state.jobs.values()].map(({ uid, record }) => ({ name: record.user, uid }));
  const users = await headUsers(context.config.users, first);
  context.log.info(
    { admin: call.account.name, uid: call.account.uid, nodes: nodes.length },
    "an admin called the doctor",
  );
  const [own, answers] = await Promise.all([
    headFacts(context.config),
    each(nodes, (node) =>
      knowsAdmin(node) ? askNode(fleet, node.name, { kind: "doctor", users }, doctorLimits) : Promise.resolve(null),
    ),
  ]);
  const now = Date.now();
  const seen = nodes.map((node, at) => seenOf(node, answers[at] ?? null, now));
  return {
    cluster: context.config.cluster,
    coordinator: [...compareNodes(seen, build, hostname()), ...own],
    nodes: nodes.map((node, at) => examinedOf(node, answers[at] ?? null)),
  };
}

export const inspectRoutes: Route[] = [
  route({
    method: "POST",
    path: "/onprem/admin/doctor",
    identity: "admin",
    summary: "Checks the machines for what breaks clusters in practice; the result says what mends it.",
    body: doctorBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.doctor", cluster: null, readOnly: true }, async () => {
        if (visiting) {
          throw new SkyError(
            "ValueError",
            "The doctor is already looking at this cluster.",
            "Try again in half a minute.",
          );
        }
        visiting = true;
        try {
          return await visit(call);
        } finally {
          visiting = false;
        }
      }),
  }),
  route({
    method: "POST",
    path: "/onprem/admin/job_logs",
    identity: "admin",
    summary: "What coordinator and agents wrote about one job, in the order of time.",
    body: jobLogsBodySchema,
    handle: async (call) =>
      startCall(call, { name: "admin.job_logs", cluster: null, readOnly: true }, () => gatherJobLogs(call, each)),
  }),
];
