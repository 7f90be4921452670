/**
 * The files of the usage history: `usage/YYYY-MM.jsonl` in the state folder, a line of JSON for each rank that has let go
 * of what it held, in the month (UTC) of the line's end. Only ever added to, durable when append() returns, readable by
 * the coordinator's account alone. What a power cut left of a last line is taken away before the next is written. It
 * must never hold a file in memory. Used by usage-history.ts (writes) and usage-reader.ts (reads); the decisions of
 * policies lie in such files too.
 */
import { type FileHandle, mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { UsageLine } from "../shared/scheduling.ts";

/** In the state folder. */
export const usageFolder = "usage";
const fileName = /^\d{4,6}-\d{2}\.jsonl$/;
const chunkBytes = 256 * 1024;
/** Longer than any line: what is longer is damaged. */
const lineMax = 128 * 1024;

/** `2026-11.jsonl` for a time in ms since 1970. */
export function monthFile(time: number): string {
  const date = new Date(time);
  const year = String(date.getUTCFullYear()).padStart(4, "0");
  return `${year}-${String(date.getUTCMonth() + 1).padStart(2, "0")}.jsonl`;
}

/** Names of the history's files, oldest first; none when there is no history. */
export async function usageFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") {
      return [];
    }
    throw error;
  });
  const byMonth = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : 1);
  return names.filter((name) => fileName.test(name)).sort(byMonth);
}

/** Adds lines to the month's files; everything is on disk when it resolves. A failure leaves at most a part of it there. */
export async function appendUsage(folder: string, lines: readonly UsageLine[]): Promise<void> {
  await appendLines(
    folder,
    lines.map((line) => ({ time: line.to, text: JSON.stringify(line) })),
  );
}

/** The same for any lines: each into the file of its time (ms since 1970). */
export async function appendLines(folder: string, lines: readonly { time: number; text: string }[]): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const months = new Map<string, string[]>();
  for (const { time, text } of lines) {
    const name = monthFile(time);
    const texts = months.get(name) ?? [];
    texts.push(`${text}\n`);
    months.set(name, texts);
  }
  for (const [name, texts] of months) {
    const file = await open(join(folder, name), "a+", 0o600);
    try {
      await dropTorn(file);
      await file.appendFile(texts.join(""));
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await syncFolder(folder);
  await syncFolder(join(folder, ".."));
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Cuts off what follows the last line feed: it was never acknowledged and is written again. */
async function dropTorn(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(chunkBytes);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - buffer.length);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    const at = buffer.subarray(0, bytesRead).lastIndexOf("\n");
    if (at >= 0) {
      if (start + at + 1 < size) {
        await file.truncate(start + at + 1);
      }
      return;
    }
    end = start;
  }
  if (size > 0) {
    await file.truncate(0);
  }
}

/** The complete lines of a file, many at a time, each with its number; `null` stands for one that is too long to be one. */
export async function* usageTexts(path: string): AsyncGenerator<{ first: number; texts: (string | null)[] }> {
  const file = await open(path, "r");
  const buffer = Buffer.alloc(chunkBytes);
  let rest = "";
  let isTooLong = false;
  let first = 1;
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) {
        return;
      }
      // Bytes as they are: an ASCII line feed is never a part of another character, and lines are ASCII but for names.
      const parts: (string | null)[] = (rest + buffer.toString("latin1", 0, bytesRead)).split("\n");
      rest = parts.pop() ?? "";
      if (isTooLong && parts.length > 0) {
        parts[0] = null;
        isTooLong = false;
      }
      if (rest.length > lineMax) {
        rest = "";
        isTooLong = true;
      }
      yield { first, texts: parts };
      first += parts.length;
    }
  } finally {
    await file.close();
  }
}
