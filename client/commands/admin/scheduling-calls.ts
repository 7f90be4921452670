/**
 * Calls about quotas and windows for the length of one command: connects to the cluster that the flags name, shows what
 * the coordinator remarks, and lets go of the connection whatever happens. Used by the verbs beside it.
 */
import { createSchedulingCalls, type SchedulingCalls } from "../../sdk/scheduling-calls.ts";
import type { Context } from "../context.ts";
import { type ClusterFlags, transportTo } from "./cluster.ts";

export async function withSchedulingCalls<T>(
  context: Context,
  flags: ClusterFlags,
  work: (calls: SchedulingCalls) => Promise<T>,
): Promise<T> {
  const { screen } = context;
  const say = (text: string): void => screen.note(screen.noteColors.yellow(text));
  const calls = createSchedulingCalls(await transportTo(context, flags), say);
  try {
    return await work(calls);
  } finally {
    calls.close();
  }
}
