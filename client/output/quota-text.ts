/**
 * Quotas as tables: of all subjects for admins, and of what binds one user. One line a limit, so that any number of kinds
 * fits 80 columns. Pure. Used by commands/admin/quota.ts and commands/quota.ts.
 */
import type { OwnQuotaResult, QuotaLimits, QuotaRow, QuotasResult, QuotaUse } from "../../shared/scheduling-api.ts";
import type { Colors } from "./screen.ts";
import { type Column, formatTable } from "./table.ts";
import { roundSpan } from "./times.ts";

/** One limit of a quota. */
interface Limit {
  what: string;
  limit: number;
  used: (use: QuotaUse) => number;
}

function number(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function kindUse(use: QuotaUse, kind: string): number {
  const found = Object.entries(use.accelerators).filter(([one]) => one.toLowerCase() === kind.toLowerCase());
  return found.reduce((sum, [, count]) => sum + count, 0);
}

function allKinds(use: QuotaUse): number {
  return Object.values(use.accelerators).reduce((sum, count) => sum + count, 0);
}

/** The limits in the order in which they are shown; kinds by name, all kinds together first. */
function limitsOf(limits: QuotaLimits): Limit[] {
  const kinds = Object.entries(limits.accelerators).sort(([a], [b]) => (a < b ? -1 : 1));
  const found: Limit[] = kinds.map(([kind, limit]) =>
    kind === "*"
      ? { what: "all accelerators", limit, used: allKinds }
      : { what: kind, limit, used: (use) => kindUse(use, kind) },
  );
  const add = (what: string, limit: number | undefined, used: Limit["used"]): void => {
    if (limit !== undefined) {
      found.push({ what, limit, used });
    }
  };
  add("CPUs", limits.cpus, (use) => use.cpus);
  add("memory (GiB)", limits.memory_gb, (use) => use.memory_gb);
  add("running jobs", limits.running, (use) => use.running);
  add("waiting jobs", limits.waiting, (use) => use.waiting);
  return found;
}

/** Of `each`, who uses the most of it: `4 (alice)`. */
function usedText(row: QuotaRow, { used }: Limit): string {
  if (row.use !== null) {
    return number(used(row.use));
  }
  const most = row.users.toSorted((a, b) => used(b.use) - used(a.use))[0];
  const amount = most === undefined ? 0 : used(most.use);
  return most === undefined || amount === 0 ? "0" : `${number(amount)} (${most.user})`;
}

const columns: Column[] = [
  { title: "FOR", min: 10, cutOrder: 2 },
  { title: "LIMITS", min: 12, cutOrder: 1 },
  { title: "USED", min: 8, cutOrder: 3 },
  { title: "LIMIT" },
];

/** One line for each limit of these quotas; a subject is written once. */
function linesOf(rows: readonly QuotaRow[], name: (row: QuotaRow) => string): string[][] {
  return rows.flatMap((row) =>
    limitsOf(row.limits).map((limit, index) => [
      index === 0 ? name(row) : "",
      limit.what,
      usedText(row, limit),
      number(limit.limit),
    ]),
  );
}

export function quotasText(result: QuotasResult, limit: number, colors: Colors): string {
  const heading = colors.bold(colors.cyan(`Cluster ${result.cluster}`));
  if (result.quotas.length === 0) {
    return `${heading}\nNo quotas. To set one: sky admin quota set user:alice H100=8 running=20`;
  }
  const table = formatTable(
    columns,
    linesOf(result.quotas, (row) => row.subject),
    limit,
    colors,
  );
  const hasEach = result.quotas.some((row) => row.subject === "each");
  const note = hasEach ? "\n'each' binds every user without a quota of their own; USED names who holds the most." : "";
  return `${heading}\n${table}${note}`;
}

/** One quota after a change: `user:alice: H100 8 (4 used), running jobs 20 (3 used)`. */
export function quotaLine(row: QuotaRow): string {
  const parts = limitsOf(row.limits).map((one) => `${one.what} ${number(one.limit)} (${usedText(row, one)} used)`);
  return `${row.subject}: ${parts.join(", ")}`;
}

/** Whom a quota is for, as the user reads it who is bound by it. */
function ownName(row: QuotaRow): string {
  const group = /^group:(.*)$/.exec(row.subject)?.[1];
  return group === undefined ? "you" : `${group} (together)`;
}

function holdsText(use: QuotaUse): string {
  const kinds = Object.entries(use.accelerators).map(([kind, count]) => `${number(count)} ${kind}`);
  const parts = [...kinds, `${number(use.cpus)} CPUs`, `${number(use.memory_gb)} GiB`];
  return `You hold ${parts.join(", ")}; ${use.running} running, ${use.waiting} waiting job(s).`;
}

/** What binds the caller on one cluster, and what they hold. */
export function ownQuotaText(result: OwnQuotaResult, limit: number, colors: Colors): string {
  const lines = [colors.bold(colors.cyan(`Cluster ${result.cluster}, user ${result.user}`)), holdsText(result.use)];
  const rows = linesOf(result.quotas, ownName);
  lines.push(rows.length === 0 ? "No quota limits you." : `\n${formatTable(columns, rows, limit, colors)}\n`);
  const { default_time_seconds: usual, max_time_seconds: longest } = result;
  if (usual > 0) {
    lines.push(`A job that gives no --time is ended after ${roundSpan(usual)}.`);
  }
  if (longest > 0) {
    lines.push(`The longest time that a job may ask for is ${roundSpan(longest)}.`);
  }
  lines.push(`At most ${result.waiting_max} jobs of one user may wait.`);
  return lines.join("\n");
}
