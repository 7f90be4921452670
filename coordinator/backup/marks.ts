/**
 * What backups and restores leave in the state for the coordinator that opens it next: that it was handed over to
 * another head, or that it was put back from a backup whose key files still have to be brought to their places. It must
 * never go on with half a restore. Called by generation.ts before anything else is read, and by the other files here.
 */
import { link, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { RedisLink } from "../redis.ts";
import { readIfThere, replaceFile, syncFolder } from "./files.ts";
import { completeUsage } from "./usage.ts";

/** When the state was handed over with `backup --move`; it must not be served here any more. */
export const movedKey = "sky-state:moved";
/** Names the restore that this state comes from, and with it the folders that it worked in. */
export const restoredKey = "sky-state:restored";

/** The folders of one restore: work in progress, and what it has set aside. */
export const workFolder = (parent: string, id: string): string => join(parent, `restore-${id}`);
export const asideFolder = (parent: string, id: string): string => join(parent, `before-restore-${id}`);
const idPattern = /^[0-9TZ]{16}-[0-9a-f]{8}$/;

export const redisFolder = (config: CoordinatorConfig): string => dirname(config.redis.socket);

/** Refuses a state that was handed over, and completes a restore that was cut off after its one decisive step. */
export async function settleMarks(config: CoordinatorConfig, link: RedisLink): Promise<void> {
  const [moved, restored] = await link.run("reading the state's marks", () => link.client.mget(movedKey, restoredKey));
  if (typeof moved === "string") {
    throw new SkyError(
      "ServerUnavailableError",
      `This state was handed over with 'backup --move' at ${moved.slice(0, 40)} and is served by another head now.`,
      "To serve it here again, put that backup back here: sky-coordinator restore FILE --replace",
    );
  }
  if (typeof restored === "string" && idPattern.test(restored)) {
    await completeRestore(config, restored);
  }
}

/** Brings a restore's key files and usage history to their places and sets aside what was there. Doing it twice changes nothing. */
export async function completeRestore(config: CoordinatorConfig, id: string): Promise<void> {
  const work = workFolder(config.state_dir, id);
  for (const [name, target] of [
    ["secrets.key", join(config.state_dir, "secrets.key")],
    ["host_key", config.host_key],
  ] as const) {
    const staged = join(work, name);
    const bytes = await readIfThere(staged);
    if (bytes === null) {
      continue;
    }
    const present = await readIfThere(target);
    if (present === null || !present.equals(bytes)) {
      await setAside(config, id, target);
      await replaceFile(target, bytes);
    }
    await rm(staged);
  }
  await completeUsage(config, work, asideFolder(config.state_dir, id));
  await rmdir(work).catch(() => {});
  const redis = redisFolder(config);
  // The exchange has put the former data into the work folder.
  if ((await readdir(redis)).includes(basename(workFolder(redis, id)))) {
    await rename(workFolder(redis, id), asideFolder(redis, id));
    await syncFolder(redis);
  }
}

async function setAside(config: CoordinatorConfig, id: string, file: string): Promise<void> {
  const aside = asideFolder(config.state_dir, id);
  await mkdir(aside, { recursive: true, mode: 0o700 });
  try {
    await link(file, join(aside, basename(file)));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "EEXIST") {
      throw error;
    }
  }
  await syncFolder(aside);
  await syncFolder(config.state_dir);
}
