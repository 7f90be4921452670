/**
 * The table of `sky status`: one row a registered cluster, `-` where it was not initialized on this machine. Pure; it
 * needs no network. Used by commands/status.ts.
 */
import type { Colors } from "./screen.ts";
import { type Column, formatTable, shortenCommand } from "./table.ts";

/** Accelerators of one node by kind and count; empty: none. */
export type NodeAccelerators = Record<string, number>;

export interface StatusRow {
  name: string;
  /** What is known since the cluster was initialized here; null: it was not. */
  known: { user: string; headIp: string; resources: string; command: string } | null;
}

/** `[{'V100': 4}, (no GPUs)]`, as SkyPilot writes it. */
export function resourcesText(nodes: NodeAccelerators[]): string {
  const texts = nodes.map((node) => {
    const kinds = Object.entries(node).filter(([, count]) => count > 0);
    return kinds.length === 0 ? "(no GPUs)" : `{${kinds.map(([kind, count]) => `'${kind}': ${count}`).join(", ")}}`;
  });
  return `[${texts.join(", ")}]`;
}

const columns: Column[] = [
  { title: "NAME", min: 10, cutOrder: 2 },
  { title: "USER" },
  { title: "HEAD_IP", min: 15, cutOrder: 4 },
  { title: "RESOURCES", min: 12, cutOrder: 1 },
  { title: "COMMAND", min: 12, cutOrder: 3 },
];

/** Heading and table. */
export function statusText(rows: StatusRow[], limit: number, colors: Colors): string {
  const cells = rows.map(({ name, known }) =>
    known === null
      ? [name, "-", "-", "-", "-"]
      : [name, known.user, known.headIp, known.resources, shortenCommand(known.command)],
  );
  return `${colors.bold(colors.cyan("Local clusters:"))}\n${formatTable(columns, cells, limit, colors)}`;
}
