/**
 * What most end-to-end tests need at once: a cluster, a real sshd before it, ordinary users who have registered it. Also
 * the few readings of sky's text that tests share. Everything is removed by `stop`, in whatever state it is.
 */
import { type Sshd, startSshd } from "./sshd.ts";
import { startCluster, type TestCluster } from "./cluster.ts";
import { register, sky, skyOk } from "./sky.ts";
import { until } from "./until.ts";
import { makeUser, removeUser, type TestUser } from "./users.ts";

export interface Site {
  cluster: TestCluster;
  sshd: Sshd;
  users: TestUser[];
  stop: () => Promise<void>;
}

export interface SiteOptions {
  /** Default 1. */
  users?: number;
  /** Default: three nodes, `V100:4,V100:4,-`; null: one node that looks what it has. */
  accelerators?: string | null;
  coordinatorConfig?: Record<string, unknown>;
  agentConfig?: Record<string, unknown>;
  /** Lines for sshd's config. */
  sshdLines?: string[];
  /** Default true: every user has initialized the cluster. */
  initialized?: boolean;
  /** Default: `clusterName`. */
  clusterName?: string;
}

/** The cluster's name in every test. */
export const clusterName = "lab";

export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const { accelerators = "V100:4,V100:4,-" } = options;
  const undo: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.reverse()) {
      await step();
    }
  };
  try {
    const users: TestUser[] = [];
    for (let count = 0; count < (options.users ?? 1); count += 1) {
      const user = await makeUser();
      users.push(user);
      undo.push(() => removeUser(user));
    }
    const sshd = await startSshd(options.sshdLines);
    undo.push(sshd.stop);
    const cluster = await startCluster([
      ...["--name", options.clusterName ?? clusterName],
      ...(accelerators === null ? ["--nodes", "1"] : [`--accelerators=${accelerators}`]),
      ...["--coordinator-config", JSON.stringify({ grace_seconds: 2, ...options.coordinatorConfig })],
      ...["--agent-config", JSON.stringify({ cpus: 4, memory_gb: 16, ...options.agentConfig })],
    ]);
    undo.push(cluster.stop);
    for (const user of users) {
      register(user, cluster, sshd);
      if (options.initialized !== false) {
        await skyOk(user, ["launch", "-c", clusterName, "", "-y"]);
      }
    }
    return { cluster, sshd, users, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Without colours, carriage returns at line ends, and lines that were drawn over by the next. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what colours begin with
  return text
    .replace(/(\r\u001b\[K[^\r\n]*)+\r\u001b\[K/g, "")
    .replace(/\u001b\[[0-9;]*m/g, "")
    .replace(/\r\n/g, "\n");
}

/** The job's own lines in a stream: those with a prefix, without it. `kind`: which prefixes (a word before the first comma or space). */
export function jobLines(text: string, kind = "[^ ,)]+"): string[] {
  const pattern = new RegExp(`^\\((${kind})[, ][^)]*pid=\\d+[^)]*\\) ?(.*)$`);
  return plain(text)
    .split("\n")
    .flatMap((line) => {
      const match = pattern.exec(line);
      return match === null ? [] : [match[2] ?? ""];
    });
}

export interface QueueRow {
  job_id: number;
  job_name: string | null;
  status: string;
  reason: string | null;
  resources: string;
  position: number | null;
  nodes: string[];
}

/** The user's queue as `sky queue -o json` has it, by job id. */
export async function queueOf(user: TestUser): Promise<Map<number, QueueRow>> {
  const text = await skyOk(user, ["queue", clusterName, "-o", "json"]);
  const parsed = JSON.parse(text) as QueueRow[] | Record<string, QueueRow[]>;
  const rows = Array.isArray(parsed) ? parsed : Object.values(parsed).flat();
  return new Map(rows.map((row) => [row.job_id, row]));
}

/** Submits detached; returns the job's id. */
export async function submit(
  user: TestUser,
  args: readonly string[],
  verb: "launch" | "exec" = "exec",
): Promise<number> {
  const text = plain(await skyOk(user, [verb, "-c", clusterName, "-d", ...(verb === "launch" ? ["-y"] : []), ...args]));
  const id = /Job submitted, ID: (\d+)/.exec(text)?.[1];
  if (id === undefined) {
    throw new Error(`no job id in: ${text}`);
  }
  return Number(id);
}

/** The status of one job, by `sky logs --status`. */
export async function statusOf(user: TestUser, id: number): Promise<string> {
  const result = await sky(user, ["logs", clusterName, String(id), "--status"]);
  return /Job \d+: (\S+)/.exec(plain(result.stdout))?.[1] ?? `? ${result.stdout}${result.stderr}`;
}

/** Waits until a job has this status. */
export async function untilStatus(user: TestUser, id: number, status: string, limitMs = 30_000): Promise<void> {
  let last = "";
  await until(
    async () => {
      last = await statusOf(user, id);
      return last === status;
    },
    `job ${id} to be ${status}`,
    limitMs,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${last}`);
  });
}

/** What a person would look at after a failed test: the user's jobs and the ends of the daemons' logs. */
export async function tell(site: Site): Promise<void> {
  for (const user of site.users) {
    const rows = await sky(user, ["queue", clusterName, "-o", "json"]);
    process.stdout.write(`queue of ${user.name}: ${rows.stdout}${rows.stderr}\n`);
  }
  for (const part of ["coordinator", "agent:n1"]) {
    process.stdout.write(`log of ${part}:\n${site.cluster.log(part).slice(-6_000)}\n`);
  }
}
