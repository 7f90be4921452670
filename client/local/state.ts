/**
 * Which clusters this user has initialized on this machine, and what `sky status` shows of them, in one small file
 * (`~/.sky/onprem/state.json`, mode 0600). It holds no secret and nothing that cannot be learned again: losing it only
 * makes clusters uninitialized. Several `sky` commands may write at once. Called by client/commands only.
 */
import { mkdirSync, openSync, closeSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { clusterNameSchema } from "../../shared/ids.ts";

const initializedSchema = z.strictObject({
  /** The account on the cluster. */
  user: z.string(),
  headIp: z.string(),
  /** As `sky status` shows it: `[{'V100': 4}, (no GPUs)]`. */
  resources: z.string(),
  /** The last command line, uncut; null: none yet. */
  command: z.string().nullable(),
  /** Seconds since 1970 of the last launch. */
  launchedAt: z.number(),
});
export type InitializedCluster = z.infer<typeof initializedSchema>;

const stateSchema = z.strictObject({
  version: z.literal(1),
  clusters: z.record(clusterNameSchema, initializedSchema),
});
type State = z.infer<typeof stateSchema>;

/** A writer holds the lock for milliseconds; one that is older was left behind by a killed process. */
const lockStaleMs = 5_000;
const lockWaitMs = 10_000;

/** Initialized clusters by name. No file: none. Throws SkyError("ValueError") when the file is damaged. */
export function readInitialized(stateFile: string): Map<string, InitializedCluster> {
  return new Map(Object.entries(readState(stateFile).clusters));
}

/** Remembers a cluster, or what is new about it. Throws SkyError("ValueError") when the file cannot be written. */
export async function saveInitialized(stateFile: string, name: string, cluster: InitializedCluster): Promise<void> {
  await change(stateFile, (state) => {
    state.clusters[name] = cluster;
  });
}

/** Forgets clusters; those that are not there are ignored. */
export async function forgetInitialized(stateFile: string, names: readonly string[]): Promise<void> {
  await change(stateFile, (state) => {
    for (const name of names) {
      delete state.clusters[name];
    }
  });
}

/** Forgets the clusters whose registration file has gone; returns one line for the user for each. */
export async function dropUnregistered(stateFile: string, registered: Iterable<string>): Promise<string[]> {
  const known = new Set(registered);
  const gone = [...readInitialized(stateFile).keys()].filter((name) => !known.has(name));
  if (gone.length > 0) {
    await forgetInitialized(stateFile, gone);
  }
  return gone.map((name) => `Removing local cluster ${name} from \`sky status\`. No config found in ~/.sky/local.`);
}

function readState(stateFile: string): State {
  let text: string;
  try {
    text = readFileSync(stateFile, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      return { version: 1, clusters: {} };
    }
    throw new SkyError("ValueError", `Cannot read ${stateFile}: ${messageOf(error)}.`);
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch {
    throw new SkyError(
      "ValueError",
      `${stateFile} is damaged or was written by another version.`,
      `Remove it (rm ${stateFile}); \`sky launch -c NAME ''\` then initializes each cluster again.`,
    );
  }
}

async function change(stateFile: string, apply: (state: State) => void): Promise<void> {
  try {
    mkdirSync(dirname(stateFile), { recursive: true, mode: 0o700 });
    await changeLocked(stateFile, apply);
  } catch (error) {
    throw error instanceof SkyError
      ? error
      : new SkyError("ValueError", `Cannot write ${stateFile}: ${messageOf(error)}.`);
  }
}

async function changeLocked(stateFile: string, apply: (state: State) => void): Promise<void> {
  const lock = `${stateFile}.lock`;
  await takeLock(lock);
  const temporary = `${stateFile}.${process.pid}.tmp`;
  try {
    const state = readState(stateFile);
    apply(state);
    writeFileSync(temporary, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
    renameSync(temporary, stateFile);
  } finally {
    rmSync(temporary, { force: true });
    rmSync(lock, { force: true });
  }
}

async function takeLock(lock: string): Promise<void> {
  const end = performance.now() + lockWaitMs;
  for (;;) {
    try {
      closeSync(openSync(lock, "wx", 0o600));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
        throw error;
      }
    }
    if (isStale(lock)) {
      rmSync(lock, { force: true });
    } else if (performance.now() > end) {
      throw new SkyError("ValueError", `${lock} is held by another sky command.`, `If none is running: rm ${lock}`);
    } else {
      await delay(10);
    }
  }
}

function isStale(lock: string): boolean {
  const stats = statSync(lock, { throwIfNoEntry: false });
  return stats !== undefined && Date.now() - stats.mtimeMs > lockStaleMs;
}
