/**
 * Writes `run.log`: the output of all ranks whose files this machine can see, every line with its rank's prefix. Made at
 * the end of rank 0 and again when the last of the ranks has ended, for people who look into their home; streams never
 * read it. It must never hold a whole file in memory, nor fail a job: a full home leaves no half file. Called by
 * attempts.ts.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { rename, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { readRankFile, writeRankFile } from "./log-folder.ts";

/** Bytes taken of each file. */
const mergedBytesMax = 256 * 1024 * 1024;

/** Puts the prefix before every line; the last one gets its newline when it lacks it. */
async function* prefixed(chunks: AsyncIterable<Buffer>, prefix: string): AsyncGenerator<Buffer> {
  const before = Buffer.from(`${prefix} `);
  let atStart = true;
  for await (const chunk of chunks) {
    const parts: Buffer[] = [];
    for (let from = 0; from < chunk.length; ) {
      const newline = chunk.indexOf(10, from);
      const to = newline < 0 ? chunk.length : newline + 1;
      if (atStart) {
        parts.push(before);
      }
      parts.push(chunk.subarray(from, to));
      atStart = newline >= 0;
      from = to;
    }
    yield Buffer.concat(parts);
  }
  if (!atStart) {
    yield Buffer.from("\n");
  }
}

async function* merged(folder: string, ranks: number): AsyncGenerator<Buffer> {
  for (const part of ["setup", "run"] as const) {
    for (let rank = 0; rank < ranks; rank += 1) {
      const file = readRankFile(folder, rank);
      if (file === null) {
        continue;
      }
      const path = join(folder, part === "setup" ? file.setupLog : file.runLog);
      try {
        const source = createReadStream(path, { end: mergedBytesMax - 1 });
        yield* prefixed(source, part === "setup" ? file.setupPrefix : file.runPrefix);
      } catch {
        // A rank without this file: it had no setup, or its home is elsewhere.
      }
    }
  }
}

/** Notes that this rank has ended; true when no other one that is seen here is still to end. */
async function isLast(folder: string, rank: number, ranks: number): Promise<boolean> {
  const own = readRankFile(folder, rank);
  if (own !== null) {
    await writeRankFile(folder, rank, { ...own, ended: true });
  }
  const others = Array.from({ length: ranks }, (_, other) => (other === rank ? null : readRankFile(folder, other)));
  return others.every((other) => other === null || other.ended);
}

/** Bytes of each log that can be seen here; a job without output needs no streams. */
async function sizesOf(folder: string, ranks: number): Promise<number[]> {
  const files = Array.from({ length: ranks }, (_, rank) => readRankFile(folder, rank));
  const paths = files.flatMap((file) =>
    file === null ? [] : [join(folder, file.setupLog), join(folder, file.runLog)],
  );
  const sizeOf = (path: string): Promise<number> =>
    stat(path).then(
      ({ size }) => size,
      () => 0,
    );
  return await Promise.all(paths.map(sizeOf));
}

/** To be called when the rank has ended. Never throws. */
export async function writeMergedLog(folder: string, rank: number, ranks: number): Promise<void> {
  const draft = join(folder, `.run.log.part-${rank}`);
  try {
    if (!(await isLast(folder, rank, ranks)) && rank > 0) {
      return;
    }
    const isEmpty = (await sizesOf(folder, ranks)).every((size) => size === 0);
    await (isEmpty ? writeFile(draft, "") : pipeline(merged(folder, ranks), createWriteStream(draft)));
    await rename(draft, join(folder, "run.log"));
  } catch {
    await unlink(draft).catch(() => undefined);
  }
}
