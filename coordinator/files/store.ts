/**
 * Uploaded files on the coordinator's disk, each user's in a folder of their own below `state_dir/files`. It must never
 * give one user what another has uploaded, nor keep what does not have the hash it is named by. Called by the API's
 * routes, by the fleet for nodes, by the submission of jobs, and by the sweep that is started with each generation.
 */
import { readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { Log } from "../log.ts";
import type { FileStore, ManifestsInUse } from "../parts.ts";
import { Slots } from "./slots.ts";
import { sweepUser } from "./sweep.ts";
import { UserFiles } from "./user-files.ts";

const gigabyte = 1e9;
const mebibyte = 1024 * 1024;
const dayMs = 86_400_000;
/** Packs that an upload left unnamed are kept so long: it may go on where it stopped. */
const packRestMs = dayMs;
/** What a user's own command to forget leaves alone: it may belong to a launch that is under way. */
const freshMs = 60_000;
/** Indexes of users that have not been asked for so long are dropped; at once while there are too many entries. */
const idleMs = 10 * 60_000;
const idleCheckMs = 60_000;
const entriesMax = 4_000_000;
const packLimits = { perOwner: 3, all: 24, waitingPerOwner: 32 };
const manifestLimits = { perOwner: 1, all: 6, waitingPerOwner: 32 };

/** The keys of the coordinator's config that count here. */
export interface FileStoreConfig extends Pick<CoordinatorConfig, "state_dir" | "files"> {
  limits: Pick<CoordinatorConfig["limits"], "free_disk_mb">;
}

interface Held {
  files: Promise<UserFiles>;
  /** How many calls use it now. */
  users: number;
  usedAt: number;
  entries: number;
}

export class DiskFileStore implements FileStore {
  readonly #config: FileStoreConfig;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #held = new Map<Uid, Held>();
  readonly #packs = new Slots<Uid>(packLimits);
  readonly #manifests = new Slots<Uid>(manifestLimits);
  readonly #idle: NodeJS.Timeout;

  constructor(config: FileStoreConfig, log: Log, now: () => number = Date.now) {
    this.#config = config;
    this.#log = log;
    this.#now = now;
    this.#idle = setInterval(() => this.#dropIdle(), idleCheckMs);
    this.#idle.unref();
  }

  missing(uid: Uid, hashes: readonly string[]): Promise<string[]> {
    return this.#with(uid, (files) => files.missing(hashes));
  }

  putPack(uid: Uid, body: AsyncIterable<Uint8Array>): Promise<number> {
    return this.#packs.run(uid, async () => {
      await this.#requireDisk();
      return this.#with(uid, (files) => files.putPack(body));
    });
  }

  putManifest(uid: Uid, body: AsyncIterable<Uint8Array>): Promise<{ id: string; missing: string[] }> {
    return this.#manifests.run(uid, async () => {
      await this.#requireDisk();
      return this.#with(uid, (files) => files.putManifest(body));
    });
  }

  hasManifest(uid: Uid, id: string): Promise<boolean> {
    return this.#with(uid, (files) => files.hasManifest(id));
  }

  async *readManifest(uid: Uid, id: string): AsyncIterable<Uint8Array> {
    const [files, release] = await this.#take(uid);
    try {
      yield* files.readManifest(id);
    } finally {
      release();
    }
  }

  async *readChunks(
    uid: Uid,
    hashes: readonly string[],
    within?: ReadonlySet<string>,
  ): AsyncIterable<{ hash: string; bytes: Uint8Array }> {
    const [files, release] = await this.#take(uid);
    try {
      yield* files.readChunks(hashes, within);
    } finally {
      release();
    }
  }

  usage(uid: Uid): Promise<{ bytes: number; quotaBytes: number; manifests: number; keepDays: number }> {
    return this.#with(uid, async ({ index }) => ({
      bytes: index.bytes,
      quotaBytes: this.#quotaBytes(),
      manifests: index.manifests.size,
      keepDays: this.#config.files.keep_days,
    }));
  }

  clean(uid: Uid, inUse: ManifestsInUse): Promise<number> {
    const before = this.#now() - freshMs;
    return this.#sweep(uid, { usedBefore: before, bornBefore: before }, inUse);
  }

  /** One pass over every user that has uploaded anything. Ends early when `stopped` says so. */
  async sweep(inUse: ManifestsInUse, stopped: () => boolean = () => false): Promise<void> {
    const names = await readdir(this.#folder()).catch(() => []);
    for (const uid of names.filter((name) => /^\d{1,10}$/.test(name)).map(Number)) {
      if (stopped()) {
        return;
      }
      try {
        const now = this.#now();
        const times = { usedBefore: now - this.#config.files.keep_days * dayMs, bornBefore: now - packRestMs };
        const bytes = await this.#sweep(uid, times, inUse);
        if (bytes > 0) {
          this.#log.info({ uid, bytes }, "uploads that nobody needs were removed");
        }
      } catch (error) {
        this.#log.warn({ uid, error: messageOf(error) }, "a user's uploads could not be swept; tried again later");
      }
    }
  }

  /** Ends its timer; what is under way goes on. */
  close(): void {
    clearInterval(this.#idle);
  }

  #sweep(uid: Uid, times: { usedBefore: number; bornBefore: number }, inUse: ManifestsInUse): Promise<number> {
    return this.#with(uid, (files) =>
      files.alone(() => sweepUser(files.index, { ...times, now: this.#now(), inUse: () => inUse(uid) }, this.#log)),
    );
  }

  #folder(): string {
    return join(this.#config.state_dir, "files");
  }

  #quotaBytes(): number {
    return this.#config.files.quota_gb_per_user * gigabyte;
  }

  async #with<T>(uid: Uid, work: (files: UserFiles) => Promise<T>): Promise<T> {
    const [files, release] = await this.#take(uid);
    try {
      return await work(files);
    } finally {
      release();
    }
  }

  /** The user's files, and what ends this use of them. */
  async #take(uid: Uid): Promise<[UserFiles, () => void]> {
    const held = this.#held.get(uid) ?? this.#open(uid);
    held.users += 1;
    const release = (): void => {
      held.users -= 1;
      held.usedAt = this.#now();
      this.#dropIdle();
    };
    try {
      const files = await held.files;
      held.entries = files.index.chunks.size;
      return [files, release];
    } catch (error) {
      if (this.#held.get(uid) === held) {
        this.#held.delete(uid);
      }
      release();
      throw error;
    }
  }

  #open(uid: Uid): Held {
    const room = { quotaBytes: this.#quotaBytes(), now: this.#now };
    const files = UserFiles.open(join(this.#folder(), String(uid)), room, this.#log);
    const held: Held = { files, users: 0, usedAt: this.#now(), entries: 0 };
    this.#held.set(uid, held);
    return held;
  }

  #dropIdle(): void {
    const now = this.#now();
    let entries = [...this.#held.values()].reduce((sum, held) => sum + held.entries, 0);
    const byAge = [...this.#held].filter(([, held]) => held.users === 0).sort(([, a], [, b]) => a.usedAt - b.usedAt);
    for (const [uid, held] of byAge) {
      if (entries > entriesMax || now - held.usedAt > idleMs) {
        this.#held.delete(uid);
        entries -= held.entries;
      }
    }
  }

  async #requireDisk(): Promise<void> {
    const needed = this.#config.limits.free_disk_mb;
    const disk = await statfs(this.#config.state_dir);
    const free = Math.floor((disk.bavail * disk.bsize) / mebibyte);
    if (free < needed) {
      throw new SkyError(
        "ValueError",
        `The coordinator's disk is nearly full (${free} MB free, ${needed} MB are kept); it takes no uploads.`,
        "An admin must free space there, or remove uploads: see `files` in the coordinator's config.",
      );
    }
  }
}
