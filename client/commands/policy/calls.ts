/**
 * Calls about policies for the length of one command: connects to the cluster that the flags name, shows what the
 * coordinator remarks, and lets go of the connection whatever happens. Used by the verbs beside it.
 */
import { createPolicyCalls, type PolicyCalls } from "../../sdk/policy-calls.ts";
import { type ClusterFlags, transportTo } from "../admin/cluster.ts";
import type { Context } from "../context.ts";

export interface PolicyFlags extends ClusterFlags {
  output?: "table" | "json";
}

export async function withPolicyCalls<T>(
  context: Context,
  flags: ClusterFlags,
  work: (calls: PolicyCalls) => Promise<T>,
): Promise<T> {
  const { screen } = context;
  const say = (text: string): void => screen.note(screen.noteColors.yellow(text));
  const calls = createPolicyCalls(await transportTo(context, flags), say);
  try {
    return await work(calls);
  } finally {
    calls.close();
  }
}

/** Prints a result as JSON, or what `text` makes of it. */
export function show<T>(context: Context, flags: PolicyFlags, result: T, text: (result: T) => string): void {
  context.screen.print(flags.output === "json" ? JSON.stringify(result, null, 2) : text(result));
}
