/**
 * The table of asynchronous API calls: every POST becomes a request whose result is fetched with `/api/get`. It lives in
 * memory only and is bounded in number and time, because what must survive (a submission) is deduplicated by the queue
 * through the same id. It must never show a request to anybody but the user who made it. Called by the routes.
 */
import { randomUUID } from "node:crypto";
import { SkyError } from "../../shared/errors.ts";
import type { RequestPayload } from "../../shared/api.ts";
import type { RequestId, Uid } from "../../shared/ids.ts";
import { requestIdSchema } from "../../shared/ids.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { Log } from "../log.ts";
import { StoreUnavailable } from "../parts.ts";
import { pickledError, pickledNone } from "./pickle.ts";

export interface RequestLimits {
  /** Most requests held at once, of everybody and of one user. */
  total: number;
  perUser: number;
  /** Milliseconds for which a finished request is kept before and after its result was first fetched. */
  keepMs: number;
  keepFetchedMs: number;
  /** Milliseconds after which a call fails, unless it is a stream. */
  callMs: number;
}

export const requestLimits: RequestLimits = {
  total: 1000,
  perUser: 100,
  keepMs: 600_000,
  keepFetchedMs: 60_000,
  callMs: 120_000,
};

/** Largest text that a request keeps for `/api/stream`, in characters. */
const textMax = 65_536;

/** What a call may use while it runs. */
export interface Call {
  readonly id: RequestId;
  /** Aborted when the request is cancelled, times out or the server closes. */
  readonly signal: AbortSignal;
  /** Adds to what `/api/stream` shows; text beyond 64 K characters is dropped. */
  print(text: string): void;
}

export interface RequestSpec {
  /** As SkyPilot names it, without the `sky.` prefix: `launch`, `queue` … */
  name: string;
  account: Account;
  cluster: string | null;
  /** The id that the client chose; null draws one. */
  id: RequestId | null;
  /** A call that only reads leaves no record behind once its result was fetched. */
  readOnly: boolean;
  /** A stream has no time limit, and a second call with its id ends the first. */
  stream: boolean;
}

export interface RequestEntry {
  readonly id: RequestId;
  readonly spec: RequestSpec;
  readonly createdAt: number;
  status: "RUNNING" | "SUCCEEDED" | "FAILED" | "CANCELLED";
  result: unknown;
  error: SkyError | null;
  finishedAt: number | null;
  fetchedAt: number | null;
  text: string;
  readonly abort: AbortController;
  /** Settles when the request has ended; never rejects. */
  done: Promise<void>;
  readonly textListeners: Set<() => void>;
}

/** The SkyError that a user may see for anything that was thrown. What is not meant for people goes to the log only. */
export function errorForUser(thrown: unknown, log: Log): SkyError {
  if (thrown instanceof SkyError) {
    return thrown;
  }
  if (thrown instanceof StoreUnavailable) {
    return new SkyError(
      "ServerUnavailableError",
      `The coordinator cannot reach its store: ${thrown.message}`,
      "Nothing is lost that was acknowledged. Try again in a moment.",
    );
  }
  log.error({ err: thrown }, "an API call failed");
  return new SkyError("InternalError", "The coordinator met an internal error (see the coordinator's log).");
}

export class RequestTable {
  readonly #entries = new Map<RequestId, RequestEntry>();
  readonly #limits: RequestLimits;
  readonly #log: Log;
  readonly #sweeper: NodeJS.Timeout;

  constructor(log: Log, limits: RequestLimits = requestLimits) {
    this.#limits = limits;
    this.#log = log;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(10_000, limits.keepFetchedMs)).unref();
  }

  /** How many requests are held; for tests and metrics. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Starts a call, or joins the one of the same id and user. A request that failed because the store was away is done
   * again. Throws PermissionDeniedError for another user's id, ServerUnavailableError when too many are held.
   */
  start(spec: RequestSpec, run: (call: Call) => Promise<unknown>): RequestEntry {
    const known = spec.id === null ? undefined : this.#entries.get(spec.id);
    if (known !== undefined) {
      this.#checkSame(known, spec);
      if (!spec.stream && known.error?.type !== "ServerUnavailableError") {
        return known;
      }
      known.abort.abort();
      this.#entries.delete(known.id);
    }
    this.#makeRoom(spec.account.uid);
    const entry: RequestEntry = {
      id: spec.id ?? randomUUID(),
      spec,
      createdAt: Date.now(),
      status: "RUNNING",
      result: null,
      error: null,
      finishedAt: null,
      fetchedAt: null,
      text: "",
      abort: new AbortController(),
      done: Promise.resolve(),
      textListeners: new Set(),
    };
    this.#entries.set(entry.id, entry);
    entry.done = this.#carryOut(entry, run);
    return entry;
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

  /** Cancels the user's own running requests among these ids; returns those that were running. */
  cancel(uid: Uid, ids: readonly string[] | null): string[] {
    const wanted = ids === null ? this.list(uid, { all: true }) : ids.map((id) => this.find(uid, id));
    const running = wanted.filter((entry) => entry.status === "RUNNING");
    for (const entry of running) {
      entry.abort.abort();
    }
    return running.map((entry) => entry.id);
  }

  /** Notes that the result has been handed out, which starts its last minute. */
  fetched(entry: RequestEntry): void {
    entry.fetchedAt ??= Date.now();
  }

  /** Aborts everything and forgets it. */
  close(): void {
    clearInterval(this.#sweeper);
    for (const entry of this.#entries.values()) {
      entry.abort.abort();
    }
    this.#entries.clear();
  }

  async #carryOut(entry: RequestEntry, run: (call: Call) => Promise<unknown>): Promise<void> {
    const signal = entry.abort.signal;
    const call: Call = {
      id: entry.id,
      signal,
      print: (text) => {
        entry.text = (entry.text + text).slice(0, textMax);
        for (const listener of entry.textListeners) {
          listener();
        }
      },
    };
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
    try {
      entry.result = await Promise.race([run(call), ended]);
      entry.status = "SUCCEEDED";
    } catch (error) {
      if (signal.aborted && signal.reason !== limit) {
        entry.status = "CANCELLED";
        entry.error = new SkyError("RequestCancelled", `Request '${entry.id}' was cancelled.`);
      } else {
        entry.status = "FAILED";
        entry.error = errorForUser(error, this.#log);
      }
    } finally {
      clearTimeout(timer);
      entry.finishedAt = Date.now();
      for (const listener of entry.textListeners) {
        listener();
      }
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
    const finished = entries.filter((entry) => entry.finishedAt !== null);
    const order = [
      ...finished.filter((entry) => entry.fetchedAt !== null),
      ...finished.filter((entry) => entry.fetchedAt === null),
    ].slice(0, count);
    if (order.length < count) {
      throw new SkyError(
        "ServerUnavailableError",
        `${complaint}.`,
        "Try again when some have ended (`sky api status`).",
      );
    }
    for (const entry of order) {
      this.#entries.delete(entry.id);
    }
  }

  #sweep(): void {
    const now = Date.now();
    for (const entry of this.#entries.values()) {
      if (entry.finishedAt === null) {
        continue;
      }
      const old = now - entry.finishedAt > this.#limits.keepMs;
      if (old || (entry.fetchedAt !== null && now - entry.fetchedAt > this.#limits.keepFetchedMs)) {
        this.#entries.delete(entry.id);
      }
    }
  }
}

/** The id that the client asks for: null when there is none or it is not a uuid (SkyPilot's own client sends none). */
export function requestedId(header: string | undefined): RequestId | null {
  const id = requestIdSchema.safeParse(header?.toLowerCase());
  return id.success ? id.data : null;
}

/** `user_hash` and `user_id` of SkyPilot's records: eight hexadecimal digits, here of the uid, which is what names a user. */
export function userHash(uid: Uid): string {
  return uid.toString(16).padStart(8, "0");
}

/** The payload of `/api/get`; `readable` gives the form of `/api/status`, in which nothing is pickled. */
export function payloadOf(entry: RequestEntry, readable: boolean): RequestPayload {
  const error = entry.error;
  return {
    request_id: entry.id,
    name: `sky.${entry.spec.name}`,
    entrypoint: readable ? entry.spec.name : pickledNone,
    request_body: readable ? "{}" : pickledNone,
    status: entry.status,
    created_at: entry.createdAt / 1000,
    user_id: userHash(entry.spec.account.uid),
    user_name: entry.spec.account.name,
    return_value: readable ? "null" : JSON.stringify(entry.result ?? null),
    error:
      error === null
        ? "null"
        : JSON.stringify({
            object: pickledError(error.type, error.hint === null ? error.message : `${error.message}\n${error.hint}`),
            type: error.type,
            message: error.message,
            hint: error.hint,
          }),
    pid: null,
    schedule_type: entry.spec.readOnly ? "short" : "long",
    cluster_name: entry.spec.cluster,
    status_msg: null,
    should_retry: error?.type === "ServerUnavailableError",
    finished_at: entry.finishedAt === null ? null : entry.finishedAt / 1000,
  };
}
