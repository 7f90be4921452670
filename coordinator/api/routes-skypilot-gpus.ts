/**
 * The nodes and their accelerators in the shapes that SkyPilot's client reads for `sky gpus list`: as a pool of machines
 * reached by SSH, which is the nearest that it knows. They change nothing. Declared to app.ts.
 */
import * as z from "zod";
import type { NodeRow } from "../../shared/api.ts";
import { nodeRows } from "../core/views.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import { type ApiContext, type Route, route } from "./route.ts";

const filters = {
  name_filter: z.string().max(200).nullish(),
  quantity_filter: z.number().nullish(),
};
const listBodySchema = z.object({ ...filters, case_sensitive: z.boolean().nullish() });
const availabilityBodySchema = z.object({ ...filters, is_ssh: z.boolean().nullish() });
const nodesBodySchema = z.object({});

/** As the client names a pool of machines called NAME. */
function poolOf(context: ApiContext): string {
  return `ssh-${context.config.cluster}`;
}

function rows(context: ApiContext): NodeRow[] {
  return nodeRows(liveParts(context.parts).loop.state, Date.now());
}

/** Counts that a task may ask for on one node: powers of two up to what a node has, and that number itself. */
function countsUpTo(count: number): number[] {
  const counts: number[] = [];
  for (let power = 1; power < count; power *= 2) {
    counts.push(power);
  }
  return [...counts, count];
}

/** The client's filter is a part of the name, in any case; its pattern language is not taken from strangers. */
function isAsked(kind: string, filter: string | null | undefined): boolean {
  return filter === null || filter === undefined || kind.toLowerCase().includes(filter.toLowerCase());
}

/** A row of SkyPilot's catalog; nothing costs anything. */
type CatalogRow = (string | number | null)[];

function catalogRow(context: ApiContext, node: NodeRow, kind: string, count: number): CatalogRow {
  const memory = node.devices.find((device) => device.kind === kind)?.memory_mb ?? null;
  const memoryGb = memory === null ? null : Math.round(memory / 1024);
  return ["ssh", null, kind, count, node.cpus, memoryGb, node.memory_gb, 0, 0, poolOf(context)];
}

function catalog(context: ApiContext, body: z.infer<typeof listBodySchema>): Record<string, CatalogRow[]> {
  const found = new Map<string, Map<string, CatalogRow>>();
  for (const node of rows(context)) {
    for (const [kind, most] of Object.entries(node.accelerators)) {
      for (const count of isAsked(kind, body.name_filter) ? countsUpTo(most) : []) {
        if ((body.quantity_filter ?? count) === count) {
          const row = catalogRow(context, node, kind, count);
          found.set(kind, (found.get(kind) ?? new Map<string, CatalogRow>()).set(JSON.stringify(row), row));
        }
      }
    }
  }
  return Object.fromEntries([...found].map(([kind, distinct]) => [kind, [...distinct.values()]]));
}

/** What a task may ask for on one node, by kind. */
function counts(context: ApiContext, body: z.infer<typeof listBodySchema>): Record<string, number[]> {
  const most = new Map<string, number>();
  for (const [kind, count] of rows(context).flatMap((node) => Object.entries(node.accelerators))) {
    most.set(kind, Math.max(most.get(kind) ?? 0, count));
  }
  const wanted = [...most].filter(([kind]) => isAsked(kind, body.name_filter));
  return Object.fromEntries(wanted.map(([kind, count]) => [kind, countsUpTo(count)]));
}

/** `[[pool, [[kind, counts, all, free], …]]]`; none without accelerators. */
function availability(context: ApiContext, body: z.infer<typeof availabilityBodySchema>): unknown[] {
  const kinds = new Map<string, { most: number; all: number; free: number }>();
  for (const node of body.is_ssh === false ? [] : rows(context)) {
    for (const [kind, count] of Object.entries(node.accelerators)) {
      const known = kinds.get(kind) ?? { most: 0, all: 0, free: 0 };
      const free = node.state === "UP" ? (node.accelerators_free[kind] ?? 0) : 0;
      kinds.set(kind, { most: Math.max(known.most, count), all: known.all + count, free: known.free + free });
    }
  }
  const wanted = [...kinds].filter(
    ([kind, { most }]) => isAsked(kind, body.name_filter) && most >= (body.quantity_filter ?? 0),
  );
  const found = wanted.map(([kind, { most, all, free }]) => [kind, countsUpTo(most), all, Math.floor(free)]);
  return found.length === 0 ? [] : [[poolOf(context), found]];
}

function nodeInfo(node: NodeRow): Record<string, unknown> {
  const kinds = Object.entries(node.accelerators);
  const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((all, count) => all + count, 0);
  return {
    name: node.name,
    accelerator_type: kinds.length === 0 ? null : kinds.map(([kind]) => kind).join(", "),
    total: { accelerator_count: sum(node.accelerators) },
    free: { accelerators_available: Math.floor(sum(node.accelerators_free)) },
    ip_address: node.address,
    cpu_count: node.cpus,
    memory_gb: node.memory_gb,
    cpu_free: node.cpus_free,
    memory_free_gb: node.memory_gb_free,
    is_ready: node.state === "UP",
    is_cordoned: node.admin !== null,
    taints: null,
  };
}

export const skypilotGpuRoutes: Route[] = [
  route({
    method: "POST",
    path: "/list_accelerators",
    identity: "account",
    summary: "Kinds of accelerators with the nodes that have them, as rows of SkyPilot's catalog without prices.",
    body: listBodySchema,
    handle: (call) =>
      startCall(call, { name: "list_accelerators", cluster: null, readOnly: true }, async () =>
        catalog(call.context, call.body),
      ),
  }),
  route({
    method: "POST",
    path: "/list_accelerator_counts",
    identity: "account",
    summary: "Kinds of accelerators and the numbers of them that one node has.",
    body: listBodySchema,
    handle: (call) =>
      startCall(call, { name: "list_accelerator_counts", cluster: null, readOnly: true }, async () =>
        counts(call.context, call.body),
      ),
  }),
  route({
    method: "POST",
    path: "/realtime_kubernetes_gpu_availability",
    identity: "account",
    summary: "How many accelerators of each kind there are and are free.",
    body: availabilityBodySchema,
    handle: (call) =>
      startCall(call, { name: "realtime_kubernetes_gpu_availability", cluster: null, readOnly: true }, async () =>
        availability(call.context, call.body),
      ),
  }),
  route({
    method: "POST",
    path: "/kubernetes_node_info",
    identity: "account",
    summary: "The nodes in SkyPilot's shape.",
    body: nodesBodySchema,
    handle: (call) =>
      startCall(call, { name: "kubernetes_node_info", cluster: null, readOnly: true }, async () => {
        const nodes = rows(call.context).filter(({ state }) => state !== "NEVER_SEEN");
        return { node_info_dict: Object.fromEntries(nodes.map((node) => [node.name, nodeInfo(node)])), hint: "" };
      }),
  }),
];
