/**
 * Forgets uploads of one user that nobody needs: manifests that were not used for long, then chunks that no manifest
 * names. What is fresh is never touched, since somebody may be about to name it; every step leaves a folder that is
 * whole, so it may end at any moment. It must run alone (UserFiles.alone). Called by store.ts.
 */
import { open, rm } from "node:fs/promises";
import { syncFolder } from "../backup/files.ts";
import type { Log } from "../log.ts";
import { packBytesMax } from "../../shared/files.ts";
import { EntrySet } from "./digest-table.ts";
import { Pace } from "./pace.ts";
import { bytesInPack, digestOf, PackWriter, readExactly } from "./pack.ts";
import { namesEnding, type UserIndex } from "./user-index.ts";

/** Packs below this size are put together when there are many of them. */
const smallBytes = 1024 * 1024;
const smallPacksMax = 32;
/** Bytes of packs that one sweep writes anew; the next goes on. */
const rewriteBytesMax = 256 * 1024 * 1024;

export interface SweepRules {
  /** Manifests that were last used before this time go, unless they are in use. Milliseconds since 1970, as all times here. */
  usedBefore: number;
  /** Packs that are younger stay as they are, and so do chunks that were asked for later. */
  bornBefore: number;
  now: number;
  /** Asked only when there is a manifest to forget. */
  inUse: () => Promise<ReadonlySet<string>>;
}

/** One pass. Returns the bytes that came free. */
export async function sweepUser(index: UserIndex, rules: SweepRules, log: Log): Promise<number> {
  const before = index.bytes;
  await forgetManifests(index, rules);
  const asked = index.askedAt < rules.bornBefore ? new EntrySet() : index.asked;
  index.asked = new EntrySet();
  await dropPacks(index, rules, await liveEntries(index, asked), log);
  return before - index.bytes;
}

async function forgetManifests(index: UserIndex, { usedBefore, now, inUse }: SweepRules): Promise<void> {
  const old = [...index.manifests].filter(([, { usedAt }]) => usedAt < usedBefore).map(([id]) => id);
  if (old.length === 0) {
    return;
  }
  const needed = await inUse();
  for (const id of old) {
    if (needed.has(id)) {
      await index.renew(id, now);
    } else {
      await rm(index.manifestPath(id), { force: true });
      await rm(index.manifestPath(id) + namesEnding, { force: true });
      index.dropManifest(id);
    }
  }
  await syncFolder(index.manifestFolder);
}

/** Entries of chunks that a manifest names, or that somebody was told are there. */
async function liveEntries(index: UserIndex, asked: EntrySet): Promise<EntrySet> {
  const live = new EntrySet();
  const pace = new Pace();
  for (const id of index.manifests.keys()) {
    for await (const digest of index.namesOf(id)) {
      const entry = index.find(digest);
      if (entry >= 0) {
        live.add(entry);
      }
      if (pace.isDue()) {
        await pace.breathe();
      }
    }
  }
  for (let entry = 0; entry < index.chunks.size; entry += 1) {
    if (asked.has(entry)) {
      live.add(entry);
    }
  }
  return live;
}

/** Entries that lie in each pack, of all of it and of what lives of it. */
interface Lying {
  all: number[];
  /** With what each takes in a pack. */
  liveBytes: number;
}

function isWanted(index: UserIndex, live: EntrySet, entry: number): boolean {
  return live.has(entry) || index.asked.has(entry);
}

/** What is asked for meanwhile may be missing in it; who removes a pack looks again. */
async function lyingIn(index: UserIndex, live: EntrySet): Promise<Map<number, Lying>> {
  const pace = new Pace();
  const lying = new Map([...index.packs.keys()].map((number): [number, Lying] => [number, { all: [], liveBytes: 0 }]));
  for (let entry = 0; entry < index.chunks.size; entry += 1) {
    if (pace.isDue()) {
      await pace.breathe();
    }
    const place = index.place(entry);
    const pack = place === null ? undefined : lying.get(place.pack);
    if (place !== null && pack !== undefined) {
      pack.all.push(entry);
      pack.liveBytes += isWanted(index, live, entry) ? bytesInPack(place.length) : 0;
    }
  }
  return lying;
}

/** Removes packs of which nothing lives, and writes those anew of which little does. */
async function dropPacks(index: UserIndex, { bornBefore }: SweepRules, live: EntrySet, log: Log): Promise<void> {
  const lying = await lyingIn(index, live);
  const old = [...lying].filter(([number]) => (index.packs.get(number)?.born ?? Infinity) < bornBefore);
  const sizeOf = (number: number): number => index.packs.get(number)?.bytes ?? 0;
  const smallOnes = old.filter(([number]) => sizeOf(number) < smallBytes).length;
  const thin = old.filter(([number, { liveBytes }]) => {
    const isSmall = smallOnes > smallPacksMax && sizeOf(number) < smallBytes;
    return liveBytes > 0 && (isSmall || liveBytes * 2 < sizeOf(number));
  });
  for (const one of old.filter(([, { liveBytes }]) => liveBytes === 0)) {
    await removePack(index, one, live);
  }
  let rewritten = 0;
  let group: [number, Lying][] = [];
  let groupBytes = 0;
  for (const one of thin) {
    const [, { liveBytes }] = one;
    if (groupBytes + liveBytes > packBytesMax) {
      await rewrite(index, group, live, log);
      rewritten += groupBytes;
      group = [];
      groupBytes = 0;
    }
    if (rewritten > rewriteBytesMax) {
      return;
    }
    group.push(one);
    groupBytes += liveBytes;
  }
  if (group.length > 0) {
    await rewrite(index, group, live, log);
  }
}

/** Removes a pack, unless something that is wanted is still found there. Returns whether it did. */
async function removePack(index: UserIndex, [number, { all }]: [number, Lying], live: EntrySet): Promise<boolean> {
  const pack = index.packs.get(number);
  const isLeft = all.some((entry) => index.place(entry)?.pack === number && isWanted(index, live, entry));
  if (pack === undefined || isLeft) {
    return false;
  }
  // Nobody finds it any more before its file is gone; who reads it already goes on reading.
  index.dropPack(number, all);
  await rm(index.packPath(pack), { force: true });
  return true;
}

/** Writes what lives of these packs into one new pack, and removes them once that is on disk. */
async function rewrite(index: UserIndex, group: readonly [number, Lying][], live: EntrySet, log: Log): Promise<void> {
  const writer = await PackWriter.create(index.packFolder);
  try {
    for (const [number, { all }] of group) {
      await copy(
        index,
        number,
        all.filter((entry) => isWanted(index, live, entry)),
        writer,
      );
    }
    const bytes = await writer.finish();
    const born = Math.max(...group.map(([number]) => index.packs.get(number)?.born ?? 0));
    await index.addPack(writer.name, bytes, born, writer.entries);
  } catch (error) {
    await writer.abandon();
    throw error;
  }
  for (const one of group) {
    if (!(await removePack(index, one, live))) {
      // Asked for while the others were copied, or not what its hash says any more.
      log.warn({ folder: index.packFolder }, "an uploaded pack was not written anew");
    }
  }
}

/** Copies those of these entries of a pack that are what their hash says. */
async function copy(index: UserIndex, number: number, entries: readonly number[], writer: PackWriter): Promise<void> {
  const pack = index.packs.get(number);
  if (pack === undefined) {
    return;
  }
  const handle = await open(index.packPath(pack), "r");
  try {
    for (const entry of entries) {
      const place = index.place(entry);
      const bytes = place?.pack === number ? await readExactly(handle, place.offset, place.length) : null;
      const digest = Buffer.from(index.chunks.digest(entry));
      if (bytes !== null && digestOf(bytes).equals(digest)) {
        await writer.add(digest, bytes);
      }
    }
  } finally {
    await handle.close();
  }
}
