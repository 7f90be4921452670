/**
 * A program for tests: uploads into a folder (its only argument) and sweeps it at the same time until it is killed. It
 * prints a line for each manifest that was acknowledged: its id and the hashes of its chunks.
 */
import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { openLog } from "../../coordinator/log.ts";
import { DiskFileStore } from "../../coordinator/files/store.ts";
import { fileEntry, manifestText, packOf, piecesOf, sha256 } from "./uploads.ts";

const uid = 1001;
const dayMs = 86_400_000;
const files = { quota_gb_per_user: 1, keep_days: 3650 };
let clock = Date.now();
const store = new DiskFileStore(
  { state_dir: process.argv[2] ?? "", files, limits: { free_disk_mb: 0 } },
  openLog("error"),
  () => clock,
);

const named: string[] = [];

/** Most of each pack is never named, so that sweeps write packs anew. */
async function upload(): Promise<void> {
  const chunks = Array.from({ length: 6 }, (_, at) => randomBytes(500 + at * 2000));
  await store.putPack(uid, piecesOf(packOf(chunks), 4000));
  const part = [chunks[0] as Buffer, chunks[2] as Buffer];
  const { id, missing } = await store.putManifest(uid, piecesOf(manifestText([fileEntry("data", part)])));
  if (missing.length > 0) {
    // Swept in the meantime, as a day had passed by this program's clock: nothing was promised.
    return;
  }
  named.push(id);
  process.stdout.write(`${[id, ...part.map((one) => sha256(one))].join(" ")}\n`);
}

async function uploadForever(): Promise<never> {
  for (;;) {
    await upload();
  }
}

async function sweepForever(): Promise<never> {
  for (let from = 4; ; from = named.length + 4) {
    // Between two sweeps some uploads get through.
    while (named.length < from) {
      await turn();
    }
    clock += 2 * dayMs;
    await store.sweep(async () => new Set(named));
  }
}

// Whoever started this has gone when its input ends.
process.stdin.once("end", () => process.exit(1)).resume();
await Promise.all([uploadForever(), uploadForever(), sweepForever()]);
