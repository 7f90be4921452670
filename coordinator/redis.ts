/**
 * The one place that opens connections to Redis. A link lives for one generation of the coordinator: it never connects
 * again by itself and never sends a command twice, because after a gap nobody can know which commands had an effect;
 * whoever owns the link reads everything again over a new one. It must never hand out a server that could forget what
 * it has acknowledged, or one that another coordinator uses. Called by coordinator/generation.ts and the tests; the
 * queue and the store work on the links.
 */
import { Redis } from "ioredis";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, SkyError } from "../shared/errors.ts";
import { Gate } from "./gate.ts";
import { StoreUnavailable } from "./parts.ts";

/** Milliseconds for connecting, a server that is reading its files included. */
const connectLimitMs = 10_000;
/** Milliseconds for one command, and for one call that may need several. */
const defaultCommandLimitMs = 10_000;
/** Pieces of work at once on one link; more wait here, not in the server, where their time would already run. */
const workAtOnce = 256;
/** The oldest server with all that BullMQ's scripts use. */
const oldestVersion = [6, 2] as const;

export interface RedisLink {
  readonly client: Redis;
  /** Resolves once, when the link is of no more use; also after close(). */
  readonly lost: Promise<StoreUnavailable>;
  /**
   * Runs work against the server. Anything it throws that is no SkyError ends the link and comes out as
   * StoreUnavailable: a command without an answer may have had its effect, so nothing may go on from here. Work must not
   * call run() itself.
   */
  run<T>(what: string, work: () => Promise<T>): Promise<T>;
  close(): void;
}

/** Opens a link; throws StoreUnavailable when nobody answers. `name` is how the server's client list shows it. */
export async function openLink(
  socketPath: string,
  name: string,
  commandLimitMs: number = defaultCommandLimitMs,
): Promise<RedisLink> {
  const client = new Redis({
    path: socketPath,
    connectionName: name,
    lazyConnect: true,
    connectTimeout: connectLimitMs,
    maxLoadingRetryTime: connectLimitMs,
    commandTimeout: commandLimitMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    reconnectOnError: null,
  });
  let lastError: Error | null = null;
  client.on("error", (error: Error) => {
    lastError = error;
  });
  try {
    await within(client.connect(), connectLimitMs, "it did not answer in time");
  } catch (error) {
    client.disconnect();
    const cause = lastError ?? error;
    throw new StoreUnavailable(`Redis at ${socketPath} cannot be reached: ${whyNot(cause)} on machine '${hostname()}'`);
  }
  return new Link(client, socketPath, commandLimitMs);
}

/** A failed connection in words. */
function whyNot(cause: unknown): string {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "ECONNREFUSED") {
    return "no server listens there";
  }
  return code === "ENOENT" ? "there is no such socket" : messageOf(cause);
}

class Link implements RedisLink {
  readonly client: Redis;
  readonly lost: Promise<StoreUnavailable>;
  readonly #socketPath: string;
  readonly #limitMs: number;
  readonly #gate = new Gate(workAtOnce);
  #lose: (cause: StoreUnavailable) => void = () => {};
  #cause: StoreUnavailable | null = null;
  /** Ends each piece of work that is under way. */
  readonly #working = new Set<(cause: StoreUnavailable) => void>();

  constructor(client: Redis, socketPath: string, limitMs: number) {
    this.client = client;
    this.#socketPath = socketPath;
    this.#limitMs = limitMs;
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
    client.on("close", () => this.#fail("the connection was closed"));
    client.on("end", () => this.#fail("the connection was closed"));
  }

  run<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#gate.run(() => this.#attempt(what, work));
  }

  /**
   * BullMQ waits for a connection without any limit, also for one that is lost already, so the loss ends the work too. The
   * limit is twice that of one command: work may be a few commands.
   */
  #attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.#cause !== null) {
      return Promise.reject(this.#cause);
    }
    return new Promise<T>((resolve, reject) => {
      const fail = (error: unknown): void => {
        release();
        const isFinal = error instanceof SkyError || error === this.#cause;
        reject(isFinal ? error : this.#fail(`${what}: ${messageOf(error)}`));
      };
      const timer = setTimeout(() => fail(new Error("no answer in time")), this.#limitMs * 2);
      const release = (): void => {
        clearTimeout(timer);
        this.#working.delete(fail);
      };
      this.#working.add(fail);
      work().then((value) => {
        release();
        resolve(value);
      }, fail);
    });
  }

  close(): void {
    this.#fail("closed by the coordinator");
  }

  /** Ends the link; the first cause is the one that is kept. */
  #fail(why: string): StoreUnavailable {
    if (this.#cause === null) {
      this.#cause = new StoreUnavailable(`Redis at ${this.#socketPath} is not available (${why})`);
      this.client.disconnect();
      this.#lose(this.#cause);
      for (const reject of [...this.#working]) {
        reject(this.#cause);
      }
    }
    return this.#cause;
  }
}

/**
 * Refuses a server that could lose what it has acknowledged, or that is too old. Throws a SkyError that names the line
 * of the Redis config to change.
 */
export async function checkServer(link: RedisLink, socketPath: string): Promise<void> {
  const info = await link.run("INFO", () => link.client.info("server"));
  const version = /^redis_version:(\d+)\.(\d+)/m.exec(info);
  const major = Number(version?.[1] ?? 0);
  const minor = Number(version?.[2] ?? 0);
  if (major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1])) {
    throw new SkyError(
      "ServerUnavailableError",
      `The Redis server at ${socketPath} is version ${major}.${minor}; ${oldestVersion.join(".")} or newer is needed.`,
      "Install a newer Redis or Valkey.",
    );
  }
  for (const [key, wanted] of [
    ["appendonly", "yes"],
    ["appendfsync", "always"],
  ] as const) {
    const reply: unknown = await link.run("CONFIG GET", () => link.client.config("GET", key));
    const found = Array.isArray(reply) && typeof reply[1] === "string" ? reply[1] : "unknown";
    if (found !== wanted) {
      throw new SkyError(
        "ServerUnavailableError",
        `The Redis server at ${socketPath} has '${key} ${found}': jobs that were acknowledged could be lost.`,
        `Put the line '${key} ${wanted}' into its config file and restart it.`,
      );
    }
  }
}

/** Every link of a coordinator is known to the server as `sky-coordinator-PART-PID`. */
const linkName = (part: string): string => `sky-coordinator-${part}-${process.pid}`;
const foreignLink = /\bid=(\d+) .*\bname=sky-coordinator-[a-z]+-(\d+)\b/;
/** How often and how long (ms) to look again for links of this very process that the server has not yet seen closed. */
const ownLinksTries = 20;
const ownLinksWaitMs = 50;

/** Opens a link for a part of the coordinator, e.g. `queue`; only while the fence is held. */
export function openPart(socketPath: string, part: string): Promise<RedisLink> {
  return openLink(socketPath, linkName(part));
}

/**
 * Opens the link that marks this process as the state's only coordinator. Redis itself keeps the mark: it is the
 * connection, so it disappears with the process however that ends, and no lock can be left behind. It is given only when
 * no link of any coordinator is left, so nothing that an earlier one has sent can still take effect afterwards. Both of
 * two that come at the same moment see each other and give up, and try again at different times.
 */
export async function openFence(socketPath: string): Promise<RedisLink> {
  const link = await openPart(socketPath, "fence");
  try {
    const own = await link.run("CLIENT ID", () => link.client.client("ID"));
    for (let round = 1; ; round += 1) {
      const pid = otherCoordinator(String(await link.run("CLIENT LIST", () => link.client.client("LIST"))), own);
      if (pid === null) {
        return link;
      }
      if (pid !== process.pid || round >= ownLinksTries) {
        throw new StoreUnavailable(
          `another coordinator (process ${pid}) uses the Redis server at ${socketPath}; stop it first`,
        );
      }
      await delay(ownLinksWaitMs);
    }
  } catch (error) {
    link.close();
    throw error;
  }
}

/** Process id of a coordinator with a link other than `own` in this client list; another process' before this one's. */
function otherCoordinator(clientList: string, own: number): number | null {
  const pids = clientList.split("\n").flatMap((line) => {
    const found = foreignLink.exec(line);
    return found !== null && Number(found[1]) !== own ? [Number(found[2])] : [];
  });
  return pids.find((pid) => pid !== process.pid) ?? pids[0] ?? null;
}

/** The promise, or an error with this text after the limit. */
async function within<T>(promise: Promise<T>, limitMs: number, text: string): Promise<T> {
  const timer = new AbortController();
  promise.catch(() => {});
  try {
    return await Promise.race([
      promise,
      delay(limitMs, null, { signal: timer.signal }).then(() => Promise.reject(new Error(text))),
    ]);
  } finally {
    timer.abort();
  }
}
