/**
 * The tables of `sky gpus list`: accelerators of a cluster by kind, then by node; of one kind that was named also device
 * by device. How busy devices are is shown where their tools say it. Pure. Used by commands/gpus.ts.
 */
import { canonicalKind } from "../../shared/accelerators.ts";
import type { DeviceRow, NodeRow, NodesResult } from "../../shared/api.ts";
import { adminText, colorState, shownState } from "./admin-nodes-text.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable, wrap } from "./table.ts";
import { windowNote } from "./windows-text.ts";

const kindColumns: Column[] = [
  { title: "GPU", min: 10, cutOrder: 2 },
  { title: "REQUESTABLE_QTY_PER_NODE", min: 24, cutOrder: 1 },
  { title: "UTILIZATION", min: 24, cutOrder: 3 },
];
const nodeColumns: Column[] = [
  { title: "NODE", min: 10, cutOrder: 1 },
  { title: "vCPU" },
  { title: "Memory (GB)" },
  { title: "GPU", min: 8, cutOrder: 2 },
  { title: "GPU UTILIZATION" },
  { title: "NODE STATUS", color: colorState },
];
const busyColumn: Column = { title: "BUSY" };
const deviceColumns: Column[] = [
  { title: "NODE", min: 10, cutOrder: 2 },
  { title: "INDEX" },
  { title: "NAME", min: 12, cutOrder: 1 },
  { title: "MEMORY" },
  { title: "GRANTED" },
  { title: "BUSY" },
  { title: "STATE", color: (text, colors) => (text === "ok" ? colors.green(text) : colors.red(text)) },
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

/** Whether a device is what was asked for, by its kind however it is spelt or by what its tool calls it. */
function isWanted(device: Pick<DeviceRow, "kind" | "name">, wanted: string | null): boolean {
  const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
  return (
    wanted === null ||
    same(canonicalKind(device.kind), canonicalKind(wanted)) ||
    (device.name !== null && same(device.name, wanted.trim()))
  );
}

function matchingKinds(node: NodeRow, wanted: string | null): string[] {
  const byName = node.devices.filter((device) => isWanted(device, wanted)).map((device) => device.kind);
  return Object.keys(node.accelerators).filter(
    (kind) => isWanted({ kind, name: null }, wanted) || byName.includes(kind),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

/** `64%`: how busy these devices are on average, as far as it is known. */
function busyText(devices: readonly DeviceRow[]): string {
  const known = devices.flatMap((device) => device.utilization ?? []);
  return known.length === 0 ? "-" : `${Math.round(sum(known) / known.length)}%`;
}

function kindRows(nodes: NodeRow[], wanted: string | null): string[][] {
  const kinds = [...new Set(nodes.flatMap((node) => matchingKinds(node, wanted)))].sort();
  return kinds.map((kind) => {
    const ready = nodes.filter((node) => shownState(node) === "UP");
    const total = sum(nodes.map((node) => node.accelerators[kind] ?? 0));
    const up = sum(ready.map((node) => node.accelerators[kind] ?? 0));
    const free = sum(ready.map((node) => node.accelerators_free[kind] ?? 0));
    const most = Math.max(...nodes.map((node) => node.accelerators[kind] ?? 0));
    const devices = ready.flatMap((node) => node.devices.filter((device) => device.kind === kind));
    const faulty = devices.filter((device) => device.fault !== null).length;
    const left = sum(devices.map(({ granted, fault }) => (fault === null && granted > 0 ? 1 - granted : 0)));
    // What is left of devices that are shared counts as parts, not as free devices.
    const notes = [
      ...(left > 0.005 ? [`+${Math.round(left * 100) / 100}`] : []),
      ...(faulty > 0 ? [`${faulty} faulty`] : []),
      ...(total > up ? [`${total - up} not ready`] : []),
    ];
    const text = `${free} of ${total} free${notes.length === 0 ? "" : ` (${notes.join(", ")})`}`;
    return [kind, requestable(most), text, busyText(devices)];
  });
}

function deviceRows(nodes: NodeRow[], wanted: string): string[][] {
  return nodes.flatMap((node) =>
    node.devices
      .filter((device) => isWanted(device, wanted))
      .map(({ index, kind, name, memory_mb, granted, utilization, fault }) => [
        node.name,
        String(index),
        name ?? kind,
        memory_mb === null ? "-" : `${Math.round(memory_mb / 102.4) / 10} GiB`,
        granted === 0 ? "-" : String(Math.round(granted * 100) / 100),
        utilization === null ? "-" : `${Math.round(utilization)}%`,
        fault === null ? "ok" : "FAULTY",
      ]),
  );
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
      busyText(node.devices.filter((device) => device.kind === kind)),
    ]);
  });
}

/** What `-o json` prints: of one kind only the nodes that have it, with those devices. */
export function onlyKind(result: NodesResult, wanted: string | null): NodesResult {
  const nodes = result.nodes
    .filter((node) => wanted === null || matchingKinds(node, wanted).length > 0)
    .map((node) => ({ ...node, devices: node.devices.filter((device) => isWanted(device, wanted)) }));
  return { ...result, nodes };
}

/** With the last column, how busy the devices are, only where anything is known of that. */
function withBusy(columns: Column[], rows: string[][]): [Column[], string[][]] {
  const isKnown = rows.some((row) => row.at(-1) !== "-");
  return isKnown ? [[...columns, busyColumn], rows] : [columns, rows.map((row) => row.slice(0, -1))];
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
  const parts = [
    heading,
    kinds.length === 0 ? "No GPUs." : formatTable(...withBusy(kindColumns, kinds), limit, colors),
  ];
  parts.push("", formatTable(...withBusy(nodeColumns, nodeRows(result.nodes, wanted)), limit, colors));
  const devices = wanted === null ? [] : deviceRows(result.nodes, wanted);
  if (devices.length > 0) {
    parts.push("", formatTable(deviceColumns, devices, limit, colors));
  }
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
