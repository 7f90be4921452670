/**
 * `sky-coordinator restore FILE`: puts a backup in the place of the present state, which is set aside and never removed.
 * Everything is prepared and checked beside the present state; then one exchange of two folders decides, so that a crash
 * at any moment leaves the old state or the new one. It must never touch anything before the backup has been found
 * whole, nor while a coordinator works. Called by verbs.ts.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import { version } from "../../shared/version.ts";
import { exchange } from "../../system/exchange.ts";
import type { CoordinatorConfig } from "../config.ts";
import { Archive, type Manifest } from "./archive.ts";
import { replaceFile, syncFile, syncFolder } from "./files.ts";
import { asideFolder, completeRestore, redisFolder, workFolder } from "./marks.ts";
import { Owner } from "./owner.ts";
import { controlUnit } from "./processes.ts";
import { buildData, type Held } from "./rebuild.ts";
import { stageUsage, usageBytes } from "./usage.ts";
import { type Present, present } from "./present.ts";

/** The data's entry in the Redis folder: since Redis 7, and before. */
const dataEntries = ["appendonlydir", "appendonly.aof"] as const;
/** The snapshot, the files that are made of it, and what writing adds meanwhile, as multiples of the snapshot. */
const spaceFactor = 3;
const spareBytes = 32 * 1024 * 1024;

export interface PutBackOptions {
  file: string;
  /** Set aside a state that has jobs. */
  replace: boolean;
}

/** Resolves when the state is in place. `say` gets one line a step. */
export async function putBack(
  config: CoordinatorConfig,
  options: PutBackOptions,
  say: (line: string) => void,
): Promise<void> {
  const file = await open(options.file, "r").catch((error: Error) => {
    throw new SkyError("ValueError", `The backup cannot be read: ${error.message}.`);
  });
  const owner = Owner.of(config.state_dir);
  let now: Present | null = null;
  try {
    owner.enter();
    say(`1/6 Checking ${options.file} ...`);
    const archive = await Archive.open(file, options.file);
    requireFit(archive.manifest, config);
    say("2/6 Looking at what is here ...");
    now = await present(config, owner);
    requireReplaceable(now, options, config);
    await requireSpace(config, archive);
    const id = newId();
    const held = await prepare(config, archive, owner, id, say);
    say("5/6 Exchanging the states ...");
    await decide(config, now, id);
    say("6/6 Bringing the key files to their places ...");
    await completeRestore(config, id);
    owner.leave();
    tell(config, archive.manifest, now, id, held, say);
  } finally {
    owner.leave();
    now?.release();
    if (now?.stopped === true) {
      controlUnit("start");
    }
    await file.close();
  }
}

function requireFit(manifest: Manifest, config: CoordinatorConfig): void {
  if (manifest.cluster !== config.cluster) {
    throw new SkyError(
      "ValueError",
      `The backup is of cluster '${manifest.cluster}', the config is of '${config.cluster}'.`,
      "Nothing was changed.",
    );
  }
  if (isNewer(manifest.version, version)) {
    throw new SkyError(
      "ValueError",
      `The backup was taken by version ${manifest.version}; this is ${version}.`,
      "Nothing was changed. Install that version or a newer one first.",
    );
  }
}

/** Compares the numbers of two versions; what follows a hyphen does not count. */
function isNewer(one: string, other: string): boolean {
  const numbers = (text: string): number[] => (text.split("-")[0] ?? "").split(".").map(Number);
  const [a, b] = [numbers(one), numbers(other)];
  for (let at = 0; at < 3; at += 1) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) {
      return difference > 0;
    }
  }
  return false;
}

function requireReplaceable(now: Present, options: PutBackOptions, config: CoordinatorConfig): void {
  if (now.hasJobs && !options.replace) {
    throw new SkyError(
      "ValueError",
      `There is a state with jobs in ${redisFolder(config)}${now.known ? "" : " (or may be: Redis does not run, so it cannot be asked)"}.`,
      "Nothing was changed. With --replace it is set aside under another name, and the backup takes its place.",
    );
  }
}

async function requireSpace(config: CoordinatorConfig, archive: Archive): Promise<void> {
  const folder = redisFolder(config);
  const disk = await statfs(folder);
  const needed = archive.manifest.parts["redis.rdb"].bytes * spaceFactor + usageBytes(archive) + spareBytes;
  const free = disk.bavail * disk.bsize;
  if (free < needed) {
    const megabytes = (bytes: number): number => Math.ceil(bytes / 1024 / 1024);
    throw new SkyError(
      "ValueError",
      `${folder} has ${megabytes(free)} MB free; the restore needs ${megabytes(needed)} MB.`,
      "Nothing was changed. Free some space first.",
    );
  }
}

/** Everything that the new state consists of, on disk beside the present one. */
async function prepare(
  config: CoordinatorConfig,
  archive: Archive,
  owner: Owner,
  id: string,
  say: (line: string) => void,
): Promise<Held> {
  const [data, keys] = [workFolder(redisFolder(config), id), workFolder(config.state_dir, id)];
  try {
    say(`3/6 Reading the state of ${archive.manifest.takenAt} ...`);
    await mkdir(data, { mode: 0o700 });
    await copyTo(archive, join(data, "redis.rdb"));
    const held = await buildData(data, archive.manifest, await archive.read("secrets.key"), owner, id);
    say("4/6 Writing it to disk ...");
    await rm(join(data, "redis.rdb"));
    await rm(join(data, "s"), { force: true });
    await syncTree(data);
    await mkdir(keys, { mode: 0o700 });
    for (const name of ["secrets.key", "host_key"] as const) {
      await replaceFile(join(keys, name), await archive.read(name));
    }
    await stageUsage(config, archive, keys);
    await syncFolder(config.state_dir);
    await syncFolder(redisFolder(config));
    return held;
  } catch (error) {
    await dropWork(config, id);
    throw error;
  }
}

/** Only before the exchange: afterwards the folder holds the former state. */
async function dropWork(config: CoordinatorConfig, id: string): Promise<void> {
  for (const parent of [redisFolder(config), config.state_dir]) {
    await rm(workFolder(parent, id), { recursive: true, force: true });
  }
}

async function copyTo(archive: Archive, path: string): Promise<void> {
  const file: FileHandle = await open(path, "wx", 0o600);
  try {
    await archive.copy("redis.rdb", file);
  } finally {
    await file.close();
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    await (entry.isDirectory() ? syncTree(path) : syncFile(path));
  }
  await syncFolder(folder);
}

/** Redis is stopped, and the new data takes the place of the present in one step. */
async function decide(config: CoordinatorConfig, now: Present, id: string): Promise<void> {
  const folder = redisFolder(config);
  const work = workFolder(folder, id);
  try {
    await now.stop();
    const entry = dataEntries.find((name) => existsSync(join(work, name)));
    if (entry === undefined) {
      throw new SkyError("InternalError", `Redis has left no data in ${work}.`, "Nothing was changed.");
    }
    if (existsSync(join(folder, entry))) {
      exchange(join(work, entry), join(folder, entry));
    } else {
      await rename(join(work, entry), join(folder, entry));
    }
  } catch (error) {
    await dropWork(config, id);
    throw error;
  }
  await syncFolder(folder);
  await syncFolder(work);
}

function newId(): string {
  const time = new Date().toISOString().replace(/[-:]/g, "").replace(/\.\d+/, "");
  return `${time}-${randomBytes(4).toString("hex")}`;
}

function tell(
  config: CoordinatorConfig,
  manifest: Manifest,
  now: Present,
  id: string,
  held: Held,
  say: (line: string) => void,
): void {
  say(`The state of ${manifest.takenAt} is in place: ${held.waiting} waiting and ${held.begun} begun jobs.`);
  for (const parent of [redisFolder(config), config.state_dir]) {
    if (existsSync(asideFolder(parent, id))) {
      say(`What was here before: ${asideFolder(parent, id)}\nRemove it when you are sure.`);
    }
  }
  if (!manifest.moved && held.waiting > 0) {
    say("Waiting jobs are held, since they may have run after the backup: see `sky admin release`.");
  }
  say(`${now.stopped ? "Start" : "Start Redis, then"} the coordinator: systemctl start sky-coordinator.service`);
}
