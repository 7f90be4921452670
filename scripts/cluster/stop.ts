/**
 * Ends a development cluster and removes its folder: the daemons by their recorded identities, then skylets and jobs,
 * found by the attempt ids and the folder that only they carry. It must never end a process that merely mentions the
 * folder, such as an editor, and is safe to call twice. Called by dev-cluster.ts.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { attemptIdSchema } from "../../shared/ids.ts";
import { ClusterError, pathsOf } from "./layout.ts";
import { end, type Identity, identify, readPids } from "./processes.ts";

const roundsMax = 20;

/**
 * Every attempt that has a folder on one of the nodes, with the uids whose folders hold it. A user can make a folder of
 * any name there, also that of another user's attempt on another cluster: it says something of the user's own processes
 * only.
 */
function attemptOwners(dir: string): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  const list = (path: string): string[] => {
    try {
      return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
    } catch {
      return [];
    }
  };
  const { nodesDir } = pathsOf(dir);
  for (const node of list(nodesDir)) {
    for (const uid of list(join(nodesDir, node, "run"))) {
      for (const name of list(join(nodesDir, node, "run", uid))) {
        if (attemptIdSchema.safeParse(name).success) {
          found.set(name, (found.get(name) ?? new Set()).add(Number(uid)));
        }
      }
    }
  }
  return found;
}

function strings(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** A skylet (or what starts it) names a node's folder in its arguments; a job carries its attempt's id. */
function belongs(pid: number, dir: string, attempts: Map<string, Set<number>>): boolean {
  const args = strings(`/proc/${pid}/cmdline`);
  const nodes = `${pathsOf(dir).nodesDir}/`;
  if (args.some((arg) => arg.includes(nodes)) && args.some((arg) => arg.includes("skylet"))) {
    return true;
  }
  if (args.some((arg) => arg.includes(nodes) && [...attempts.keys()].some((id) => arg.includes(id)))) {
    return true;
  }
  const owner = ownerOf(pid);
  return strings(`/proc/${pid}/environ`).some((entry) => {
    const owners = attempts.get(entry.slice(entry.indexOf("=") + 1));
    return owner !== null && owners?.has(owner) === true;
  });
}

/** The uid of a process; null when it is gone. */
function ownerOf(pid: number): number | null {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch {
    return null;
  }
}

function members(dir: string): Identity[] {
  const attempts = attemptOwners(dir);
  const found: Identity[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = /^[0-9]+$/.test(name) ? Number(name) : 0;
    if (pid > 1 && pid !== process.pid && belongs(pid, dir, attempts)) {
      const identity = identify(pid);
      if (identity !== null && !isZombie(pid)) {
        found.push(identity);
      }
    }
  }
  return found;
}

function isZombie(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

/** Ends skylets and jobs until a look finds none; bounded, since a job may start others while it ends. */
async function endMembers(dir: string): Promise<void> {
  for (let round = 0; round < roundsMax; round += 1) {
    const found = members(dir);
    if (found.length === 0) {
      return;
    }
    await end(found, round === 0 ? 2_000 : 0);
  }
  throw new ClusterError(
    `jobs of ${dir} keep starting new processes: ${members(dir)
      .map((it) => it.pid)
      .join(", ")}`,
  );
}

/** Ends everything and removes the folder. Returns false when there was nothing. */
export async function stop(dir: string): Promise<boolean> {
  if (!existsSync(dir)) {
    return false;
  }
  const names = readdirSync(dir).filter((name) => name !== "lock");
  if (names.length === 0) {
    return false;
  }
  if (!existsSync(pathsOf(dir).clusterFile)) {
    throw new ClusterError(`${dir} holds no cluster, so nothing of it is touched.`);
  }
  const pids = [...readPids(dir)];
  const daemons = (redis: boolean): Identity[] =>
    pids.flatMap(([part, identity]) => ((part === "redis") === redis ? [identity] : []));
  await end(daemons(false), 5_000);
  await endMembers(dir);
  await end(daemons(true), 5_000);
  // rm works from open folders and follows no link, which matters below folders that users could write. cluster.json
  // goes last: while it is there, an interrupted stop can be repeated.
  const last = basename(pathsOf(dir).clusterFile);
  const paths = [...names.filter((name) => name !== last), last].map((name) => join(dir, name));
  for (const path of paths) {
    execFileSync("rm", ["-rf", "--one-file-system", "--", path]);
  }
  return true;
}

/** Removes the folder itself where it is empty and may be removed. */
export function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // Somebody else's folder, or not empty: it stays.
  }
}
