/**
 * The table of asynchronous API calls: every POST becomes a request whose result is fetched with `/api/get`. It is bounded
 * in number and time. Calls that only read live here alone; those that change something are also given to a keeper,
 * which stores them before they begin, so that a restart can carry them out again. It must never show a request to
 * anybody but the user who made it. Called by the routes and by request-keeper.ts.
 */
import { SkyError } from "../../shared/errors.ts";
import type { RequestId, Uid } from "../../shared/ids.ts";
import { requestIdSchema } from "../../shared/ids.ts";
import type { Log } from "../log.ts";
import { StoreUnavailable } from "../parts.ts";
import {
  type Call,
  cancelledByUser,
  cancelledError,
  errorForUser,
  type Keeper,
  keepsNothing,
  newEntry,
  type RequestEntry,
  type RequestLimits,
  requestLimits,
  type RequestSpec,
  textMax,
} from "./request-entry.ts";

export class RequestTable {
  readonly #entries = new Map<RequestId, RequestEntry>();
  readonly #limits: RequestLimits;
  readonly #log: Log;
  readonly #keeper: Keeper;
  readonly #sweeper: NodeJS.Timeout;
  #closed = false;

  constructor(log: Log, limits: RequestLimits = requestLimits, keeper: Keeper = keepsNothing) {
    this.#limits = limits;
    this.#log = log;
    this.#keeper = keeper;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(10_000, limits.keepFetchedMs)).unref();
  }

  /** Resolves when what was stored before is in the table too; rejects while the store is away. */
  ready(): Promise<void> {
    return this.#keeper.ready();
  }

  /** How many requests are held; for tests and metrics. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Starts a call, or joins the one of the same id and user. A request that failed because the store was away is done
   * again, and one that was read from the store is done now. Throws PermissionDeniedError for another user's id,
   * ServerUnavailableError when too many are held.
   */
  start(spec: RequestSpec, run: (call: Call) => Promise<unknown>): RequestEntry {
    const known = spec.id === null ? undefined : this.#entries.get(spec.id);
    if (known !== undefined) {
      this.#checkSame(known, spec);
      if (known.standing === "dormant") {
        known.standing = "usual";
        void this.#carryOut(known, run, true).then(() => known.wake?.());
        return known;
      }
      if (!spec.stream && known.error?.type !== "ServerUnavailableError") {
        return known;
      }
      known.abort.abort();
      this.#entries.delete(known.id);
    }
    try {
      this.#makeRoom(spec.account.uid);
    } catch (error) {
      if (known !== undefined) {
        this.#entries.set(known.id, known);
      }
      throw error;
    }
    const before =
      known === undefined ? {} : { createdAt: known.createdAt, resolved: known.resolved, tries: known.tries };
    const entry = newEntry(spec, before);
    this.#entries.set(entry.id, entry);
    if (spec.stored !== undefined) {
      entry.kept = this.#keeper.begin(entry);
      // Handed over. The entry stays for a day; the body, and the call that holds it, must not.
      spec.stored.body = () => "null";
    }
    entry.kept.catch(() => undefined);
    entry.done = this.#carryOut(entry, run, known !== undefined);
    return entry;
  }

  /** The request of this id, whoever made it; for the keeper. */
  entry(id: RequestId): RequestEntry | undefined {
    return this.#entries.get(id);
  }

  /** Takes in what was read from the store: what has ended, as it ended, what has not, to be done when it is started. */
  adopt(spec: RequestSpec, outcome: Partial<RequestEntry>): void {
    const entry = newEntry(spec, outcome);
    if (entry.status === "RUNNING") {
      entry.standing = "dormant";
      entry.done = new Promise((resolve) => {
        entry.wake = resolve;
      });
    }
    this.#entries.set(entry.id, entry);
  }

  /** What was cut off and is not stored was never acknowledged: nothing of it is left to be done. */
  settle(stored: ReadonlySet<RequestId>): void {
    for (const entry of this.#entries.values()) {
      if (entry.standing === "cut off" && !stored.has(entry.id)) {
        entry.standing = "usual";
      }
    }
  }

  /** Ends a dormant request that cannot be carried out any more. */
  fail(entry: RequestEntry, error: unknown): void {
    if (entry.standing === "dormant") {
      entry.standing = "usual";
      entry.status = "FAILED";
      entry.error = errorForUser(error, this.#log);
      this.#finish(entry);
      this.#keeper.end(entry);
      entry.wake?.();
    }
  }

  /** The user's own request of this id or prefix. Throws JobNotFoundError (unknown) or ValueError (ambiguous). */
  find(uid: Uid, idOrPrefix: string): RequestEntry {
    const exact = this.#entries.get(idOrPrefix);
    if (exact !== undefined && exact.spec.account.uid === uid) {
      return exact;
    }
    const matches =
      idOrPrefix === "" ? [] : this.list(uid, { all: true }).filter((entry) => entry.id.startsWith(idOrPrefix));
    if (matches.length > 1) {
      throw new SkyError(
        "ValueError",
        `Request id prefix '${idOrPrefix}' is ambiguous.`,
        "Give more characters of it.",
      );
    }
    const match = matches[0];
    if (match === undefined) {
      throw new SkyError("JobNotFoundError", `Request '${idOrPrefix.slice(0, 100)}' not found.`);
    }
    return match;
  }

  /** The user's own requests, newest first. Read-only ones that were fetched are left out unless `all`. */
  list(uid: Uid, options: { all: boolean }): RequestEntry[] {
    const own = [...this.#entries.values()].filter((entry) => entry.spec.account.uid === uid);
    return own.filter((entry) => options.all || !(entry.spec.readOnly && entry.fetchedAt !== null)).reverse();
  }

  /**
   * Cancels the user's own running requests among these ids; resolves with those that were running, when that is on disk:
   * a restart must not carry out what its user was told is cancelled.
   */
  async cancel(uid: Uid, ids: readonly string[] | null): Promise<string[]> {
    const wanted = ids === null ? this.list(uid, { all: true }) : ids.map((id) => this.find(uid, id));
    const running = [...new Set(wanted)].filter((entry) => entry.status === "RUNNING");
    const dormant = new Set(running.filter((entry) => entry.standing === "dormant"));
    for (const entry of running) {
      entry.abort.abort(cancelledByUser);
      if (entry.standing === "dormant") {
        entry.standing = "usual";
        entry.status = "CANCELLED";
        entry.error = cancelledError(entry.id);
        this.#finish(entry);
        entry.wake?.();
      }
    }
    await Promise.all(
      running.map(async (entry) => {
        await entry.done;
        if (entry.spec.stored !== undefined && entry.status === "CANCELLED") {
          await this.#keeper.save(entry);
          if (dormant.has(entry)) {
            await this.#keeper.undo(entry);
          }
        }
      }),
    );
    return running.filter((entry) => entry.status === "CANCELLED").map((entry) => entry.id);
  }

  /** Notes that the result has been handed out, which starts its last minute. */
  fetched(entry: RequestEntry): void {
    entry.fetchedAt ??= Date.now();
  }

  /** Aborts everything and forgets it; what has not ended is carried out again by the next process. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeper);
    for (const entry of this.#entries.values()) {
      entry.abort.abort();
    }
    this.#entries.clear();
  }

  async #carryOut(entry: RequestEntry, run: (call: Call) => Promise<unknown>, isAgain: boolean): Promise<void> {
    const { signal } = entry.abort;
    const limit = new SkyError(
      "ServerUnavailableError",
      `The call '${entry.spec.name}' took longer than ${this.#limits.callMs / 1000} s.`,
      "Try again; `sky status` shows how the cluster is.",
    );
    let timer: NodeJS.Timeout | undefined;
    const ended = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      if (!entry.spec.stream) {
        timer = setTimeout(() => entry.abort.abort(limit), this.#limits.callMs);
      }
    });
    const work = this.#work(entry, run, isAgain);
    try {
      entry.result = await Promise.race([work, ended]);
      entry.status = "SUCCEEDED";
    } catch (error) {
      if (signal.aborted && signal.reason !== limit) {
        entry.status = "CANCELLED";
        entry.error = cancelledError(entry.id);
      } else {
        entry.status = "FAILED";
        entry.error = errorForUser(error, this.#log);
        const isAway = error instanceof StoreUnavailable || !this.#keeper.isLive();
        entry.standing = isAway && entry.error.type === "ServerUnavailableError" ? "cut off" : "usual";
      }
    } finally {
      clearTimeout(timer);
      this.#finish(entry);
      const isOver = entry.status === "FAILED" && signal.aborted && entry.standing === "usual";
      if (isOver && entry.spec.stored !== undefined) {
        // Its user hears that it failed while the work may go on: after a restart it is undone, and never done anew.
        this.#keeper.save(entry).catch(() => undefined);
      }
      // Not before the work itself has ended: what it still does after a cancel belongs to the request.
      void work.then(
        () => this.#keepEnd(entry),
        () => this.#keepEnd(entry),
      );
    }
  }

  async #work(entry: RequestEntry, run: (call: Call) => Promise<unknown>, isAgain: boolean): Promise<unknown> {
    if (entry.spec.early !== true) {
      await entry.kept;
      // It may have been cancelled meanwhile: nothing of it has begun, and nothing does.
      entry.abort.signal.throwIfAborted();
    }
    return run({
      id: entry.id,
      signal: entry.abort.signal,
      isAgain,
      kept: entry.kept,
      once: async (draw) => {
        if (entry.resolved === null) {
          entry.resolved = JSON.stringify(draw());
          await this.#keeper.save(entry);
        }
        return JSON.parse(entry.resolved) as ReturnType<typeof draw>;
      },
      print: (text) => {
        entry.text = (entry.text + text).slice(0, textMax);
        for (const listener of entry.textListeners) {
          listener();
        }
      },
    });
  }

  #finish(entry: RequestEntry): void {
    entry.finishedAt = Date.now();
    for (const listener of entry.textListeners) {
      listener();
    }
  }

  #keepEnd(entry: RequestEntry): void {
    const isMine = this.#entries.get(entry.id) === entry;
    if (entry.spec.stored !== undefined && entry.standing !== "cut off" && isMine && !this.#closed) {
      this.#keeper.end(entry);
    }
  }

  #checkSame(known: RequestEntry, spec: RequestSpec): void {
    if (known.spec.account.uid !== spec.account.uid) {
      throw new SkyError("PermissionDeniedError", `Request id '${known.id}' is taken.`, "Use a new uuid.");
    }
    if (known.spec.name !== spec.name) {
      throw new SkyError(
        "ValueError",
        `Request id '${known.id}' belongs to a '${known.spec.name}' call.`,
        "Use a new uuid.",
      );
    }
  }

  /** Drops the oldest finished requests, fetched ones first, until one more fits for this user and in all. */
  #makeRoom(uid: Uid): void {
    const own = [...this.#entries.values()].filter((entry) => entry.spec.account.uid === uid);
    this.#drop(own, own.length - this.#limits.perUser + 1, `You have ${this.#limits.perUser} unfinished requests`);
    const all = [...this.#entries.values()];
    this.#drop(
      all,
      all.length - this.#limits.total + 1,
      `The coordinator holds ${this.#limits.total} unfinished requests`,
    );
  }

  #drop(entries: RequestEntry[], count: number, complaint: string): void {
    if (count <= 0) {
      return;
    }
    // What was cut off is still to be done.
    const finished = entries.filter((entry) => entry.finishedAt !== null && entry.standing !== "cut off");
    const rank = (entry: RequestEntry): number =>
      (entry.fetchedAt === null ? 2 : 0) + (entry.spec.stored === undefined ? 0 : 1);
    const order = finished.sort((a, b) => rank(a) - rank(b) || a.createdAt - b.createdAt).slice(0, count);
    if (order.length < count) {
      throw new SkyError(
        "ServerUnavailableError",
        `${complaint}.`,
        "Try again when some have ended (`sky api status`).",
      );
    }
    this.#forget(order);
  }

  #forget(entries: readonly RequestEntry[]): void {
    for (const entry of entries) {
      this.#entries.delete(entry.id);
    }
    const stored = entries.filter((entry) => entry.spec.stored !== undefined);
    if (stored.length > 0) {
      this.#keeper.drop(stored);
    }
  }

  #sweep(): void {
    const now = Date.now();
    const isOld = ({ spec, finishedAt, fetchedAt }: RequestEntry): boolean => {
      if (finishedAt === null) {
        return false;
      }
      if (spec.stored !== undefined) {
        return now - finishedAt > this.#limits.keepStoredMs;
      }
      const isFetched = fetchedAt !== null && now - fetchedAt > this.#limits.keepFetchedMs;
      return isFetched || now - finishedAt > this.#limits.keepMs;
    };
    this.#forget([...this.#entries.values()].filter(isOld));
  }
}

/** The id that the client asks for: null when there is none or it is not a uuid (SkyPilot's own client sends none). */
export function requestedId(header: string | undefined): RequestId | null {
  const id = requestIdSchema.safeParse(header?.toLowerCase());
  return id.success ? id.data : null;
}
