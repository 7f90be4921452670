/**
 * Reads one rank's output from its node to the reader, opening the stream as often as it takes. What was received is
 * counted, so that a stream that broke goes on where it stopped. It must never buffer more than one line of a rank, nor
 * go on when the reader has gone or the job has ended and its node stays silent. Called by logs.ts, once for each rank.
 */
import type { Duplex } from "node:stream";
import { messageOf } from "../../shared/errors.ts";
import type { JobId } from "../../shared/ids.ts";
import type { AttemptRecord } from "../../shared/job.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { ApiParts } from "../parts.ts";
import { LogFrameParser, type LogPiece } from "./log-frames.ts";
import { type RankPlace, placeOf, prefixOf } from "./log-lines.ts";
import { LineCollector, type LineWriter, prefixBytes } from "./log-text.ts";
import { type JobView, liveParts, pause, readJob, untilJob } from "./job-watch.ts";

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

/** What a reader has asked for, as far as one rank is concerned. */
export interface RankReading {
  parts: ApiParts;
  account: Account;
  follow: boolean;
  /** Last lines of each rank; 0: all. */
  tail: number;
  colors: boolean;
  sink: TextSink;
  signal: AbortSignal;
  times: LogTimes;
}

/** Most times that a node may answer "not complete" about an ended job before it is believed. */
const incompleteAnswersMax = 3;
const backoffFirstMs = 50;
const backoffMaxMs = 2000;

/** Reads one rank's output to its end, opening the stream as often as it takes. */
export class RankReader {
  readonly #reading: RankReading;
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
    reading: RankReading,
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
    await this.#untilStarted();
    if ((await this.#isOver()) === "nothing") {
      // Its node would wait for output that never comes.
      return null;
    }
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

  /** Waits for this rank's process, since a node that is asked too early has nothing to say yet. */
  async #untilStarted(): Promise<void> {
    const { parts, account, signal, follow } = this.#reading;
    const isDue = ({ record, ended }: JobView): boolean => {
      const rank = record.attempt?.id === this.#attempt.id ? record.attempt.ranks[this.#rank] : undefined;
      return ended || rank === undefined || rank.pid !== null || rank.logDir !== null;
    };
    if (follow) {
      await untilJob(parts, account.uid, this.#id, isDue, signal);
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
      setup: prefixBytes(prefixOf("setup", place, name, this.#pid ?? 0), this.#reading.colors),
      run: prefixBytes(prefixOf("run", place, name, this.#pid ?? 0), this.#reading.colors),
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
