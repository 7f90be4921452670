/**
 * The decision log: `decisions/YYYY-MM.jsonl` in the state folder, a line of JSON for each decision, only ever added to
 * and readable by the coordinator's account alone. Lines are written a moment later and many at once, so that no
 * submission waits for the disk; what a crash cut off is taken away before the next is written. It must never hold back
 * or refuse anything. Made by main.ts's API; read by decision-reader.ts.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";
import type { Log } from "../log.ts";
import { appendLines, monthFile, usageFiles } from "../usage-files.ts";
import { type DecisionLine, textOf } from "./decision-line.ts";

const decisionsFolder = "decisions";
/** Lines that wait for the disk; further ones are counted and dropped. */
const waitingMax = 10_000;
const dayMs = 86_400_000;
/** Lines without a job that one user may cause in each period: nobody fills the disk with refusals. */
const refusalsMax = 120;
/** Characters of lines of any length that one user may cause in each period; what is beyond leaves out what is long. */
const roomMax = 1024 * 1024;
const shortMax = 2_048;
const periodMs = 60_000;

export class DecisionLog {
  readonly folder: string;
  readonly #days: number;
  readonly #log: Log;
  readonly #now: () => number;
  #waiting: { time: number; text: string }[] = [];
  #dropped = 0;
  #writing: Promise<void> | null = null;
  #sweptAt = Number.NEGATIVE_INFINITY;
  /** What each user has caused in this period. */
  readonly #caused = new Map<Uid, { refusals: number; room: number }>();
  #causedSince = 0;

  /** `days`: how long lines are kept. `now` in ms since 1970. */
  constructor(stateDir: string, days: number, log: Log, now: () => number = Date.now) {
    this.folder = join(stateDir, decisionsFolder);
    this.#days = days;
    this.#log = log;
    this.#now = now;
  }

  /** Lines of earlier times are not shown any more. */
  get oldest(): number {
    return this.#now() - this.#days * dayMs;
  }

  add(line: DecisionLine): void {
    const caused = this.#causedBy(line.uid);
    caused.refusals += line.job_id === null ? 1 : 0;
    if (this.#waiting.length >= waitingMax || (line.job_id === null && caused.refusals > refusalsMax)) {
      this.#dropped += 1;
      return;
    }
    const whole = textOf(line);
    const fits = caused.room + whole.length <= roomMax;
    caused.room += fits ? whole.length : 0;
    this.#waiting.push({ time: line.time, text: fits ? whole : textOf(line, shortMax) });
    this.#writing ??= this.#write();
  }

  #causedBy(uid: Uid): { refusals: number; room: number } {
    const now = this.#now();
    if (Math.abs(now - this.#causedSince) >= periodMs) {
      this.#caused.clear();
      this.#causedSince = now;
    }
    const caused = this.#caused.get(uid) ?? { refusals: 0, room: 0 };
    this.#caused.set(uid, caused);
    return caused;
  }

  /** Resolves when what was added before is on disk, or could not be written. */
  async flushed(): Promise<void> {
    while (this.#writing !== null) {
      await this.#writing;
    }
  }

  async #write(): Promise<void> {
    // Not in this turn: whoever adds a line must be answered first.
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      try {
        await appendLines(this.folder, lines);
      } catch (error) {
        this.#log.error({ lost: lines.length, cause: messageOf(error) }, "decisions of policies were not written");
      }
      await this.#sweep().catch((error: unknown) => {
        this.#log.error({ cause: messageOf(error) }, "old decisions of policies were not removed");
      });
      if (this.#dropped > 0) {
        this.#log.error({ lost: this.#dropped }, "decisions of policies came faster than they are written");
        this.#dropped = 0;
      }
    }
    this.#writing = null;
  }

  /** Drops the files of months that are over for long enough. */
  async #sweep(): Promise<void> {
    const now = this.#now();
    if (now - this.#sweptAt < dayMs) {
      return;
    }
    this.#sweptAt = now;
    const kept = monthFile(this.oldest);
    for (const name of await usageFiles(this.folder)) {
      if (name.length < kept.length || (name.length === kept.length && name < kept)) {
        await rm(join(this.folder, name), { force: true });
      }
    }
  }
}
