/**
 * What this node has promised, on disk: one file for each attempt and one for the coordinator that was accepted. A write
 * has returned only when it survives a power cut (temporary file, fsync, rename, fsync of the folder), but for attempts
 * that are only accepted; writes that come together share the last of these. A damaged file is set aside and reported, never a reason not to start. It decides nothing. Called by agent/loop.ts and agent/main.ts.
 */
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { wantedAttemptSchema } from "../shared/agent-wire.ts";
import { messageOf } from "../shared/errors.ts";
import { type AttemptId, attemptIdSchema, stateIdSchema } from "../shared/ids.ts";
import { limitsSchema } from "../shared/launch-spec.ts";
import type { LedgerEntry } from "./core/state.ts";

const exitSchema = z.int().min(0).max(255).nullable();

const entrySchema = z.strictObject({
  wanted: wantedAttemptSchema,
  phase: z.enum(["accepted", "go", "exited"]),
  bootId: z.string().max(64),
  pid: z.int().positive().nullable(),
  startTime: z.string().max(32).nullable(),
  setupExit: exitSchema,
  runExit: exitSchema,
  logDir: z.string().max(300).nullable(),
  fault: z.string().max(1000).nullable(),
  limits: limitsSchema.optional(),
});

const identitySchema = z.strictObject({ stateId: stateIdSchema.nullable(), epoch: z.int().min(0) });
/** The coordinator's state that this node obeys, and the highest epoch of it that was seen. */
export type Identity = z.infer<typeof identitySchema>;

export interface LedgerContents {
  entries: LedgerEntry[];
  identity: Identity;
  /** One text for each file that could not be used, for the admin. */
  warnings: string[];
}

/** What this file holds, or the names in this folder, survive a power cut from here on. */
async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function isThere<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      return null;
    }
    throw error;
  }
}

export class Ledger {
  private readonly folder: string;
  private readonly attempts: string;
  private counter = 0;
  /** The last sync of the attempts' folder that has begun, and the one that will begin after it. */
  private sync: Promise<void> = Promise.resolve();
  private nextSync: Promise<void> | null = null;

  /** `stateDir` is the config's state_dir, checked by agent/folders.ts before. */
  constructor(stateDir: string) {
    this.folder = stateDir;
    this.attempts = join(stateDir, "attempts");
  }

  /** Makes the folders if need be and reads everything. Leftover temporary files are removed. */
  async read(): Promise<LedgerContents> {
    await mkdir(this.attempts, { recursive: true, mode: 0o700 });
    const warnings: string[] = [];
    const entries: LedgerEntry[] = [];
    for (const name of (await readdir(this.attempts)).sort()) {
      const file = join(this.attempts, name);
      if (name.endsWith(".tmp")) {
        await rm(file, { force: true });
      } else if (name.endsWith(".json")) {
        const entry = await this.load(file, entrySchema, warnings);
        if (entry !== null && `${entry.wanted.attempt}.json` === name) {
          entries.push(entry);
        } else if (entry !== null) {
          warnings.push(await this.setAside(file, "it names another attempt"));
        }
      }
    }
    const identity = await this.readIdentity(warnings);
    await syncPath(this.attempts);
    await syncPath(this.folder);
    return { entries, identity, warnings };
  }

  /** The accepted coordinator; a new node has `{ stateId: null, epoch: 0 }`. */
  async readIdentity(warnings: string[] = []): Promise<Identity> {
    const identity = await this.load(join(this.folder, "identity.json"), identitySchema, warnings);
    return identity ?? { stateId: null, epoch: 0 };
  }

  /**
   * What has only been accepted outlives the agent, not the machine: none of its user's code can have begun, and after a
   * power cut the coordinator orders it anew. Everything else outlives both.
   */
  async save(entry: LedgerEntry): Promise<void> {
    const isPromise = entry.phase !== "accepted";
    const name = `${attemptIdSchema.parse(entry.wanted.attempt)}.json`;
    await this.write(this.attempts, name, entrySchema.parse(entry), isPromise);
    await (isPromise ? this.syncAttempts() : undefined);
  }

  /** Forgetting twice is fine. */
  async drop(attempt: AttemptId): Promise<void> {
    await rm(join(this.attempts, `${attemptIdSchema.parse(attempt)}.json`), { force: true });
    await this.syncAttempts();
  }

  async saveIdentity(identity: Identity): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await this.write(this.folder, "identity.json", identitySchema.parse(identity), true);
    await syncPath(this.folder);
  }

  /** The names in the attempts' folder survive a power cut from here on: a sync that begins after this call, one for all that wait for it. */
  private syncAttempts(): Promise<void> {
    this.nextSync ??= this.sync
      .catch(() => undefined)
      .then(() => {
        this.sync = this.nextSync ?? Promise.resolve();
        this.nextSync = null;
        return syncPath(this.attempts);
      });
    return this.nextSync;
  }

  /** Every step may wait for the disk's journal, also the making of a file, so none is done at once. */
  private async write(folder: string, name: string, value: unknown, isSynced: boolean): Promise<void> {
    this.counter += 1;
    const temporary = join(folder, `${name}.${process.pid}-${this.counter}.tmp`);
    try {
      const handle = await open(temporary, "wx", 0o600);
      try {
        await handle.writeFile(`${JSON.stringify(value)}\n`);
        await (isSynced ? handle.sync() : undefined);
      } finally {
        await handle.close();
      }
      await rename(temporary, join(folder, name));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  private async load<T>(file: string, schema: z.ZodType<T>, warnings: string[]): Promise<T | null> {
    const text = await isThere(readFile(file, "utf8"));
    if (text === null) {
      return null;
    }
    if (text === "" && file.startsWith(this.attempts)) {
      // One that was only accepted when the power went: its name was on disk, its content not yet.
      await rm(file, { force: true });
      return null;
    }
    // An agent that was killed may not have come to it, and this one builds on what it reads.
    await syncPath(file);
    try {
      return schema.parse(JSON.parse(text));
    } catch {
      warnings.push(await this.setAside(file, "it is damaged"));
      return null;
    }
  }

  private async setAside(file: string, why: string): Promise<string> {
    const target = `${file.replace(/\.json$/, "")}.damaged-${Date.now()}`;
    try {
      await rename(file, target);
      return `The ledger's file ${file} is not used, because ${why}; it lies at ${target} now.`.slice(0, 500);
    } catch (error) {
      return `The ledger's file ${file} is not used, because ${why} (${messageOf(error)}).`.slice(0, 500);
    }
  }
}
