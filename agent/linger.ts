/**
 * Keeps what a user's jobs rely on while the user is not logged in: without linger logind removes /run/user/UID, with
 * RemoveIPC also files in /dev/shm, once the last session ends (a skylet that is exchanged is enough). It is set for
 * users with jobs here and taken back afterwards, never where somebody else had set it: a file for each user says so.
 * It never keeps a job from starting. Made by agent/agent.ts; called by agent/skylets.ts.
 */
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { messageOf } from "../shared/errors.ts";
import { type Uid, uidSchema } from "../shared/ids.ts";
import { runTool } from "./spawn.ts";

const toolLimitMs = 10_000;
/** A user without jobs at two looks in a row is let go: short jobs that follow each other change nothing. */
const lookEveryMs = 30_000;

export class Linger {
  private readonly folder: string;
  private readonly log: Logger;
  private readonly hasAttempts: (uid: Uid) => boolean;
  /** Users for whom this agent has set it. */
  private readonly held = new Set<Uid>();
  /** Users who have it anyway, as far as was seen since the last look. */
  private readonly foreign = new Set<Uid>();
  private readonly without = new Set<Uid>();
  /** One at a time: a slow logind must not be asked by many children. */
  private last: Promise<void> = Promise.resolve();

  /** `stateDir` is the config's state_dir, checked by agent/folders.ts before. */
  constructor(stateDir: string, log: Logger, hasAttempts: (uid: Uid) => boolean) {
    this.folder = join(stateDir, "linger");
    this.log = log;
    this.hasAttempts = hasAttempts;
  }

  /** Takes over what an earlier life of the agent has set, and begins to look after it. */
  async start(users: Iterable<Uid>): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.folder)) {
      const uid = uidSchema.safeParse(/^\d+$/.test(name) ? Number(name) : null);
      if (uid.success) {
        this.held.add(uid.data);
      }
    }
    for (const uid of users) {
      this.hold(uid);
    }
    setInterval(() => this.look(), lookEveryMs).unref();
  }

  /** The user has a job here. */
  hold(uid: Uid): void {
    this.without.delete(uid);
    if (!this.held.has(uid) && !this.foreign.has(uid)) {
      this.queue(uid, () => this.set(uid));
    }
  }

  private look(): void {
    this.foreign.clear();
    for (const uid of this.held) {
      if (this.hasAttempts(uid)) {
        this.without.delete(uid);
      } else if (this.without.has(uid)) {
        this.queue(uid, () => this.release(uid));
      } else {
        this.without.add(uid);
      }
    }
  }

  private queue(uid: Uid, step: () => Promise<void>): void {
    this.last = this.last.then(step).catch((error: unknown) => {
      this.log.warn(
        { uid, error: messageOf(error) },
        "linger of a user could not be changed; see 'systemctl status systemd-logind'",
      );
    });
  }

  private async set(uid: Uid): Promise<void> {
    if (this.held.has(uid) || this.foreign.has(uid)) {
      return;
    }
    const shown = await runTool("loginctl", ["show-user", String(uid), "-p", "Linger", "--value"], toolLimitMs);
    if (shown.stdout.trim() === "yes") {
      this.foreign.add(uid);
      return;
    }
    // Remembered first: what is set by this agent is taken back by it, also after a crash in between.
    await writeFile(join(this.folder, String(uid)), "", { mode: 0o600, flush: true });
    this.held.add(uid);
    await this.tell("enable-linger", uid).catch(async (error: unknown) => {
      await this.forget(uid);
      this.foreign.add(uid);
      throw error;
    });
  }

  private async release(uid: Uid): Promise<void> {
    if (this.without.has(uid) && !this.hasAttempts(uid)) {
      await this.tell("disable-linger", uid);
      await this.forget(uid);
    }
  }

  private async forget(uid: Uid): Promise<void> {
    await rm(join(this.folder, String(uid)), { force: true });
    this.held.delete(uid);
    this.without.delete(uid);
  }

  private async tell(verb: "enable-linger" | "disable-linger", uid: Uid): Promise<void> {
    const { code } = await runTool("loginctl", [verb, String(uid)], toolLimitMs);
    if (code !== 0) {
      throw new Error(`loginctl ${verb} ${uid} ended with exit code ${code}`);
    }
  }
}
