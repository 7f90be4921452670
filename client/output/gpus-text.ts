/**
 * The tables of `sky gpus list`: accelerators of a cluster by kind, then by node. Pure. Used by commands/gpus.ts.
 */
import type { NodeRow, NodesResult } from "../../shared/api.ts";
import { adminText, colorState, shownState } from "./admin-nodes-text.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable, wrap } from "./table.ts";
import { windowNote } from "./windows-text.ts";

const kindColumns: Column[] = [
  { title: "GPU" },
  { title: "REQUESTABLE_QTY_PER_NODE", min: 24, cutOrder: 1 },
  { title: "UTILIZATION" },
];
const nodeColumns: Column[] = [
  { title: "NODE", min: 10, cutOrder: 1 },
  { title: "vCPU" },
  { title: "Memory (GB)" },
  { title: "GPU" },
  { title: "GPU UTILIZATION" },
  { title: "NODE STATUS", color: colorState },
];

/** Counts that one node can be asked for: 1, 2, 4 … up to what the largest node has, and that itself. */
export function requestable(most: number): string {
  const counts: number[] = [];
  for (let count = 1; count < most; count *= 2) {
    counts.push(count);
  }
  return [...counts, most].join(", ");
}

function number(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** Whether a node has this kind; null: any kind will do. Upper and lower case are the same. */
function matchingKinds(node: NodeRow, wanted: string | null): string[] {
  return Object.keys(node.accelerators).filter(
    (kind) => wanted === null || kind.toLowerCase() === wanted.toLowerCase(),
  );
}

function kindRows(nodes: NodeRow[], wanted: string | null): string[][] {
  const kinds = [...new Set(nodes.flatMap((node) => matchingKinds(node, wanted)))].sort();
  return kinds.map((kind) => {
    const ready = nodes.filter((node) => shownState(node) === "UP");
    const total = nodes.reduce((sum, node) => sum + (node.accelerators[kind] ?? 0), 0);
    const up = ready.reduce((sum, node) => sum + (node.accelerators[kind] ?? 0), 0);
    const free = ready.reduce((sum, node) => sum + (node.accelerators_free[kind] ?? 0), 0);
    const most = Math.max(...nodes.map((node) => node.accelerators[kind] ?? 0));
    const missing = total > up ? ` (${total - up} not ready)` : "";
    return [kind, requestable(most), `${free} of ${total} free${missing}`];
  });
}

function nodeRows(nodes: NodeRow[], wanted: string | null): string[][] {
  return nodes.flatMap((node) => {
    const kinds = matchingKinds(node, wanted);
    const shown: (string | null)[] = kinds.length > 0 ? kinds : wanted === null ? [null] : [];
    return shown.map((kind) => [
      node.name,
      number(node.cpus),
      number(node.memory_gb),
      kind ?? "-",
      kind === null ? "-" : `${node.accelerators_free[kind] ?? 0} of ${node.accelerators[kind] ?? 0} free`,
      shownState(node),
    ]);
  });
}

/** The text for one cluster. */
export function gpusText(
  result: NodesResult,
  wanted: string | null,
  screen: { limit: number; now: number },
  colors: Colors,
): string {
  const { limit, now } = screen;
  const kinds = kindRows(result.nodes, wanted);
  const heading = colors.bold(colors.cyan(`Cluster ${result.cluster}`));
  if (kinds.length === 0 && wanted !== null) {
    return `${heading}\nNo ${wanted} on this cluster.`;
  }
  const parts = [heading, kinds.length === 0 ? "No GPUs." : formatTable(kindColumns, kinds, limit, colors)];
  parts.push("", formatTable(nodeColumns, nodeRows(result.nodes, wanted), limit, colors));
  const warnings = result.nodes.flatMap((node) => {
    const decided = adminText(node, now);
    const windows = node.windows.map((window) => windowNote(window, now));
    const said = [...(decided === null ? [] : [`it is ${decided}`]), ...windows, ...node.warnings];
    return said.map((text) => `${node.name}: ${text}`);
  });
  if (result.unknown_attempts > 0) {
    const [count, are] = result.unknown_attempts === 1 ? ["1 job", "is"] : [`${result.unknown_attempts} jobs`, "are"];
    warnings.push(
      `${count} on the nodes ${are} unknown to the coordinator: left alone, with all that was granted. ` +
        "An admin sees more with `sky admin unknown`.",
    );
  }
  if (warnings.length > 0) {
    parts.push("", "Warnings:", ...warnings.slice(0, 20).map((text) => wrap(text, "  ", limit)));
  }
  return parts.join("\n");
}
