/**
 * What was last written at one destination: the manifest and, for each entry, how the file looked right after it was
 * written and where its chunks lie in it. It lies in `~/.sky/onprem-files/`, so that a home that several machines share has one.
 * It only saves work: a record that is lost, old or wrong costs a transfer, since every reused byte is hashed again.
 * Called by upload.ts.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import type { Entry } from "./manifest.ts";

const headSchema = z.strictObject({
  format: z.literal(1),
  destination: z.string(),
  /** Null: the last run did not get to its end. */
  manifest: z.string().nullable(),
  /** A mount of one file: the only entry bears the destination's own name. */
  single: z.boolean(),
  attempt: z.string(),
  job: z.number(),
  host: z.string(),
  /** The attempt's folder on that host. */
  folder: z.string(),
  /** Milliseconds since 1970 when it was written. */
  at: z.number(),
});
export type RecordHead = z.infer<typeof headSchema>;

/** A file as it was right after it was written; `lengths` are those of its chunks. */
export interface Written {
  size: number;
  mtimeMs: number;
  inode: number;
  lengths: number[];
}

export interface TreeRecord {
  head: RecordHead;
  entries: Map<string, { entry: Entry; written: Written | null }>;
}

const lineSchema = z.tuple([
  z.union([
    z.strictObject({
      type: z.literal("file"),
      path: z.string(),
      mode: z.number(),
      mtime: z.number(),
      size: z.number(),
      chunks: z.array(z.string()),
    }),
    z.strictObject({ type: z.literal("dir"), path: z.string(), mode: z.number() }),
    z.strictObject({ type: z.literal("link"), path: z.string(), target: z.string() }),
  ]),
  z.strictObject({ size: z.number(), mtimeMs: z.number(), inode: z.number(), lengths: z.array(z.number()) }).nullable(),
]);

/** The folder of all records of a home. */
export function recordsFolder(home: string): string {
  return join(home, ".sky", "onprem-files");
}

/** Names the record and the claim of one destination (an absolute path, all links on the way resolved). */
export function recordName(destination: string): string {
  return createHash("sha256").update(destination).digest("hex").slice(0, 32);
}

export function recordPath(home: string, destination: string): string {
  return join(recordsFolder(home), `${recordName(destination)}.jsonl`);
}

/** Null: there is none that can be used. */
export function readRecord(path: string, destination: string): TreeRecord | null {
  try {
    const [first = "", ...lines] = readFileSync(path, "utf8").split("\n");
    const head = headSchema.parse(JSON.parse(first));
    const entries: TreeRecord["entries"] = new Map();
    for (const line of lines) {
      if (line !== "") {
        const [entry, written] = lineSchema.parse(JSON.parse(line));
        entries.set(entry.path, { entry, written });
      }
    }
    return head.destination === destination ? { head, entries } : null;
  } catch {
    return null;
  }
}

/** Written aside and renamed. What cannot be written is only missed: the next run does more than it had to. */
export function writeRecord(path: string, { head, entries }: TreeRecord): void {
  const draft = `${path}.${head.attempt}.part`;
  try {
    mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
    const lines = [...entries.values()].map(({ entry, written }) => JSON.stringify([entry, written]));
    writeFileSync(draft, `${[JSON.stringify(head), ...lines].join("\n")}\n`, { mode: 0o600 });
    renameSync(draft, path);
  } catch {
    rmSync(draft, { force: true });
  }
}
