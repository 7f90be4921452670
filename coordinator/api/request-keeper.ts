/**
 * Keeps requests that change something on disk: before they begin, when they have looked something up once and for all,
 * and when they have ended. Each time that the store can be reached anew it reads them, and carries out again what had
 * not ended: under the same id, in the order in which they were made, with the rights that their user has now. It must
 * never carry out what was cancelled. Made by server.ts; the table of requests works through it.
 */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, SkyError, type SkyErrorType } from "../../shared/errors.ts";
import type { RequestId } from "../../shared/ids.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { Log } from "../log.ts";
import { type ApiParts, type Store, type StoredRequest, StoreUnavailable } from "../parts.ts";
import { liveParts } from "./job-watch.ts";
import type { Keeper, RequestEntry, RequestSpec } from "./request-entry.ts";
import type { RequestTable } from "./requests.ts";

/** Largest result and text that are stored, in characters; results of changes are small. */
const resultMax = 262_144;
const textMax = 16_384;
/** Milliseconds that the next request waits for one that is carried out again; most are done much sooner. */
const turnMs = 1_000;
/** A request that was begun again so often and never ended may be what ends the process: it is not done once more. */
const triesMax = 20;

/** Carries out the call of this route as the account, under this id. Rejects with why not. */
export type Recall = (path: string, account: Account, body: string, id: RequestId) => Promise<void>;

export class RequestKeeper implements Keeper {
  readonly #parts: ApiParts;
  readonly #log: Log;
  #table: RequestTable | null = null;
  #recall: Recall | null = null;
  #loaded: { from: Store; done: Promise<void> } | null = null;

  constructor(parts: ApiParts, log: Log) {
    this.#parts = parts;
    this.#log = log;
  }

  /** From here on what is stored is read and carried out, now and each time that the store is there again. */
  attach(table: RequestTable, recall: Recall): void {
    this.#table = table;
    this.#recall = recall;
    const look = (): void => void this.ready().catch(() => undefined);
    this.#parts.onLive(look);
    look();
  }

  isLive(): boolean {
    return !("unavailable" in this.#parts.current());
  }

  /** Resolves when what the present store holds is in the table. Rejects while there is none. */
  async ready(): Promise<void> {
    const { store } = liveParts(this.#parts);
    if (this.#loaded?.from !== store) {
      const loaded = { from: store, done: this.#load(store) };
      this.#loaded = loaded;
      loaded.done.catch((error: unknown) => {
        this.#log.warn({ cause: messageOf(error) }, "stored requests cannot be read now");
        if (this.#loaded === loaded) {
          this.#loaded = null;
        }
      });
    }
    await this.#loaded.done;
  }

  async begin(entry: RequestEntry): Promise<void> {
    await liveParts(this.#parts).store.requests.begin(recordOf(entry), entry.spec.stored?.body() ?? "null");
  }

  async save(entry: RequestEntry): Promise<void> {
    await liveParts(this.#parts).store.requests.save(recordOf(entry));
  }

  async undo(entry: RequestEntry): Promise<void> {
    await this.#undo(liveParts(this.#parts).store, recordOf(entry));
  }

  end(entry: RequestEntry): void {
    // Without a store now it is compared with what is stored, and made good, when there is one again.
    const write = entry.kept.then(() => liveParts(this.#parts).store.requests.end(recordOf(entry)));
    write.catch((error: unknown) => {
      this.#log.warn({ request: entry.id, cause: messageOf(error) }, "a request's end is stored later");
    });
  }

  drop(entries: readonly RequestEntry[]): void {
    const now = this.#parts.current();
    if (!("unavailable" in now)) {
      const named = entries.map(({ id, spec }) => ({ id, uid: spec.account.uid }));
      // Those that stay for this reason are dropped for their age after the next start.
      now.store.requests.drop(named).catch(() => undefined);
    }
  }

  async #load(store: Store): Promise<void> {
    const table = this.#table;
    if (table === null) {
      return;
    }
    const again: StoredRequest[] = [];
    const found = await store.requests.all();
    table.settle(new Set(found.map(({ request }) => request.id)));
    for (const { request, body } of found) {
      const known = table.entry(request.id);
      if (known === undefined) {
        table.adopt(specOf(request), outcomeOf(request));
        if (body === "kept" && request.status === "RUNNING") {
          again.push(request);
        } else if (body === "kept") {
          await this.#undo(store, request);
        }
      } else if (known.standing !== "usual") {
        again.push(request);
      } else if (known.finishedAt !== null && body === "kept") {
        await (known.status === "CANCELLED" ? this.#undo(store, recordOf(known)) : store.requests.end(recordOf(known)));
      }
    }
    void this.#carryOutAgain(store, again);
  }

  async #carryOutAgain(store: Store, requests: readonly StoredRequest[]): Promise<void> {
    const left = [...requests];
    for (let request = left.shift(); request !== undefined; request = left.shift()) {
      if (this.#loaded?.from !== store) {
        // There is another store now, and what has not ended is read from it.
        return;
      }
      const entry = this.#table?.entry(request.id);
      if (entry === undefined || entry.standing === "usual") {
        // Its own client was faster.
        continue;
      }
      this.#log.info({ request: request.id, uid: request.uid, name: request.name }, "a request is carried out again");
      try {
        await this.#again(store, entry, request);
        const now = this.#table?.entry(request.id) ?? entry;
        await Promise.race([now.done, delay(turnMs, undefined, { ref: false })]);
      } catch (error) {
        if (!this.isLive() || this.#loaded?.from !== store) {
          return;
        }
        const isPassing = error instanceof SkyError && error.type === "ServerUnavailableError";
        if (isPassing || error instanceof StoreUnavailable) {
          // Such as a name service that does not answer yet: what was acknowledged is tried again.
          left.push(request);
          await delay(turnMs, undefined, { ref: false });
        } else {
          this.#table?.fail(entry, error);
        }
      }
    }
  }

  async #again(store: Store, entry: RequestEntry, request: StoredRequest): Promise<void> {
    const { uid, id, user, path } = request;
    if (entry.tries >= triesMax) {
      throw new SkyError("InternalError", `The call was begun ${triesMax} times and never ended.`, "Make it again.");
    }
    const body = await store.requests.body(uid, id);
    if (body === null) {
      throw new SkyError("InternalError", "What is stored of the request is damaged.", "Make the call again.");
    }
    const account = await this.#parts.accounts.byUid(uid);
    if (account === null || account.name !== user) {
      throw new SkyError("PermissionDeniedError", `Uid ${uid} is not the account of ${user} any more.`);
    }
    entry.tries += 1;
    // On disk before it begins: the process may not live to say how it ended.
    await store.requests.save(recordOf(entry));
    await this.#recall?.(path, account, body, id);
  }

  /** It was cancelled while it was under way, and the process ended before it could stop: so that is done now. */
  async #undo(store: Store, request: StoredRequest): Promise<void> {
    const { uid, id } = request;
    if (request.name === "launch" || request.name === "exec") {
      const { loop } = liveParts(this.#parts);
      const jobs = [...loop.state.jobs.values()].filter((job) => job.uid === uid && job.record.requestId === id);
      if (jobs.length > 0) {
        await loop.dispatch({ type: "cancelRequested", uid, ids: jobs.map((job) => job.id) });
      }
    }
    await store.requests.end(request);
  }
}

function recordOf(entry: RequestEntry): StoredRequest {
  const { spec, error } = entry;
  const result = JSON.stringify(entry.result ?? null);
  return {
    id: entry.id,
    uid: spec.account.uid,
    user: spec.account.name,
    name: spec.name,
    path: spec.stored?.path ?? "",
    cluster: spec.cluster,
    createdAt: entry.createdAt,
    // A call that the store cut off is still to be done, whatever its client was told.
    status: entry.standing === "cut off" ? "RUNNING" : entry.status,
    resolved: entry.resolved,
    result: result.length > resultMax ? "null" : result,
    error: error === null ? null : { type: error.type, message: error.message, hint: error.hint },
    text: entry.text.slice(0, textMax),
    finishedAt: entry.finishedAt,
    ...(entry.tries === 0 ? {} : { tries: entry.tries }),
  };
}

function specOf(request: StoredRequest): RequestSpec {
  const { uid, user, id, name, cluster, path } = request;
  const account = { uid, gid: uid, name: user, home: "/", shell: "/bin/sh", groups: [] };
  return { name, account, cluster, id, readOnly: false, stream: false, stored: { path, body: () => "null" } };
}

function outcomeOf(request: StoredRequest): Partial<RequestEntry> {
  const { createdAt, resolved, status, text, finishedAt, error } = request;
  return {
    ...{ createdAt, resolved, status, text, finishedAt, tries: request.tries ?? 0 },
    result: JSON.parse(request.result),
    error: error === null ? null : new SkyError(error.type as SkyErrorType, error.message, error.hint),
  };
}
