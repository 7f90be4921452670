/**
 * From a backup's snapshot to the files of a server that writes every change to disk: a private server reads the
 * snapshot, the state is marked as put back, and the server turns it into its append-only files, which are read once
 * more and compared. It works in a folder of its own and must never touch the present state. Called by put-back.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import { SkyError } from "../../shared/errors.ts";
import { openLog } from "../log.ts";
import { failOnError, pageSize, QueueRecords } from "../queue-records.ts";
import type { RedisLink } from "../redis.ts";
import { Secrets } from "../secrets.ts";
import { requestBodiesKey, requestsKey } from "../store-requests.ts";
import type { Manifest } from "./archive.ts";
import { movedKey, restoredKey } from "./marks.ts";
import type { Owner } from "./owner.ts";
import { WorkServer } from "./processes.ts";

/** Milliseconds for Redis to write its append-only files. */
const rewriteLimitMs = 900_000;
const pollMs = 50;
/** Numbers of jobs that are left out, so that no job gets the number of one that was submitted after the backup. */
const numbersLeftOut = 1000;

/** Unfinished jobs of the state that was put back. */
export interface Held {
  waiting: number;
  begun: number;
}

/** Leaves the data of a durable server in `folder`, which holds the snapshot as `redis.rdb`. */
export async function buildData(
  folder: string,
  manifest: Manifest,
  secretsKey: Buffer,
  owner: Owner,
  id: string,
): Promise<Held> {
  let held: Held;
  let keys: number;
  const first = await WorkServer.start(folder, owner, false);
  try {
    await requireState(first.link, manifest, secretsKey);
    held = await mark(first.link, manifest, id);
    keys = await durableKeys(first.link);
    await writeDurably(first.link);
    await first.stop();
  } catch (error) {
    first.kill();
    throw error;
  }
  const second = await WorkServer.start(folder, owner, true);
  try {
    const found = await durableKeys(second.link);
    if (found !== keys) {
      throw new SkyError("InternalError", `Redis wrote ${found} of ${keys} keys.`, "Nothing was changed. Try again.");
    }
    await second.stop();
  } catch (error) {
    second.kill();
    throw error;
  }
  return held;
}

async function requireState(link: RedisLink, manifest: Manifest, secretsKey: Buffer): Promise<void> {
  const [stateId, print] = await link.run("reading the state's identity", () =>
    link.client.mget("sky-state:id", "sky-state:key"),
  );
  if (stateId !== manifest.stateId || print !== new Secrets(secretsKey).fingerprint) {
    throw new SkyError(
      "ValueError",
      "The parts of this backup do not belong together: its snapshot is of another state than its manifest or key file.",
      "Nothing was changed. Take another backup.",
    );
  }
}

/** The state says of itself where it comes from; unless nothing can have happened since, its unfinished jobs say so too. */
async function mark(link: RedisLink, manifest: Manifest, id: string): Promise<Held> {
  const held: Held = { waiting: 0, begun: 0 };
  const uids = await link.run("reading the users", () => link.client.smembers("sky-users"));
  for (const uid of uids.map(Number)) {
    await markUser(link, uid, manifest, held);
  }
  await link.run("marking the state", async () => {
    const marks = link.client.multi().del(movedKey).set(restoredKey, id);
    if (!manifest.moved) {
      // What was under way at the backup has ended since, in one way or another: it must not be done a second time.
      marks.del(requestsKey, requestBodiesKey);
    }
    failOnError(await marks.exec());
  });
  return held;
}

async function markUser(link: RedisLink, uid: number, manifest: Manifest, held: Held): Promise<void> {
  const records = new QueueRecords(link, openLog("error"));
  for (const ids of (await records.placesOf(uid, pageSize)).pages) {
    await link.run("marking jobs", async () => {
      const pipeline = link.client.pipeline();
      for (const { id, record } of await records.page(uid, ids)) {
        if (record === null || record.phase === "ended") {
          continue;
        }
        held[record.phase === "waiting" ? "waiting" : "begun"] += 1;
        if (!manifest.moved) {
          const marked = { ...record, restoredFrom: manifest.takenAt };
          pipeline.hset(records.key(uid, String(id)), "data", JSON.stringify(marked));
        }
      }
      failOnError(await pipeline.exec());
    });
  }
  if (!manifest.moved) {
    await link.run("leaving out numbers", () => link.client.incrby(records.key(uid, "id"), numbersLeftOut));
  }
}

/** Keys that do not run out; those that do may be gone by the time that they are counted again. */
async function durableKeys(link: RedisLink): Promise<number> {
  const info = await link.run("counting keys", () => link.client.info("keyspace"));
  const found = /^db0:keys=(\d+),expires=(\d+)/m.exec(info);
  return Number(found?.[1] ?? 0) - Number(found?.[2] ?? 0);
}

/** The server goes over to append-only files; resolves when all data are in them. */
async function writeDurably(link: RedisLink): Promise<void> {
  await link.run("writing to disk", () => link.client.config("SET", "appendonly", "yes"));
  const end = performance.now() + rewriteLimitMs;
  for (;;) {
    const info = await link.run("waiting for the files", () => link.client.info("persistence"));
    const value = (name: string): string => new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1] ?? "";
    if (value("aof_rewrite_in_progress") === "0" && value("aof_rewrite_scheduled") === "0") {
      if (value("aof_enabled") === "1" && value("aof_last_bgrewrite_status") === "ok") {
        return;
      }
      throw new SkyError("InternalError", "Redis could not write its files.", "Nothing was changed. Is the disk full?");
    }
    if (performance.now() > end) {
      throw new SkyError("InternalError", "Redis did not write its files in time.", "Nothing was changed.");
    }
    await delay(pollMs);
  }
}
