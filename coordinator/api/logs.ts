/**
 * Streams the log text of one job: the lines of our own, then the ranks' output, then how it ended. It must never say
 * that a job has ended before its output is complete and its end is durable. Called by routes-logs.ts.
 */
import { exitCodes } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { JobId } from "../../shared/ids.ts";
import type { AttemptRecord } from "../../shared/job.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { State } from "../core/state.ts";
import { endLines, exitCodeOf, startedLine, waitingLine } from "./log-lines.ts";
import { RankReader, type RankReading } from "./log-rank.ts";
import { LineWriter } from "./log-text.ts";
import { type JobView, latestJob, liveParts, readJob, untilJob } from "./job-watch.ts";

/** What was said about a waiting job, so that a reader who comes back is shown the same bytes. Bounded. */
export class WaitingNotices {
  readonly #texts = new Map<string, string>();
  remember(key: string, text: string): void {
    this.#texts.delete(key);
    this.#texts.set(key, text);
    for (const oldest of this.#texts.keys()) {
      if (this.#texts.size <= 1000) {
        break;
      }
      this.#texts.delete(oldest);
    }
  }
  get(key: string): string | null {
    return this.#texts.get(key) ?? null;
  }
}

export interface LogReading extends RankReading {
  /** null: the caller's latest job. */
  jobId: JobId | null;
  notices: WaitingNotices;
  /** Why the job waits, from the plan. */
  why(state: State, account: Account, id: JobId): string | null;
}

/** A resumed reader that has more than this has output, whatever was said while the job waited. */
const noticeBytesMax = 1200;

/** Streams the log and returns the exit code for the command line (0, 100 to 103). */
export async function streamLogs(reading: LogReading): Promise<number> {
  const { account, sink } = reading;
  const live = liveParts(reading.parts);
  const id = reading.jobId ?? (await latestJob(live, account.uid));
  const view = id === null ? null : await readJob(live, account.uid, id);
  if (id === null || view === null) {
    const which = id === null ? "You have no jobs" : `Job ${id} not found`;
    await sink.write(Buffer.from(`ERROR: ${which}. \`sky queue\` lists your jobs.\n`));
    return exitCodes.notFound;
  }
  return new JobReader(reading, id).run(view);
}

/** One reading of one job. */
class JobReader {
  readonly #reading: LogReading;
  readonly #id: JobId;
  readonly #writer = new LineWriter();
  #startedSaid = false;

  constructor(reading: LogReading, id: JobId) {
    this.#reading = reading;
    this.#id = id;
  }

  async run(first: JobView): Promise<number> {
    await this.#sayWaiting(first);
    let view: JobView | null = first;
    for (;;) {
      view = await this.#until((now) => hasStarted(now) || now.ended);
      const attempt = view.record.attempt;
      if (attempt !== null && hasStarted(view)) {
        await this.#sayStarted();
        await this.#readRanks(attempt);
      }
      if (!this.#reading.follow) {
        break;
      }
      view = await this.#until((now) => now.ended || now.record.attempt?.id !== attempt?.id);
      if (view.ended) {
        break;
      }
    }
    if (view.ended) {
      for (const line of endLines(this.#id, view.record)) {
        await this.#line(line);
      }
      return exitCodeOf(view.record);
    }
    return exitCodes.notFinished;
  }

  /** The present job; with `follow`, as soon as `accept` holds. */
  async #until(accept: (view: JobView) => boolean, limitMs?: number): Promise<JobView> {
    const { parts, account, signal, follow } = this.#reading;
    const view = await untilJob(parts, account.uid, this.#id, accept, signal, follow ? limitMs : 0);
    if (view === null) {
      throw new SkyError("JobNotFoundError", `Job ${this.#id} was removed from the history while its log was read.`);
    }
    return view;
  }

  async #line(text: string): Promise<void> {
    await this.#reading.sink.write(this.#writer.line(text));
  }

  /** The first line; and, when the job waits for more than a moment, why. A reader who comes back is shown the same. */
  async #sayWaiting(view: JobView): Promise<void> {
    const { sink, notices, account, times, tail } = this.#reading;
    if (tail > 0) {
      return;
    }
    const had = sink.skip;
    await this.#line(waitingLine(view.record.shape.nodes));
    const key = `${account.uid}/${this.#id}`;
    const said = had > 0 ? notices.get(key) : null;
    if (said !== null) {
      await this.#line(said);
      return;
    }
    const later = await this.#until((now) => hasStarted(now) || now.ended, times.reasonMs);
    if (hasStarted(later) || later.ended) {
      return;
    }
    if (sink.skip > 0 && sink.skip <= noticeBytesMax) {
      // The reader has a reason from before the coordinator's restart, and there cannot be any output yet.
      sink.skip = 0;
      return;
    }
    const now = this.#reading.parts.current();
    const why = "unavailable" in now ? now.unavailable : this.#reading.why(now.loop.state, account, this.#id);
    if (why !== null) {
      const text = `│   ${why.replaceAll(/\s+/g, " ").slice(0, 300)}`;
      notices.remember(key, text);
      await this.#line(text);
    }
  }

  async #sayStarted(): Promise<void> {
    if (!this.#startedSaid && this.#reading.tail === 0) {
      await this.#line(startedLine);
    }
    this.#startedSaid = true;
  }

  async #readRanks(attempt: AttemptRecord): Promise<void> {
    const several = attempt.ranks.length > 1;
    const faults = await Promise.all(
      attempt.ranks.map((_, rank) =>
        new RankReader(this.#reading, this.#id, this.#writer, attempt, rank, several).run(),
      ),
    );
    for (const fault of faults) {
      if (fault !== null) {
        await this.#line(fault);
      }
    }
  }
}

/** A rank has a process, or has had one. */
function hasStarted(view: JobView): boolean {
  return view.record.attempt?.ranks.some((rank) => rank.pid !== null || rank.logDir !== null) === true;
}
