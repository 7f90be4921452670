/**
 * Which jobs are meant where a person types a job: its number, its name, or the first characters of its name. The newest
 * of a name is meant; where the characters fit several names nothing is guessed. Used by every command that
 * takes jobs, and by the SDK.
 */
import type { QueueRow } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { didYouMean } from "../../shared/near-match.ts";
import type { Calls } from "../sdk/calls.ts";
import { UsageError } from "./context.ts";

/** Names that are listed in an error. */
const namesListed = 8;

const isNumber = (word: string): boolean => /^[0-9]+$/.test(word);

/** Words that can be numbers or names of jobs at all. Throws UsageError naming the first that cannot. */
export function requireJobWords(words: readonly string[]): void {
  for (const word of words) {
    if (isNumber(word) && (Number(word) < 1 || Number(word) > 2 ** 31)) {
      throw new UsageError(`'${word}' is no job: numbers of jobs begin at 1.`);
    }
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(word)) {
      throw new UsageError(`'${word}' is no job: give its number or its name.`, "`sky queue` lists your jobs.");
    }
  }
}

/** The job of this name among these, newest first; `unfinished`: one that has not ended, if there is one. */
function named(word: string, rows: readonly QueueRow[], prefer: "newest" | "unfinished"): number {
  const names = [...new Set(rows.flatMap((row) => (row.job_name === null ? [] : [row.job_name])))];
  const fitting = names.includes(word) ? [word] : names.filter((name) => name.startsWith(word)).sort();
  if (fitting.length > 1) {
    const rest = fitting.length > namesListed ? ` and ${fitting.length - namesListed} more` : "";
    throw new SkyError(
      "ValueError",
      `'${word}' could be any of your jobs ${fitting.slice(0, namesListed).join(", ")}${rest}.`,
      "Give more of the name, or the job's number (`sky queue`).",
    );
  }
  const own = rows.filter((row) => row.job_name === fitting[0]);
  const chosen = (prefer === "unfinished" ? own.find((row) => row.end_at === null) : undefined) ?? own[0];
  if (fitting.length === 0 || chosen === undefined) {
    const near = didYouMean(word, names);
    throw new SkyError(
      "JobNotFoundError",
      `No job of yours is called '${word}'.`,
      `${near === null ? "" : `${near} `}\`sky queue\` lists your jobs.`,
    );
  }
  return chosen.job_id;
}

/**
 * The numbers that the words stand for, each once, in their order. The cluster is only asked where a word is no number.
 * Throws UsageError for what cannot be a job, SkyError for a name that fits none or several.
 */
export async function jobsOf(
  calls: Pick<Calls, "queue">,
  words: readonly string[],
  prefer: "newest" | "unfinished" = "newest",
): Promise<number[]> {
  requireJobWords(words);
  if (words.every(isNumber)) {
    return [...new Set(words.map(Number))];
  }
  const rows = [...(await calls.queue({}))].sort((a, b) => b.job_id - a.job_id);
  return [...new Set(words.map((word) => (isNumber(word) ? Number(word) : named(word, rows, prefer))))];
}

/** The caller's latest job; null: none. Known beforehand, so that a stream that is taken up again is of the same job. */
export async function latestJob(calls: Calls): Promise<number | null> {
  const ids = Object.keys(await calls.jobStatus({ job_ids: null })).map(Number);
  return ids.length === 0 ? null : Math.max(...ids);
}
