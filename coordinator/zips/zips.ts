/**
 * What SkyPilot's Python client uploads (`/upload_v2`): a zip of all local sources of a task, named by a hash of its
 * contents. Once all of it is there its files lie in the user's store, a manifest of the whole zip beside them, and the
 * zip is gone; a task's sources are parts of that manifest. Kept by user and hash: one user's hash never finds another's.
 * Called by the API's routes of uploads and submissions.
 */
import { mkdir, readdir, readFile, rename, rm, stat, statfs, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { SkyError } from "../../shared/errors.ts";
import { hashSchema, type ManifestEntry, manifestEntrySchema, type Uploads } from "../../shared/files.ts";
import type { Uid } from "../../shared/ids.ts";
import { Pace } from "../files/pace.ts";
import { Slots } from "../files/slots.ts";
import type { FileStore } from "../parts.ts";
import { type ZipPiece, ZipStaging } from "./staging.ts";
import { readZip, zipPath } from "./zip-tree.ts";

/** What is on the way and what has been uploaded, as the client reads it. */
export interface ZipUploadState {
  status: "uploading" | "completed";
  missing: number[];
}

const entriesMax = 250_000;
/** Zips of one user that are remembered; the least recently used go first. */
const zipsKeptMax = 200;
const sweepMs = 3_600_000;
const linesAtOnce = 1000;
/** Entries of all sources of one task together: sources may lie in one another. */
const entriesOfTaskMax = 2 * entriesMax;
/** What is read from zips is in memory for a while. */
const turnLimits = { perOwner: 1, all: 4, waitingPerOwner: 64 };

function goneError(): SkyError {
  return new SkyError("ValueError", "The task's files are not on the cluster (any more).", "Run the command again.");
}

export class ZipUploads {
  readonly #files: FileStore;
  readonly #staging: ZipStaging;
  readonly #known: string;
  readonly #stateDir: string;
  readonly #freeDiskMb: number;
  /** One zip of a user is taken in at a time. */
  readonly #turns = new Slots<Uid>(turnLimits);
  readonly #sweeper: NodeJS.Timeout;

  /** `freeDiskMb`: of the state folder's disk; below it nothing is taken. */
  constructor(stateDir: string, freeDiskMb: number, files: FileStore) {
    this.#files = files;
    this.#stateDir = stateDir;
    this.#freeDiskMb = freeDiskMb;
    this.#staging = new ZipStaging(join(stateDir, "zips", "coming"));
    this.#known = join(stateDir, "zips", "known");
    this.#sweeper = setInterval(() => void this.#staging.sweep(Date.now()).catch(() => undefined), sweepMs).unref();
  }

  close(): void {
    clearInterval(this.#sweeper);
  }

  /** Whether this user has uploaded it and all of it is still there. */
  async has(uid: Uid, blobId: string): Promise<boolean> {
    return (await this.#manifestOf(uid, blobId)) !== null;
  }

  /** Takes one piece; with the last one the zip is read. Throws SkyError. */
  async receive(uid: Uid, piece: ZipPiece, body: Readable): Promise<ZipUploadState> {
    // It may break before anybody reads it; whoever reads it then hears so.
    body.on("error", () => undefined);
    if (await this.has(uid, piece.blobId)) {
      body.resume();
      return { status: "completed", missing: [] };
    }
    await this.#requireDisk();
    const { bytes, quotaBytes } = await this.#files.usage(uid);
    const room = Math.max(0, quotaBytes - bytes);
    const missing = await this.#staging.receive(uid, piece, body, room, () => this.#requireDisk());
    if (missing.length > 0) {
      return { status: "uploading", missing };
    }
    await this.#turns.run(uid, async () => {
      // Two last pieces may come at once; the first has done it all.
      if (!(await this.has(uid, piece.blobId))) {
        await this.#takeIn(uid, piece);
      }
    });
    return { status: "completed", missing: [] };
  }

  /** The manifests of a task's sources. `places`: where each lies in the zip, by its text in the task. */
  uploadsOf(uid: Uid, blobId: string, places: Readonly<Record<string, string>>): Promise<Uploads> {
    return this.#turns.run(uid, () => this.#uploadsOf(uid, blobId, places));
  }

  async #uploadsOf(uid: Uid, blobId: string, places: Readonly<Record<string, string>>): Promise<Uploads> {
    const manifest = hashSchema.safeParse(blobId).success ? await this.#manifestOf(uid, blobId) : null;
    if (manifest === null) {
      throw goneError();
    }
    const texts = Object.entries(places).map(([source, place]) => {
      return { source, path: zipPath(place.replace(/^\/+/, "").replace(/\/+$/, "")) };
    });
    // Several texts may mean one place.
    const sources = [...new Set(texts.map(({ path }) => path))].map((path) => {
      return { path, below: `${path}/`, entries: new Array<ManifestEntry>() };
    });
    const pace = new Pace();
    let taken = 0;
    const lines = createInterface({ input: Readable.from(this.#files.readManifest(uid, manifest)) });
    for await (const line of lines) {
      const entry = line === "" ? null : manifestEntrySchema.parse(JSON.parse(line));
      for (const { path, below, entries } of entry === null ? [] : sources) {
        if (entry !== null && (entry.path === path || entry.path.startsWith(below))) {
          taken += 1;
          if (taken > entriesOfTaskMax) {
            throw new SkyError("ValueError", `The task's sources have over ${entriesOfTaskMax} files together.`);
          }
          entries.push({ ...entry, path: entry.path.slice(path.length + 1) });
        }
      }
      await pace.breathe();
    }
    const manifests = new Map<string, string>();
    for (const { path, entries } of sources) {
      const first = entries[0];
      if (first === undefined) {
        const source = texts.find((text) => text.path === path)?.source ?? path;
        throw new SkyError("ValueError", `'${source.slice(0, 200)}' is not among the uploaded files.`);
      }
      const whole = first.path === "" ? entries : [{ type: "dir" as const, path: "", mode: 0o755 }, ...entries];
      const manifest = await this.#put(
        uid,
        whole.map((entry) => keptInside(entry, path)),
      );
      manifests.set(path, manifest);
    }
    return Object.fromEntries(texts.map(({ source, path }) => [source, manifests.get(path) ?? ""]));
  }

  async #requireDisk(): Promise<void> {
    const disk = await statfs(this.#stateDir);
    if ((disk.bavail * disk.bsize) / 1024 / 1024 < this.#freeDiskMb) {
      const hint = "An admin must free space there.";
      throw new SkyError(
        "ServerUnavailableError",
        "The coordinator's disk is nearly full; no uploads are taken.",
        hint,
      );
    }
  }

  async #takeIn(uid: Uid, { blobId, total }: ZipPiece): Promise<void> {
    const { bytes, quotaBytes } = await this.#files.usage(uid);
    try {
      const zip = await this.#staging.join(uid, blobId, total);
      const limits = { entries: entriesMax, bytes: Math.max(0, quotaBytes - bytes) };
      const tree = await readZip(zip, this.#files, uid, limits);
      if (tree.blobId !== blobId) {
        throw new SkyError("ValueError", "The uploaded zip is not the one that its name says.", "Upload it again.");
      }
      await this.#remember(uid, blobId, await this.#put(uid, tree.entries));
    } finally {
      await this.#staging.remove(uid, blobId);
    }
  }

  async #put(uid: Uid, entries: readonly ManifestEntry[]): Promise<string> {
    async function* text(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < entries.length; at += linesAtOnce) {
        const lines = entries.slice(at, at + linesAtOnce).map((entry) => `${JSON.stringify(entry)}\n`);
        yield Buffer.from(lines.join(""));
      }
    }
    const { id, missing } = await this.#files.putManifest(uid, text());
    if (missing.length > 0) {
      throw goneError();
    }
    return id;
  }

  async #manifestOf(uid: Uid, blobId: string): Promise<string | null> {
    const file = join(this.#known, String(uid), blobId);
    const text = await readFile(file, "utf8").catch(() => null);
    const id = hashSchema.safeParse(text?.trim());
    if (!id.success || !(await this.#files.hasManifest(uid, id.data))) {
      return null;
    }
    const now = new Date();
    await utimes(file, now, now).catch(() => undefined);
    return id.data;
  }

  async #remember(uid: Uid, blobId: string, manifest: string): Promise<void> {
    const folder = join(this.#known, String(uid));
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const draft = join(folder, `${blobId}.tmp`);
    await writeFile(draft, `${manifest}\n`, { mode: 0o600 });
    await rename(draft, join(folder, blobId));
    const files = await readdir(folder);
    if (files.length > zipsKeptMax) {
      const aged = await Promise.all(
        files.map(async (name) => ({ name, at: (await stat(join(folder, name)).catch(() => null))?.mtimeMs ?? 0 })),
      );
      aged.sort((one, other) => one.at - other.at);
      await Promise.all(
        aged.slice(0, files.length - zipsKeptMax).map(({ name }) => rm(join(folder, name), { force: true })),
      );
    }
  }
}

/**
 * SkyPilot's client makes every link's target relative to the link on the user's machine; one that leaves the source would
 * lead elsewhere on a node, so it becomes absolute, as the user most likely had it. A target is text, wherever it leads.
 */
function keptInside(entry: ManifestEntry, source: string): ManifestEntry {
  if (entry.type !== "link") {
    return entry;
  }
  const at = `/${source}${entry.path === "" ? "" : `/${entry.path}`}`;
  const parts = at.split("/").slice(0, -1);
  for (const part of entry.target.split("/")) {
    if (part === "..") {
      parts.pop();
    } else if (part !== "." && part !== "") {
      parts.push(part);
    }
  }
  const target = `/${parts.filter((part) => part !== "").join("/")}`;
  return target === `/${source}` || target.startsWith(`/${source}/`) ? entry : { ...entry, target };
}
