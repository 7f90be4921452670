/**
 * Brings the local sources of a task to the head: reads them, asks what the cluster lacks, sends that, then the manifest
 * that joins it. A source that is there already costs one question. It must never hold a large file in memory, and what
 * it has sent stays sent: a run that was stopped anywhere is taken up by the next. Called by client/commands/sending.ts
 * and the SDK.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import { hashesMax } from "../../shared/files.ts";
import { absolutePath } from "../local/home-path.ts";
import type { FilesCalls } from "../sdk/files-calls.ts";
import { FileChanged, PackReader } from "./packs.ts";
import { type Scan, scanSource } from "./scan.ts";

/** How far the upload of one source is. Bytes; `read`: reading what is new here, `send`: sending what is new there. */
export interface UploadState {
  source: string;
  phase: "read" | "send";
  done: number;
  total: number;
}

/** What an upload came to. */
export interface UploadedSource {
  source: string;
  manifest: string;
  files: number;
  /** Of all files, and of the chunks that were sent. */
  bytes: number;
  sentBytes: number;
}

export interface UploadOptions {
  /** The folder that relative sources start from, and the one that `~` stands for. */
  cwd: string;
  home: string;
  /** Where it is remembered what files were; null: nowhere. Default: `~/.sky/onprem/files`. */
  cacheFolder?: string | null;
  /** Hears what is left out (sockets, pipes, devices). */
  warn: (text: string) => void;
  onProgress?(state: UploadState): void;
  onDone?(uploaded: UploadedSource): void;
}

const packsAtOnce = 3;
const questionsAtOnce = 2;
/** How often a source that changes while it is sent is scanned again, and a manifest whose chunks went missing is sent. */
const scansMax = 4;
const manifestTriesMax = 3;

/** The absolute path of a source as it stands in a task. */
function sourcePath(source: string, options: Pick<UploadOptions, "cwd" | "home">): string {
  return absolutePath(source, options.cwd, options.home);
}

/** Does work for each item, a few at once; the first failure ends it when those under way have settled. */
async function inParallel<Item>(
  items: AsyncIterator<Item> | Iterator<Item>,
  atOnce: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  let failure: { error: unknown } | null = null;
  let turn: Promise<unknown> = Promise.resolve();
  const take = (): Promise<IteratorResult<Item>> => {
    const mine = turn.then(() => items.next());
    turn = mine.catch(() => undefined);
    return mine;
  };
  const lane = async (): Promise<void> => {
    while (failure === null) {
      try {
        const item = await take();
        if (item.done === true) {
          return;
        }
        await work(item.value);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  if (failure !== null) {
    throw (failure as { error: unknown }).error;
  }
}

function* batches(hashes: readonly string[]): Generator<readonly string[]> {
  for (let at = 0; at < hashes.length; at += hashesMax) {
    yield hashes.slice(at, at + hashesMax);
  }
}

async function* packsOf(reader: PackReader): AsyncGenerator<{ pieces: Uint8Array[]; bytes: number }> {
  for (let pack = await reader.next(); pack !== null; pack = await reader.next()) {
    yield pack;
  }
}

/** One source on its way. */
class SourceUpload {
  sentBytes = 0;
  readonly #calls: FilesCalls;
  readonly #source: string;
  readonly #options: UploadOptions;

  constructor(calls: FilesCalls, source: string, options: UploadOptions) {
    this.#calls = calls;
    this.#source = source;
    this.#options = options;
  }

  #progress(phase: UploadState["phase"], done: number, total: number): void {
    this.#options.onProgress?.({ source: this.#source, phase, done, total });
  }

  async run(): Promise<UploadedSource> {
    for (let tries = 1; ; tries += 1) {
      const scan = await this.#scan();
      try {
        await this.#send(scan);
        const { files, bytes, manifest } = scan;
        return { source: this.#source, manifest: manifest.id, files, bytes, sentBytes: this.sentBytes };
      } catch (error) {
        if (!(error instanceof FileChanged)) {
          throw error;
        }
        if (tries >= scansMax) {
          throw new SkyError(
            "ValueError",
            `Cannot upload '${this.#source}': ${error.message}, again and again.`,
            "Wait until nothing writes to it, or name what changes in a .skyignore file.",
          );
        }
      }
    }
  }

  #scan(): Promise<Scan> {
    const options = this.#options;
    const cacheFolder =
      options.cacheFolder === undefined ? join(options.home, ".sky", "onprem", "files") : options.cacheFolder;
    return scanSource(sourcePath(this.#source, options), {
      cacheFolder,
      warn: (text) => options.warn(text),
      onRead: (done, total) => this.#progress("read", done, total),
    });
  }

  async #send(scan: Scan): Promise<void> {
    const there = await this.#calls.manifest(scan.manifest.id);
    if (there?.missing.length === 0) {
      return;
    }
    let missing = await this.#missing([...scan.places.keys()]);
    for (let tries = 1; ; tries += 1) {
      await this.#sendChunks(scan, missing);
      const result = await this.#calls.sendManifest(scan.manifest.pieces, () => undefined);
      if (result.id !== scan.manifest.id) {
        throw new SkyError("InternalError", `The cluster read the list of files of '${this.#source}' as another one.`);
      }
      if (result.missing.length === 0) {
        return;
      }
      if (tries >= manifestTriesMax) {
        throw new SkyError(
          "InternalError",
          `The cluster did not keep what was uploaded of '${this.#source}' (${result.missing.length} pieces).`,
          "Try again; if it stays so, tell the cluster's admin.",
        );
      }
      missing = new Set(result.missing);
    }
  }

  async #missing(hashes: readonly string[]): Promise<Set<string>> {
    const missing = new Set<string>();
    await inParallel(batches(hashes), questionsAtOnce, async (batch) => {
      for (const hash of await this.#calls.missing(batch)) {
        missing.add(hash);
      }
    });
    return missing;
  }

  async #sendChunks(scan: Scan, missing: ReadonlySet<string>): Promise<void> {
    const chunks = [...scan.places].filter(([hash]) => missing.has(hash));
    const total = chunks.reduce((sum, [, place]) => sum + place.length, 0);
    if (total === 0 && chunks.length === 0) {
      return;
    }
    const reader = new PackReader(chunks);
    let done = 0;
    try {
      this.#progress("send", 0, total);
      await inParallel(packsOf(reader), packsAtOnce, async (pack) => {
        await this.#calls.sendPack(pack.pieces, (bytes) => {
          done += bytes;
          this.#progress("send", Math.min(done, total), total);
        });
        this.sentBytes += pack.bytes;
      });
    } finally {
      await reader.close();
    }
  }
}

/**
 * Uploads the sources, given as they stand in the task; a folder or a single file each. Resolves with the manifest of
 * each. Rejects with a SkyError; nothing is broken then, and what was sent is kept.
 */
export async function uploadSources(
  calls: FilesCalls,
  sources: readonly string[],
  options: UploadOptions,
): Promise<Map<string, string>> {
  const unique = [...new Set(sources)];
  // All of them are looked for first: a wrong name should not cost an upload.
  for (const source of unique) {
    requireSource(source, options);
  }
  const manifests = new Map<string, string>();
  for (const source of unique) {
    const uploaded = await new SourceUpload(calls, source, options).run();
    manifests.set(source, uploaded.manifest);
    options.onDone?.(uploaded);
  }
  return manifests;
}

/** Throws SkyError when a task names what is not there. */
export function requireSource(source: string, options: Pick<UploadOptions, "cwd" | "home">): void {
  const path = sourcePath(source, options);
  try {
    statSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const cause =
      code === "ENOENT"
        ? "there is no such file or folder"
        : code === "EACCES"
          ? "you may not read it"
          : (error as Error).message;
    throw new SkyError(
      "ValueError",
      `The task's local path '${source}' cannot be uploaded: ${path}: ${cause}.`,
      "Relative paths start from the folder in which `sky` runs.",
    );
  }
}
