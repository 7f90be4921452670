/**
 * `sky-coordinator backup FILE`: one consistent copy of the state in one file, taken while the coordinator works. With
 * `--move` it is the last one of a head that has stopped: the state is then served nowhere until it is put back. It must
 * never leave half a file under the name that was asked for, and never stop or change what runs. Called by verbs.ts.
 */
import { createReadStream, existsSync } from "node:fs";
import { open, readFile, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { commit, version } from "../../shared/version.ts";
import type { CoordinatorConfig } from "../config.ts";
import { openFence, openLink, type RedisLink } from "../redis.ts";
import { Secrets } from "../secrets.ts";
import { usageFiles, usageFolder } from "../usage-files.ts";
import { ArchiveWriter, type Manifest } from "./archive.ts";
import { syncFolder } from "./files.ts";
import { movedKey } from "./marks.ts";
import { Owner } from "./owner.ts";
import { snapshot } from "./snapshot.ts";

/** Free bytes that stay on the backup's disk. */
const spareBytes = 32 * 1024 * 1024;
const progressMs = 2_000;
const chunkBytes = 1024 * 1024;

export interface TakeOptions {
  file: string;
  /** The text of the config file, kept in the backup for reference. */
  configText: string;
  move: boolean;
}

/** Resolves when the backup is on disk under its name. `say` gets one line a step. */
export async function takeBackup(
  config: CoordinatorConfig,
  options: TakeOptions,
  say: (line: string) => void,
): Promise<void> {
  const path = resolve(options.file);
  if (existsSync(path)) {
    throw new SkyError("ValueError", `${path} exists already.`, "Name another file; backups are never overwritten.");
  }
  const owner = Owner.of(config.state_dir);
  const partial = `${path}.part`;
  // Before the rights are given up: the backup may go where only root can write.
  await rm(partial, { force: true });
  const file = await open(partial, "wx", 0o600);
  const freeBytes = await freeFor(path);
  let link: RedisLink | null = null;
  try {
    owner.enter();
    link = await linkFor(config, options.move);
    const started = performance.now();
    const facts = await write(config, { ...options, freeBytes }, link, new ArchiveWriter(file), say);
    await file.close();
    if (options.move) {
      await mark(link, facts.takenAt);
    }
    owner.leave();
    await rename(partial, path);
    await syncFolder(dirname(path));
    say(`${path} is complete (state ${facts.stateId}, ${((performance.now() - started) / 1000).toFixed(1)} s).`);
  } catch (error) {
    owner.leave();
    await file.close().catch(() => {});
    await rm(partial, { force: true });
    throw error;
  } finally {
    link?.close();
  }
  const advice = options.move
    ? "This head does not serve the state any more. Put the backup back on the new head: sky-coordinator restore FILE"
    : "It holds the keys of the cluster: keep it where only admins can read it.";
  say(advice);
}

/** A last backup needs that no coordinator works, and that none starts meanwhile. */
async function linkFor(config: CoordinatorConfig, isLast: boolean): Promise<RedisLink> {
  try {
    return isLast ? await openFence(config.redis.socket) : await openLink(config.redis.socket, "sky-backup");
  } catch (error) {
    const hint = isLast
      ? "For a last backup stop the coordinator (not Redis): systemctl stop sky-coordinator.service. Jobs run on."
      : "Redis must run for a backup: systemctl start sky-redis.service";
    throw new SkyError("ServerUnavailableError", `No backup was taken: ${messageOf(error)}.`, hint);
  }
}

function mark(link: RedisLink, takenAt: string): Promise<unknown> {
  return link.run("marking the state as handed over", () => link.client.set(movedKey, takenAt));
}

async function write(
  config: CoordinatorConfig,
  options: TakeOptions & { freeBytes: number },
  link: RedisLink,
  archive: ArchiveWriter,
  say: (line: string) => void,
): Promise<Omit<Manifest, "format" | "parts" | "usage">> {
  const info = await link.run("INFO", () => link.client.info());
  const [stateId, epoch, print] = await link.run("reading the state's identity", () =>
    link.client.mget("sky-state:id", "sky-state:epoch", "sky-state:key"),
  );
  if (typeof stateId !== "string" || typeof print !== "string") {
    throw new SkyError("ValueError", "There is no state yet: no coordinator has started here.");
  }
  const secretsKey = await readFile(join(config.state_dir, "secrets.key"));
  if (new Secrets(secretsKey).fingerprint !== print) {
    throw new SkyError(
      "ValueError",
      "The file secrets.key in state_dir is not the one with which this Redis state was written.",
      "A backup of the two could not be used. Put the right key file back first.",
    );
  }
  const expected = Number(/^used_memory:(\d+)/m.exec(info)?.[1] ?? 0) + (await usageBytes(config));
  requireSpace(options, expected);
  say(`Copying the state (at most about ${megabytes(expected)} MB) while the coordinator works ...`);
  const takenAt = new Date().toISOString();
  await archive.add("coordinator.yaml", Buffer.from(options.configText));
  await archive.add("host_key", await readFile(config.host_key));
  await archive.add("secrets.key", secretsKey);
  await archive.stream("redis.rdb", (take) => copyRedis(config, link, take, say));
  // Afterwards: what was on its way from Redis to the history is then in one of them, or in both and counts once.
  await addUsage(config, archive);
  const facts = {
    ...{ version, commit, cluster: config.cluster, stateId, epoch: Number(epoch ?? 0), takenAt, moved: options.move },
    redisVersion: /^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown",
  };
  await archive.finish(facts);
  return facts;
}

async function usageBytes(config: CoordinatorConfig): Promise<number> {
  const folder = join(config.state_dir, usageFolder);
  const sizes = (await usageFiles(folder)).map(async (name) => (await stat(join(folder, name))).size);
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

async function addUsage(config: CoordinatorConfig, archive: ArchiveWriter): Promise<void> {
  const folder = join(config.state_dir, usageFolder);
  for (const name of await usageFiles(folder)) {
    await archive.stream(`usage/${name}`, async (take) => {
      for await (const chunk of createReadStream(join(folder, name), { highWaterMark: chunkBytes })) {
        await take(chunk as Buffer);
      }
    });
  }
}

const delayKey = "repl-diskless-sync-delay";

async function copyRedis(
  config: CoordinatorConfig,
  link: RedisLink,
  take: (bytes: Buffer) => Promise<void>,
  say: (line: string) => void,
): Promise<void> {
  const found: unknown = await link.run("CONFIG GET", () => link.client.config("GET", delayKey));
  const delay = Array.isArray(found) && typeof found[1] === "string" ? found[1] : null;
  const setDelay = (value: string): Promise<unknown> =>
    link.run("CONFIG SET", () => link.client.config("SET", delayKey, value).catch(() => null));
  // Redis waits some seconds in case that more want a copy.
  await setDelay("0");
  let bytes = 0;
  let saidAt = performance.now();
  try {
    await snapshot(config.redis.socket, async (chunk) => {
      bytes += chunk.length;
      await take(chunk);
      if (performance.now() - saidAt > progressMs) {
        saidAt = performance.now();
        say(`  ${megabytes(bytes)} MB`);
      }
    });
  } finally {
    if (delay !== null) {
      await setDelay(delay).catch(() => {});
    }
  }
}

async function freeFor(path: string): Promise<number> {
  const disk = await statfs(dirname(path));
  return disk.bavail * disk.bsize;
}

function requireSpace({ file, freeBytes }: { file: string; freeBytes: number }, bytes: number): void {
  if (freeBytes < bytes + spareBytes) {
    throw new SkyError(
      "ValueError",
      `${dirname(resolve(file))} has ${megabytes(freeBytes)} MB free; the backup may need ${megabytes(bytes + spareBytes)} MB.`,
      "Free some space or name a file on another disk. Nothing was written.",
    );
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}
