/**
 * What a soak must have come to: every acknowledged job has one known end, none ran twice, no two attempts of a job ever
 * overlapped, and nothing is left over. Pure: it compares what users were told with what the queue says and with what the
 * jobs themselves wrote. Called by run.ts.
 */

/** What one user was told; key → job id. */
export interface Told {
  user: string;
  acknowledged: Map<string, { id: number; recovers: boolean }>;
  refused: string[];
}

/** One row of the user's queue at the end. */
export interface Ended {
  job_id: number;
  status: string;
  reason: string | null;
}

/** One line that a job wrote on a node: what, key, rank, attempt, nanoseconds. */
export interface Line {
  what: string;
  key: string;
  rank: string;
  attempt: string;
  at: bigint;
}

const ends = new Set(["SUCCEEDED", "FAILED_DRIVER", "CANCELLED"]);
const faultsShown = 20;

/** Lines of a file that jobs appended to; a half line of a machine that lost its power is left out. */
export function linesOf(text: string): Line[] {
  return text.split("\n").flatMap((line) => {
    const [what, key, rank, attempt, at, ...rest] = line.split(" ");
    const complete = rest.length === 0 && at !== undefined && /^\d{19}$/.test(at);
    return complete
      ? [{ what: what ?? "", key: key ?? "", rank: rank ?? "", attempt: attempt ?? "", at: BigInt(at) }]
      : [];
  });
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  }
  return groups;
}

/** Faults of one job, given all that its ranks wrote. */
function faultsOfJob(name: string, lines: readonly Line[], recovers: boolean, status: string): string[] {
  const faults: string[] = [];
  for (const [rank, own] of grouped(lines, (line) => `${line.attempt} rank ${line.rank}`)) {
    const starts = own.filter((line) => line.what === "start").length;
    if (starts !== 1) {
      faults.push(`${name}: attempt ${rank} began ${starts} times`);
    }
  }
  const attempts = [...grouped(lines, (line) => line.attempt)].map(([attempt, own]) => {
    const times = own.map((line) => line.at).toSorted((a, b) => (a < b ? -1 : 1));
    return {
      attempt,
      first: times[0] ?? 0n,
      last: times.at(-1) ?? 0n,
      finished: own.some((line) => line.what === "end"),
    };
  });
  attempts.sort((a, b) => (a.first < b.first ? -1 : 1));
  if (attempts.length > 1 && !recovers) {
    faults.push(`${name} was started ${attempts.length} times and declares no recovery`);
  }
  for (const [at, attempt] of attempts.entries()) {
    const before = attempts[at - 1];
    if (before !== undefined && before.last >= attempt.first) {
      faults.push(`${name}: attempts ${before.attempt} and ${attempt.attempt} ran at the same time`);
    }
  }
  if (status === "SUCCEEDED" && attempts.at(-1)?.finished !== true) {
    faults.push(`${name} is SUCCEEDED, but did not come to its end`);
  }
  return faults;
}

/** Everything that is wrong with one user's jobs; empty: nothing. */
export function faultsOf(told: Told, queue: readonly Ended[], lines: readonly Line[]): string[] {
  const faults = told.refused.map((text) => `${told.user}: refused: ${text}`);
  const rows = new Map(queue.map((row) => [row.job_id, row]));
  const byKey = grouped(lines, (line) => line.key);
  const ids = new Set<number>();
  for (const [key, { id, recovers }] of told.acknowledged) {
    const name = `job ${id} of ${told.user} (${key})`;
    const row = rows.get(id);
    if (ids.has(id)) {
      faults.push(`${name}: this id was given twice`);
    }
    ids.add(id);
    if (row === undefined) {
      faults.push(`${name} is lost: the queue does not know it`);
    } else if (!ends.has(row.status)) {
      faults.push(`${name} has no good end: ${row.status} (${row.reason ?? "no reason"})`);
    }
    faults.push(...faultsOfJob(name, byKey.get(key) ?? [], recovers, row?.status ?? "lost"));
  }
  const strangers = queue.filter((row) => !ids.has(row.job_id));
  // A call that was under way when the soak ended may be known to the cluster alone.
  if (strangers.length > 1) {
    faults.push(`${told.user}: ${strangers.length} jobs were never acknowledged`);
  }
  return faults.length > faultsShown
    ? [...faults.slice(0, faultsShown), `… and ${faults.length - faultsShown} more of ${told.user}`]
    : faults;
}
