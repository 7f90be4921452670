/**
 * What the functions that send a task have in common: they check their options and turn answers into the shapes that
 * programs see. Sending itself is that of the commands. Used by clusters.ts and jobs.ts beside it, and for results of
 * requests that another process has made.
 */
import type { SubmitResult as SentResult } from "../../../shared/api.ts";
import type { LocalCluster } from "../../commands/clusters.ts";
import { NotSupportedError } from "./exceptions.ts";
import { requireKnown, shownValue } from "./fields.ts";
import type { ClusterHandle, SubmitResult } from "./types.ts";

/** As programs see a cluster. */
export function handleOf(cluster: LocalCluster): ClusterHandle {
  return { clusterName: cluster.name, headIp: cluster.registered.headIp, user: cluster.registered.user };
}

/** What a submission came to, as programs see it. */
export function submitResultOf(cluster: LocalCluster, sent: SentResult): SubmitResult {
  const { job_id: jobId, explain } = sent;
  if (explain === undefined) {
    return { jobId, handle: handleOf(cluster), dryrun: null };
  }
  const nodes = explain.places.map((place) => place.node);
  const dryrun = {
    startsNow: explain.starts_now,
    reason: explain.reason,
    earliestStart: explain.earliest_start,
    nodes: [...new Set(nodes)],
  };
  return { jobId, handle: null, dryrun };
}

/** An option that only clouds give a meaning to, and why it has none here. */
export type Refusals<Options> = { [Name in keyof Options]?: string };

/** Throws ValueError for unknown options, NotSupportedError for those that are given though they mean nothing here. */
export function checkOptions<Options extends object>(
  what: string,
  options: Options,
  known: readonly string[],
  refusals: Refusals<Options> = {},
): void {
  requireKnown(what, options, new Set(known));
  for (const [name, why] of Object.entries(refusals)) {
    const value = options[name as keyof Options];
    if (value !== undefined && value !== null && value !== false) {
      throw new NotSupportedError(`${what}: '${name}: ${shownValue(value)}' has no meaning here: ${String(why)}`);
    }
  }
}
