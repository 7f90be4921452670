/**
 * Names for shell completion: clusters from this machine, jobs, requests and policies from the cluster itself, one a line. It must
 * never ask, print an error, or keep a person waiting at a half-typed line: after its time limit it prints what it has,
 * which may be nothing. Called by the scripts of completion.ts through the hidden command `sky names`.
 */
import { setTimeout as delay } from "node:timers/promises";
import { createPolicyCalls } from "../sdk/policy-calls.ts";
import { createRequestCalls } from "../sdk/request-calls.ts";
import { callsTo, listLocal, type LocalCluster, oneCluster, transportOf } from "./clusters.ts";
import type { Context } from "./context.ts";

/** Milliseconds that a person may wait for names, connecting included. */
const limitMs = 1_500;
const namesMax = 200;
const silent = (): void => undefined;

/** What can be named. */
export const nameKinds = ["clusters", "jobs", "requests", "policies"] as const;

async function jobs(context: Context, cluster: LocalCluster): Promise<string[]> {
  const calls = callsTo({ ...context, screen: { ...context.screen, note: silent } }, cluster);
  try {
    const rows = await calls.queue({});
    return rows.flatMap((row) => [String(row.job_id), ...(row.job_name === null ? [] : [row.job_name])]);
  } finally {
    calls.close();
  }
}

async function requests(context: Context, cluster: LocalCluster): Promise<string[]> {
  const calls = createRequestCalls(transportOf(context, cluster.registered), silent);
  try {
    const rows = await calls.apiStatus({ ids: null, all: true, limit: namesMax });
    return rows.map((row) => row.request_id);
  } finally {
    calls.close();
  }
}

async function policies(context: Context, cluster: LocalCluster): Promise<string[]> {
  const calls = createPolicyCalls(transportOf(context, cluster.registered), silent);
  try {
    return (await calls.list()).policies.map((row) => row.name);
  } finally {
    calls.close();
  }
}

async function names(context: Context, kind: (typeof nameKinds)[number], name: string | undefined): Promise<string[]> {
  if (kind === "clusters") {
    return (await listLocal(context)).clusters.map((cluster) => cluster.name);
  }
  const cluster = await oneCluster(context, name);
  return { jobs, requests, policies }[kind](context, cluster);
}

/** Prints the names; always resolves with 0. */
export async function printNames(
  context: Context,
  kind: (typeof nameKinds)[number],
  cluster: string | undefined,
): Promise<number> {
  const limit = new AbortController();
  const found = names(context, kind, cluster === "" ? undefined : cluster).catch(() => []);
  const late = delay(limitMs, [], { signal: limit.signal }).catch(() => []);
  const list = await Promise.race([found, late]);
  limit.abort();
  // A name with a character that shells act on is none of ours.
  const safe = [...new Set(list)].filter((name) => /^[A-Za-z0-9._-]+$/.test(name)).slice(0, namesMax);
  if (safe.length > 0) {
    context.screen.print(safe.join("\n"));
  }
  return 0;
}
