/**
 * The API's server: http on a unix socket that every user of the head machine may open. It asks the kernel who calls,
 * checks each route's declared identity, bounds bodies, connections and times, and turns errors into replies. It must
 * never take an identity from anything that was sent. Started and closed by coordinator/main.ts.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type Socket, connect } from "node:net";
import { dirname } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { apiVersion, headers } from "../../shared/api.ts";
import type { Uid } from "../../shared/ids.ts";
import { peerUid } from "../../system/peer-uid.ts";
import type { CoordinatorConfig } from "../config.ts";
import { type Log, openLog } from "../log.ts";
import type { ApiParts } from "../parts.ts";
import { DecisionLog } from "../policy/decision-log.ts";
import { PolicyChanges } from "../policy/policy-changes.ts";
import { warnOfUnknownGroups } from "../policy/projects.ts";
import { WorkloadPolicies } from "../policy/workload-policies.ts";
import { ZipUploads } from "../zips/zips.ts";
import { buildApp } from "./app.ts";
import type { Peer } from "./identity.ts";
import { logTimes } from "./log-rank.ts";
import { WaitingNotices } from "./logs.ts";
import { requestLimits } from "./request-entry.ts";
import { RequestKeeper } from "./request-keeper.ts";
import { RequestTable } from "./requests.ts";
import type { ApiContext, BuildVersion } from "./route.ts";
import { Turns } from "./turns.ts";
import { UnknownKeys } from "./unknown-keys.ts";

/** A unix socket's path has 107 bytes at most; some are left for a temporary name. */
const socketPathBytesMax = 100;
const socketMode = 0o666;

const connectionsMax = 2000;
const connectionsPerUserMax = 200;
/** Beyond the limit above connections are answered 503; beyond this one they are dropped unread. */
const connectionsHardMax = connectionsMax + 200;

const headersTimeoutMs = 10_000;
/** A piece of a zip, 100 MiB, over a slow line. */
const requestTimeoutMs = 1_800_000;
const keepAliveTimeoutMs = 120_000;

/** Keeps count of connections, in all and per user, and who is at the other end of each. */
class Peers {
  readonly #peers = new WeakMap<Socket, Peer>();
  readonly #perUser = new Map<Uid, number>();
  #total = 0;

  /** Call in the `connection` event, before anything else can happen to the socket. */
  accept(socket: Socket): void {
    const uid = peerUid(socket);
    if (uid === null) {
      socket.destroy();
      return;
    }
    const own = (this.#perUser.get(uid) ?? 0) + 1;
    this.#perUser.set(uid, own);
    this.#total += 1;
    const refusal = this.#total > connectionsMax ? 503 : own > connectionsPerUserMax ? 429 : null;
    this.#peers.set(socket, { uid, refusal });
    socket.once("close", () => {
      this.#total -= 1;
      const left = (this.#perUser.get(uid) ?? 1) - 1;
      if (left === 0) {
        this.#perUser.delete(uid);
      } else {
        this.#perUser.set(uid, left);
      }
    });
  }

  of(incoming: IncomingMessage): Peer | null {
    return this.#peers.get(incoming.socket) ?? null;
  }
}

/** True when somebody answers on the socket. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const finish = (answered: boolean): void => {
      probe.destroy();
      resolve(answered);
    };
    probe.setTimeout(2000, () => finish(true));
    probe.once("connect", () => finish(true));
    probe.once("error", (error: NodeJS.ErrnoException) => finish(error.code !== "ECONNREFUSED"));
  });
}

/** Makes the way free for our socket: checks the folder, and removes a socket that nobody answers. */
async function clearSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes > socketPathBytesMax) {
    throw new Error(`config: socket: '${path}' has ${bytes} bytes; a unix socket here may have ${socketPathBytesMax}`);
  }
  const folder = lstatSync(dirname(path), { throwIfNoEntry: false });
  if (folder === undefined) {
    throw new Error(
      `config: socket: folder '${dirname(path)}' does not exist; make it, owned by the coordinator's account`,
    );
  }
  const present = lstatSync(path, { throwIfNoEntry: false });
  if (present === undefined) {
    return;
  }
  if (!present.isSocket()) {
    throw new Error(`config: socket: '${path}' is there and is no socket; move it away`);
  }
  if (await isAnswered(path)) {
    throw new Error(`another coordinator answers on '${path}'; stop it first`);
  }
  unlinkSync(path);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      chmodSync(path, socketMode);
      resolve();
    });
  });
}

/** Serves the API until closed. Rejects with a message for the admin when the socket cannot be had. */
export async function startApi(
  parts: ApiParts,
  config: CoordinatorConfig,
  build: BuildVersion,
  log: Log = openLog(config.log_level),
): Promise<{ close(): Promise<void> }> {
  await clearSocketPath(config.socket);
  const keeper = new RequestKeeper(parts, log);
  const requests = new RequestTable(log, requestLimits, keeper);
  const notices = new WaitingNotices();
  const zips = new ZipUploads(config.state_dir, config.limits.free_disk_mb, parts.files);
  const turns = new Turns();
  const decisions = new DecisionLog(config.state_dir, config.policies.log_days, log);
  const policies = new WorkloadPolicies(parts, config, decisions, (uid, work) => turns.run(uid, work), log);
  void warnOfUnknownGroups(config, log);
  const context: ApiContext = {
    parts,
    config,
    build,
    requests,
    notices,
    logTimes,
    turns,
    policies,
    policyChanges: new PolicyChanges(policies),
    zips,
    log,
    unknownKeys: new UnknownKeys(log),
  };
  const peers = new Peers();
  const { app, recall } = buildApp(context, (incoming) => peers.of(incoming));
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const server = createServer(
    { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs },
    (incoming, outgoing) => {
      outgoing.setHeader(headers.apiVersion, String(apiVersion));
      outgoing.setHeader(headers.version, build.version);
      listener(incoming, outgoing).catch((error: unknown) => {
        log.error({ err: error }, "a reply could not be written");
        outgoing.destroy();
      });
    },
  );
  server.keepAliveTimeout = keepAliveTimeoutMs;
  server.maxConnections = connectionsHardMax;
  server.on("connection", (socket) => peers.accept(socket));
  keeper.attach(requests, recall);
  await listen(server, config.socket);
  return {
    close: () =>
      new Promise((resolve) => {
        requests.close();
        zips.close();
        server.close(() => void decisions.flushed().then(resolve));
        server.closeAllConnections();
      }),
  };
}
