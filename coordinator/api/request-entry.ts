/**
 * What a request of the API is: what was asked, how it stands, what a call may use while it runs, and what keeps it on
 * disk. Types, and the making of an entry; requests.ts holds them all. It must never hold a request's body in the clear
 * for longer than the request runs. Used by the routes, requests.ts and request-keeper.ts.
 */
import { randomUUID } from "node:crypto";
import { SkyError } from "../../shared/errors.ts";
import type { RequestId } from "../../shared/ids.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { Log } from "../log.ts";
import { StoreUnavailable } from "../parts.ts";

export interface RequestLimits {
  /** Most requests held at once, of everybody and of one user. */
  total: number;
  perUser: number;
  /** Milliseconds for which a finished call that only reads is kept before and after its result was first fetched. */
  keepMs: number;
  keepFetchedMs: number;
  /** Milliseconds for which a finished call that changes something is kept, here and in the store. */
  keepStoredMs: number;
  /** Milliseconds after which a call fails, unless it is a stream. */
  callMs: number;
}

export const requestLimits: RequestLimits = {
  total: 2000,
  perUser: 200,
  keepMs: 600_000,
  keepFetchedMs: 60_000,
  keepStoredMs: 86_400_000,
  callMs: 120_000,
};

/** Largest text that a request keeps for `/api/stream`, in characters. */
export const textMax = 65_536;

/** What a call may use while it runs. */
export interface Call {
  readonly id: RequestId;
  /** It was begun before, by a coordinator or a connection to Redis that is gone: it may have had its effect already. */
  readonly isAgain: boolean;
  /** Resolves when the request is on disk; a call that begins early awaits it before its first effect. */
  readonly kept: Promise<void>;
  /** What `draw` gave at the first time that this request was carried out; on disk when it resolves. */
  once<T>(draw: () => T): Promise<T>;
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
  /** Of a call that changes something: the route and the body with which it is carried out again. */
  stored?: { path: string; body: () => string };
  /** It begins before it is on disk, and itself waits for `kept` before it has an effect. */
  early?: boolean;
}

/** Keeps on disk what must survive the process (request-keeper.ts). */
export interface Keeper {
  /** On disk when it resolves: before the request begins. Rejects when that cannot be. */
  begin(entry: RequestEntry): Promise<void>;
  /** Stores what has become known of it; it has not ended. */
  save(entry: RequestEntry): Promise<void>;
  /** Takes back what a process before has done of a cancelled request, and stores that it has ended. */
  undo(entry: RequestEntry): Promise<void>;
  /** Stores how it ended, soon. */
  end(entry: RequestEntry): void;
  drop(entries: readonly RequestEntry[]): void;
  /** Whether the store can be reached. */
  isLive(): boolean;
  /** Resolves when what is stored is in the table; rejects while the store is away. */
  ready(): Promise<void>;
}

/** For a table that lives in memory alone. */
export const keepsNothing: Keeper = {
  begin: async () => undefined,
  save: async () => undefined,
  undo: async () => undefined,
  end: () => undefined,
  drop: () => undefined,
  isLive: () => true,
  ready: async () => undefined,
};

export interface RequestEntry {
  readonly id: RequestId;
  readonly spec: RequestSpec;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** As Call.kept; its rejection is handled. */
  kept: Promise<void>;
  /** JSON of what Call.once drew; null: nothing yet. */
  resolved: string | null;
  /** `dormant`: read from the store, to be carried out again. `cut off`: the store went away before it had ended. */
  standing: "usual" | "dormant" | "cut off";
  status: "RUNNING" | "SUCCEEDED" | "FAILED" | "CANCELLED";
  result: unknown;
  error: SkyError | null;
  finishedAt: number | null;
  fetchedAt: number | null;
  text: string;
  /** How often it was begun again after a restart or the loss of the store. */
  tries: number;
  readonly abort: AbortController;
  /** Settles when the request has ended; never rejects. */
  done: Promise<void>;
  /** Settles `done` of a dormant one. */
  wake: (() => void) | null;
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

/** Why a request was aborted that its user has cancelled; others are aborted by a reader who left, or at the end. */
export const cancelledByUser = new Error("cancelled by its user");

/** How a cancelled request ends. */
export function cancelledError(id: RequestId): SkyError {
  return new SkyError("RequestCancelled", `Request '${id}' was cancelled.`);
}

/** A request that has not begun, with what is known of it from before. */
export function newEntry(spec: RequestSpec, known: Partial<RequestEntry>): RequestEntry {
  return {
    id: spec.id ?? randomUUID(),
    spec,
    createdAt: known.createdAt ?? Date.now(),
    kept: Promise.resolve(),
    resolved: known.resolved ?? null,
    standing: "usual",
    status: known.status ?? "RUNNING",
    result: known.result ?? null,
    error: known.error ?? null,
    finishedAt: known.finishedAt ?? null,
    fetchedAt: null,
    text: known.text ?? "",
    tries: known.tries ?? 0,
    abort: new AbortController(),
    done: Promise.resolve(),
    wake: null,
    textListeners: new Set(),
  };
}
