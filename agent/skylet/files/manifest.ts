/**
 * A manifest as it comes from the coordinator, read into entries that are safe to make. Everything is checked again here,
 * whatever others have checked: nothing absolute, no `..`, nothing below a link or a file, no name twice, no size that
 * its chunks cannot have. It touches no file. Called by upload.ts.
 */
import { chunkBytes, manifestBytesMax, manifestEntriesMax, manifestEntrySchema } from "../../../shared/files.ts";
import { LineReader } from "../../../shared/lines.ts";
import { FilesFault, shown } from "./fault.ts";

/**
 * Paths, names and targets are strings of bytes: each character is one byte, so that names that are not UTF-8 survive.
 * The path is relative to the destination, empty for the destination itself.
 */
export type Entry =
  | { type: "file"; path: string; mode: number; mtime: number; size: number; chunks: string[] }
  | { type: "dir"; path: string; mode: number }
  | { type: "link"; path: string; target: string };

/** Linux takes no longer name. */
const nameBytesMax = 255;
const pathBytesMax = 4096;
/** Each level is an open folder while something below it is written. */
const depthMax = 200;

function refuse(what: string): never {
  throw new FilesFault(`The uploaded files are refused: ${what}. Nothing of them was written.`);
}

function bytesOf(text: string, isBase64: boolean): string {
  return Buffer.from(text, isBase64 ? "base64" : "utf8").toString("latin1");
}

function checkPath(path: string): void {
  const names = path === "" ? [] : path.split("/");
  for (const name of names) {
    if (name === "" || name === "." || name === ".." || name.includes("\0") || name.length > nameBytesMax) {
      refuse(`'${shown(path).slice(0, 300)}' is no path inside of a folder`);
    }
  }
  if (path.length > pathBytesMax || names.length > depthMax) {
    refuse(`'${shown(path).slice(0, 300)}' … is too long or too deep`);
  }
}

function entryOf(line: string): Entry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    refuse("their list is not readable");
  }
  const parsed = manifestEntrySchema.safeParse(value);
  if (!parsed.success) {
    refuse("their list holds an entry of a kind that is not known");
  }
  const given = parsed.data;
  const path = bytesOf(given.path, given.bytes === true);
  checkPath(path);
  if (given.type === "dir") {
    return { type: "dir", path, mode: given.mode };
  }
  if (given.type === "link") {
    const target = bytesOf(given.target, given.bytes === true);
    if (target === "" || target.includes("\0") || target.length >= pathBytesMax) {
      refuse(`the link '${shown(path)}' leads nowhere`);
    }
    return { type: "link", path, target };
  }
  const { mode, mtime, size, chunks } = given;
  if (size > chunks.length * chunkBytes.max || size < chunks.length || !Number.isFinite(mtime)) {
    refuse(`the size of '${shown(path)}' and its parts do not fit together`);
  }
  return { type: "file", path, mode, mtime, size, chunks };
}

/** Folders before what is in them, and all that is in one folder together. */
function byFolder(one: Entry, other: Entry): number {
  const [left, right] = [one.path.replaceAll("/", "\0"), other.path.replaceAll("/", "\0")];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Puts entries in order and refuses what cannot be one tree. Folders that are not listed are made as they are needed. */
export function asTree(entries: Entry[]): Entry[] {
  const sorted = entries.toSorted(byFolder);
  /** Files and links that the present entry would lie below, if any. */
  let leaf: string | null = null;
  let before: string | null = null;
  for (const { path, type } of sorted) {
    if (path === before) {
      refuse(`'${shown(path)}' is in their list twice`);
    }
    if (leaf !== null && (leaf === "" || path.startsWith(`${leaf}/`))) {
      refuse(`'${shown(path)}' would lie below '${shown(leaf)}', which is no folder`);
    }
    before = path;
    leaf = type === "dir" ? leaf : path;
  }
  return sorted;
}

/** Reads the manifest's pieces as they come. Throws a FilesFault about the first thing that is wrong. */
export async function readManifest(pieces: AsyncIterable<Uint8Array>): Promise<Entry[]> {
  const reader = new LineReader(manifestBytesMax);
  const entries: Entry[] = [];
  let bytes = 0;
  const take = (line: string): void => {
    if (line !== "") {
      entries.push(entryOf(line));
    }
    if (entries.length > manifestEntriesMax) {
      refuse(`there are more than ${manifestEntriesMax}`);
    }
  };
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > manifestBytesMax) {
      refuse(`their list is larger than ${manifestBytesMax} bytes`);
    }
    for (const line of linesOf(reader, piece)) {
      take(line);
    }
  }
  // The last line may come without its newline.
  for (const line of linesOf(reader, Buffer.from("\n"))) {
    take(line);
  }
  return asTree(entries);
}

function linesOf(reader: LineReader, piece: Uint8Array): string[] {
  try {
    return reader.push(piece);
  } catch {
    return refuse("their list is not readable");
  }
}
