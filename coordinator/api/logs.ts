/**
 * Streams the log text of one job: the lines of our own, then the ranks' output, then how it ended. A stream that breaks
 * is opened again where it stopped, until the job has ended and its output is complete. It must never buffer more than a
 * line of each rank: a slow reader slows the node's reading. Called by routes-logs.ts.
 */
import type { Duplex } from "node:stream";
import { exitCodes } from "../../shared/api.ts";
import { SkyError, messageOf } from "../../shared/errors.ts";
import type { JobId } from "../../shared/ids.ts";
import type { AttemptRecord } from "../../shared/job.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { State } from "../core/state.ts";
import type { ApiParts } from "../parts.ts";
import { LogFrameParser, type LogPiece } from "./log-frames.ts";
import { type RankPlace, endLines, exitCodeOf, placeOf, prefixOf, startedLine, waitingLine } from "./log-lines.ts";
import { LineCollector, LineWriter, coloured } from "./log-text.ts";
import { type JobView, latestJob, liveParts, pause, readJob, untilJob } from "./job-watch.ts";

/** Where the text goes. `write` resolves when the reader has room for more and rejects when it is gone. */
export interface TextSink {
  write(bytes: Buffer): Promise<void>;
  /** Bytes of the beginning that the reader already has and that are still to be left out. */
  skip: number;
}

export interface LogTimes {
  /** Milliseconds a job waits before the reader is told why. */
  reasonMs: number;
  /** Milliseconds after which an unfinished line of one of several ranks is shown. */
  idleMs: number;
  /** How long output of an ended job is asked for when its node does not answer. */
  missingMs: number;
}
export const logTimes: LogTimes = { reasonMs: 1000, idleMs: 1000, missingMs: 30_000 };

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

export interface LogReading {
  parts: ApiParts;
  account: Account;
  /** null: the caller's latest job. */
  jobId: JobId | null;
  follow: boolean;
  /** Last lines of each rank; 0: all. */
  tail: number;
  sink: TextSink;
  signal: AbortSignal;
  notices: WaitingNotices;
  /** Why the job waits, from the plan. */
  why(state: State, account: Account, id: JobId): string | null;
  times: LogTimes;
}

/** Most times that a node may answer "not complete" about an ended job before it is believed. */
const incompleteAnswersMax = 3;
const backoffFirstMs = 50;
const backoffMaxMs = 2000;
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

/** Reads one rank's output to its end, opening the stream as often as it takes. */
class RankReader {
  readonly #reading: LogReading;
  readonly #id: JobId;
  readonly #writer: LineWriter;
  readonly #attempt: AttemptRecord;
  readonly #rank: number;
  readonly #collectors: { setup: LineCollector; run: LineCollector } | null;
  #offsets = { setup: 0, run: 0 };
  #pid: number | null = null;
  #idle: NodeJS.Timeout | undefined;
  #prefixes: { setup: Buffer; run: Buffer } | null = null;

  constructor(
    reading: LogReading,
    id: JobId,
    writer: LineWriter,
    attempt: AttemptRecord,
    rank: number,
    several: boolean,
  ) {
    this.#reading = reading;
    this.#id = id;
    this.#writer = writer;
    this.#attempt = attempt;
    this.#rank = rank;
    this.#collectors = several ? { setup: new LineCollector(), run: new LineCollector() } : null;
  }

  get #node(): string {
    return this.#attempt.ranks[this.#rank]?.grant.node ?? "";
  }

  /** A line for the reader when output is missing; null when it is complete. */
  async run(): Promise<string | null> {
    let failures = 0;
    let incompleteAnswers = 0;
    let giveUpAt: number | null = null;
    for (;;) {
      const before = this.#offsets.setup + this.#offsets.run;
      let cause: string;
      try {
        const fault = await this.#readOnce();
        if (fault === null) {
          return null;
        }
        cause = fault;
        incompleteAnswers += 1;
      } catch (error) {
        this.#reading.signal.throwIfAborted();
        if (error instanceof ReaderGone) {
          throw error;
        }
        cause = messageOf(error);
      }
      if (this.#offsets.setup + this.#offsets.run > before) {
        failures = 0;
        incompleteAnswers = 0;
        giveUpAt = null;
      }
      const over = await this.#isOver();
      if (over === "nothing") {
        return null;
      }
      if (over === "over") {
        giveUpAt ??= performance.now() + this.#reading.times.missingMs;
        if (performance.now() >= giveUpAt || incompleteAnswers >= incompleteAnswersMax) {
          return `WARNING: Output of rank ${this.#rank} on node ${this.#node} is missing: ${cause}`;
        }
      }
      failures += 1;
      await pause(Math.min(backoffFirstMs * 2 ** Math.min(failures, 10), backoffMaxMs), this.#reading.signal).promise;
    }
  }

  /** `over`: no more output will come than there is. `nothing`: and this rank never had a process. */
  async #isOver(): Promise<"open" | "over" | "nothing"> {
    const now = this.#reading.parts.current();
    if ("unavailable" in now) {
      return "open";
    }
    const view = await readJob(now, this.#reading.account.uid, this.#id).catch(() => null);
    const rank = view?.record.attempt?.ranks[this.#rank];
    const replaced = view !== null && view.record.attempt?.id !== this.#attempt.id;
    if (view?.ended !== true && !replaced && this.#reading.follow) {
      return "open";
    }
    return !replaced && rank?.pid === null && rank.logDir === null ? "nothing" : "over";
  }

  /** One stream, to its end. Returns null when the output is complete, else the node's reason; throws when it breaks. */
  async #readOnce(): Promise<string | null> {
    const { parts, account, signal, tail, follow } = this.#reading;
    const live = liveParts(parts);
    const view = await readJob(live, account.uid, this.#id);
    const rank = view?.record.attempt?.ranks[this.#rank] ?? this.#attempt.ranks[this.#rank];
    const stream = await live.fleet.openLogStream(this.#node, account.uid, account.name, {
      kind: "logs",
      attempt: this.#attempt.id,
      logDir: rank?.logDir ?? null,
      rank: this.#rank,
      follow,
      setupOffset: tail > 0 ? 0 : this.#offsets.setup,
      runOffset: tail > 0 ? 0 : this.#offsets.run,
      tailLines: tail > 0 ? tail : null,
    });
    if (tail > 0 && this.#offsets.setup + this.#offsets.run > 0) {
      await this.#reading.sink.write(
        this.#writer.line(`[The connection to ${this.#node} was interrupted; its last ${tail} lines follow again.]`),
      );
    }
    this.#pid ??= rank?.pid ?? null;
    const place = placeOf(live.loop.state, this.#node, this.#rank);
    return this.#pump(stream, place, view?.record.name ?? null, signal);
  }

  async #pump(stream: Duplex, place: RankPlace, name: string | null, signal: AbortSignal): Promise<string | null> {
    const close = (): void => {
      stream.destroy();
    };
    stream.on("error", () => undefined);
    signal.addEventListener("abort", close, { once: true });
    const parser = new LogFrameParser();
    try {
      signal.throwIfAborted();
      for await (const chunk of stream) {
        for (const piece of parser.push(chunk as Buffer)) {
          if (piece.kind === "end") {
            await this.#flush();
            return piece.fault;
          }
          await this.#take(piece, place, name);
        }
      }
      throw new Error("the log stream broke off");
    } finally {
      signal.removeEventListener("abort", close);
      clearTimeout(this.#idle);
      stream.destroy();
    }
  }

  async #take(piece: Exclude<LogPiece, { kind: "end" }>, place: RankPlace, name: string | null): Promise<void> {
    if (piece.kind === "pid") {
      this.#pid = piece.pid;
      this.#prefixes = null;
      return;
    }
    this.#prefixes ??= {
      setup: coloured(prefixOf("setup", place, name, this.#pid ?? 0)),
      run: coloured(prefixOf("run", place, name, this.#pid ?? 0)),
    };
    this.#offsets[piece.kind] += piece.bytes.length;
    if (this.#collectors === null) {
      await this.#emit(piece.kind, piece.bytes);
      return;
    }
    clearTimeout(this.#idle);
    const whole = this.#collectors[piece.kind].push(piece.bytes);
    if (whole !== null) {
      await this.#emit(piece.kind, whole);
    }
    this.#idle = setTimeout(() => {
      // The reader being gone shows at the next write of the pump.
      this.#flush().catch(() => undefined);
    }, this.#reading.times.idleMs);
  }

  async #flush(): Promise<void> {
    for (const kind of ["setup", "run"] as const) {
      const rest = this.#collectors?.[kind].flush() ?? null;
      if (rest !== null) {
        await this.#emit(kind, rest);
      }
    }
  }

  async #emit(kind: "setup" | "run", bytes: Buffer): Promise<void> {
    const prefix = this.#prefixes?.[kind] ?? Buffer.alloc(0);
    await this.#reading.sink.write(this.#writer.write(`${kind} ${this.#rank}`, prefix, bytes));
  }
}

/** The reader has hung up. Thrown by a TextSink. */
export class ReaderGone extends Error {
  override readonly name = "ReaderGone";
}
