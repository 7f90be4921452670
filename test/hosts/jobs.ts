/**
 * What tests of a deployed cluster do with jobs: submit, look, wait, read. All of it through the installed `sky`, as a
 * user would. Used by the cluster tests.
 */
import { jobLines, plain, type QueueRow } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type Cluster, clusterName } from "./cluster.ts";

/** Where users type. */
export type Desk = Pick<Cluster, "sky" | "skyMust">;

/** Submits a command line detached; returns the job's id. `words` go before the command, e.g. `["--gpus", "V100:1"]`. */
export async function submit(
  cluster: Desk,
  user: string,
  command: string,
  words: readonly string[] = [],
): Promise<number> {
  const argv = ["exec", "-c", clusterName, "-d", ...words, "--", command];
  const text = plain(await cluster.skyMust(user, argv));
  const id = /Job submitted, ID: (\d+)/.exec(text)?.[1];
  if (id === undefined) {
    throw new Error(`no job id in: ${text}`);
  }
  return Number(id);
}

/** One row of the user's queue. */
export async function rowOf(cluster: Desk, user: string, id: number): Promise<QueueRow> {
  const parsed = JSON.parse(await cluster.skyMust(user, ["queue", clusterName, "-o", "json"])) as
    | QueueRow[]
    | Record<string, QueueRow[]>;
  const rows = Array.isArray(parsed) ? parsed : Object.values(parsed).flat();
  const row = rows.find((one) => one.job_id === id);
  if (row === undefined) {
    throw new Error(`job ${id} is not in ${user}'s queue`);
  }
  return row;
}

/** Waits until a job has this status; returns its row. */
export async function untilStatus(
  cluster: Desk,
  user: string,
  id: number,
  status: string,
  limitMs = 60_000,
): Promise<QueueRow> {
  let last: QueueRow | null = null;
  const reached = async (): Promise<QueueRow | null> => {
    last = await rowOf(cluster, user, id);
    return last.status === status ? last : null;
  };
  try {
    return await until(reached, `job ${id} to be ${status}`, limitMs);
  } catch (error) {
    throw new Error(`${String(error)}; it is ${JSON.stringify(last)}`, { cause: error });
  }
}

/** A job's own lines, as `sky logs` has them. */
export async function linesOf(cluster: Desk, user: string, id: number): Promise<string[]> {
  const result = await cluster.sky(user, ["logs", clusterName, String(id), "--no-follow"]);
  return jobLines(result.stdout);
}
