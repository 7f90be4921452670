/**
 * Where a rank's output lies in the user's home: `~/sky_logs/<job id>-<job name>/` with the file names of SkyPilot.
 * Homes may be shared by ranks and by clusters, and job ids may begin again, so a marker file says whose folder it is;
 * a foreign one is never written into. All ranks of one attempt share one folder. Called by attempts.ts and output.ts.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync } from "node:fs";
import { link, mkdir, readdir, readFile, rename, rmdir, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { SkyError } from "../../shared/errors.ts";

const marker = ".attempt";
const suffixesMax = 1000;
const rankFileBytesMax = 65_536;

/** What a rank leaves beside its logs, so that they can be read after its attempt was forgotten. */
const rankFileSchema = z.strictObject({
  attempt: z.string(),
  pid: z.int().positive(),
  /** Paths relative to the log folder; `prefix` stands before each merged line. */
  setupLog: z.string().regex(/^setup(-[^/]+)?\.log$/),
  runLog: z.string().regex(/^tasks\/[^/]+\.log$/),
  setupPrefix: z.string(),
  runPrefix: z.string(),
  /** The rank's output is complete. */
  ended: z.boolean().default(false),
});
export type RankFile = z.infer<typeof rankFileSchema>;

/** File names and line prefixes of a rank. Source: SkyPilot's log layout and prefixes. */
export function rankFileOf(wanted: WantedAttempt, pid: number): RankFile {
  const address = (wanted.addresses[wanted.rank] ?? "unknown").replaceAll("/", "_");
  const head = wanted.singleNodeCluster || wanted.nodeLabel === "head";
  const place = head ? "" : `, ip=${address}`;
  const label = wanted.nodeLabel.replaceAll("/", "_");
  return {
    attempt: wanted.attempt,
    pid,
    setupLog: head ? "setup.log" : `setup-${address}.log`,
    runLog: wanted.singleNodeCluster ? "tasks/run.log" : `tasks/${wanted.rank}-${label}.log`,
    setupPrefix: `(setup pid=${pid}${place})`,
    runPrefix: wanted.singleNodeCluster
      ? `(${wanted.jobName ?? "task"}, pid=${pid})`
      : `(${wanted.nodeLabel}, rank=${wanted.rank}, pid=${pid}${place})`,
    ended: false,
  };
}

/** Makes (or finds, when another rank was first) the attempt's log folder; returns its path relative to the home. */
export async function claimLogFolder(home: string, wanted: WantedAttempt): Promise<string> {
  const base = `sky_logs/${wanted.jobId}-${wanted.jobName ?? "sky-cmd"}`;
  await mkdir(join(home, "sky_logs"), { recursive: true });
  for (let number = 1; number <= suffixesMax; number += 1) {
    const relative = number === 1 ? base : `${base}.${number}`;
    if (await claim(join(home, relative), wanted.attempt)) {
      await mkdir(join(home, relative, "tasks"), { recursive: true });
      return relative;
    }
  }
  throw new SkyError(
    "ValueError",
    `${join(home, base)} and ${suffixesMax - 1} more of this name exist: remove old ones.`,
  );
}

/** True when the folder is this attempt's now. The marker appears with its content at once (link), also over NFS. */
async function claim(folder: string, attempt: string): Promise<boolean> {
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") {
      throw error;
    }
  });
  const names = await readdir(folder);
  if (!names.includes(marker) && (names.includes("tasks") || names.includes("run.log"))) {
    return false;
  }
  const draft = join(folder, `${marker}.${randomBytes(8).toString("hex")}`);
  try {
    await writeFile(draft, attempt, { flag: "wx" });
    await link(draft, join(folder, marker));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw error;
    }
    return (await readFile(join(folder, marker), "utf8")) === attempt;
  } finally {
    await unlink(draft).catch(() => undefined);
    if (!names.includes(marker)) {
      // Only an empty folder goes: one that this call made and could not write into.
      await rmdir(folder).catch(() => undefined);
    }
  }
}

/** Appears whole: streams may be looking for it. */
export async function writeRankFile(folder: string, rank: number, file: RankFile): Promise<void> {
  const path = join(folder, `.rank-${rank}`);
  const draft = `${path}.${randomBytes(8).toString("hex")}`;
  try {
    await writeFile(draft, JSON.stringify(file), { flag: "wx" });
    await rename(draft, path);
  } catch (error) {
    await unlink(draft).catch(() => undefined);
    throw error;
  }
}

/** A file's text, at once: a fifo or a device in its place would hold up the skylet, or never end. */
function readPlainFile(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const facts = fstatSync(fd);
    if (!facts.isFile() || facts.size > rankFileBytesMax) {
      throw new Error(`${path} is not what was written there`);
    }
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

/** Null when there is none, or it was damaged; the file lies where the user can write. */
export function readRankFile(folder: string, rank: number): RankFile | null {
  try {
    return rankFileSchema.parse(JSON.parse(readPlainFile(join(folder, `.rank-${rank}`))));
  } catch {
    return null;
  }
}

/** Takes back what a start that failed has made, unless other ranks use the folder. */
export async function releaseLogFolder(folder: string, rank: number, file: RankFile): Promise<void> {
  for (const name of [`.rank-${rank}`, file.setupLog, file.runLog]) {
    await unlink(join(folder, name)).catch(() => undefined);
  }
  await rmdir(join(folder, "tasks")).catch(() => undefined);
  if (!existsSync(join(folder, "tasks"))) {
    await unlink(join(folder, marker)).catch(() => undefined);
    await rmdir(folder).catch(() => undefined);
  }
}
