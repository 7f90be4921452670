/**
 * `sky explain`: why one job waits, who holds what it needs, when it starts and what would make it start sooner; for a
 * job that runs or has ended, where it is or how it ended. One call, and nothing is computed here.
 */
import { explainText } from "../output/explain-text.ts";
import { callsTo, chosenClusters, requireInitialized } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";
import { jobsOf } from "./job-names.ts";

export interface ExplainFlags {
  user?: string;
  output: string;
}

/** `[CLUSTER] JOB`: the cluster may be left out when only one is initialized here. */
async function wordsOf(context: Context, words: string[]): Promise<{ name: string; word: string }> {
  const last = words.at(-1) ?? "";
  const [first] = words;
  if (words.length === 2 && first !== undefined) {
    return { name: first, word: last };
  }
  const [only, second] = await chosenClusters(context, []);
  if (only === undefined || second !== undefined) {
    const why = only === undefined ? "No cluster is initialized here." : "You have several clusters.";
    throw new UsageError(`${why} Name one.`, `Write: sky explain CLUSTER ${last}. \`sky status\` lists yours.`);
  }
  return { name: only.name, word: last };
}

/** Runs the command; resolves with the exit code. */
export async function explain(context: Context, words: string[], flags: ExplainFlags): Promise<number> {
  const { screen } = context;
  const { name, word } = await wordsOf(context, words);
  if (flags.user !== undefined && !/^[0-9]+$/.test(word)) {
    throw new UsageError(`'${word}' is no number: other people's jobs are named by their numbers.`);
  }
  const cluster = requireInitialized(context, name);
  const calls = callsTo(context, cluster);
  try {
    const [job = 0] = await jobsOf(calls, [word]);
    const result = await calls.explain(job, flags.user ?? null);
    const options = { now: context.now(), limit: screen.columns };
    screen.print(
      flags.output === "json"
        ? JSON.stringify(result, null, 2)
        : explainText(cluster.name, result, options, screen.colors),
    );
    return 0;
  } finally {
    calls.close();
  }
}
