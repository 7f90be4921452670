/**
 * The table of `sky status`: one row a registered cluster, `-` where it was not initialized on this machine. Pure; it
 * needs no network. Used by commands/status.ts.
 */
import type { Colors } from "./screen.ts";
import { type Column, formatTable, shortenCommand } from "./table.ts";
import { ago } from "./times.ts";

/** Accelerators of one node by kind and count; empty: none. */
export type NodeAccelerators = Record<string, number>;

/** What is remembered of a cluster on this machine. */
export interface KnownCluster {
  user: string;
  headIp: string;
  resources: string;
  command: string;
  /** Seconds since 1970. */
  launchedAt?: number;
  /** Where it is registered. */
  file?: string;
}

export interface StatusRow {
  name: string;
  /** What is known since the cluster was initialized here; null: it was not. */
  known: KnownCluster | null;
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

/** Columns of `--verbose`. */
const more: Column[] = [{ title: "LAUNCHED" }, { title: "FILE", min: 10, cutOrder: 0, keepEnd: true }];

/** Heading and table; `now` (seconds since 1970) also tells when each was last launched on, and its file. */
export function statusText(rows: StatusRow[], limit: number, colors: Colors, now: number | null = null): string {
  const all = now === null ? columns : [...columns, ...more];
  const cells = rows.map(({ name, known }) => {
    if (known === null) {
      return [name, ...all.slice(1).map(() => "-")];
    }
    const usual = [name, known.user, known.headIp, known.resources, shortenCommand(known.command)];
    return now === null ? usual : [...usual, ago(known.launchedAt ?? null, now), known.file ?? "-"];
  });
  return `${colors.bold(colors.cyan("Local clusters:"))}\n${formatTable(all, cells, limit, colors)}`;
}
