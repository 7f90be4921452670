/**
 * For tests of the API: the real loop and reducer over a queue, a store and agents in memory, served on a real unix
 * socket. The agents here report what they are told to, so that a test can walk a job through its life. Nothing but
 * tests may import this.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import type { AttemptReport, InspectRequest, LogRequest, Report, ToAgent } from "../../shared/agent-wire.ts";
import { requestPayloadSchema, type RequestPayload } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { JobId, NodeName, Uid } from "../../shared/ids.ts";
import type { Job, JobRecord, Payload } from "../../shared/job.ts";
import type { NodeAdmin } from "../../shared/node-admin.ts";
import { logFrameKinds } from "../../shared/skylet-wire.ts";
import type { Account } from "../../shared/users-policy.ts";
import { type CoordinatorConfig, coordinatorConfigSchema } from "../../coordinator/config.ts";
import { DiskFileStore } from "../../coordinator/files/store.ts";
import { initialState, type Recovered } from "../../coordinator/core/initial.ts";
import { openLog } from "../../coordinator/log.ts";
import { CoreLoop } from "../../coordinator/loop.ts";
import type { ApiParts, Fleet, JobQueue, Store } from "../../coordinator/parts.ts";
import { noAdminPolicy } from "../../coordinator/policy/admin-policy.ts";
import type { AdminPolicyRunner } from "../../coordinator/policy/parts.ts";
import { startApi } from "../../coordinator/api/server.ts";
import { MemoryAdminStore } from "./memory-admin-store.ts";
import { MemoryPolicyStore } from "./memory-policy-store.ts";
import { MemoryRequestStore } from "./memory-request-store.ts";

/** One log frame as bytes. */
export function logFrame(kind: keyof typeof logFrameKinds, payload: Uint8Array | string): Buffer {
  const content = Buffer.from(payload as Uint8Array);
  const head = Buffer.alloc(5);
  head[0] = logFrameKinds[kind];
  head.writeUInt32BE(content.length, 1);
  return Buffer.concat([head, content]);
}

/** A queue that keeps its promises in memory. */
class MemoryQueue implements JobQueue {
  readonly records = new Map<string, JobRecord>();
  readonly #ids = new Map<string, JobId>();

  async add(record: JobRecord): Promise<JobId> {
    const known = this.#ids.get(`${record.uid}/${record.requestId}`);
    if (known !== undefined) {
      return known;
    }
    const id = [...this.records.keys()].filter((key) => key.startsWith(`${record.uid}/`)).length + 1;
    this.#ids.set(`${record.uid}/${record.requestId}`, id);
    this.records.set(`${record.uid}/${id}`, record);
    return id;
  }
  async submit(record: JobRecord): Promise<{ id: JobId; stored: JobRecord | null }> {
    const id = await this.add(record);
    return { id, stored: await this.read(record.uid, id) };
  }
  async update(uid: Uid, id: JobId, record: JobRecord): Promise<void> {
    this.records.set(`${uid}/${id}`, record);
  }
  async start(uid: Uid, id: JobId, record: JobRecord): Promise<void> {
    await this.update(uid, id, record);
  }
  async end(uid: Uid, id: JobId, record: JobRecord): Promise<void> {
    await this.update(uid, id, record);
  }
  async take(): Promise<void> {}
  async finish(): Promise<void> {}
  async read(uid: Uid, id: JobId): Promise<JobRecord | null> {
    return this.records.get(`${uid}/${id}`) ?? null;
  }
  async readMany(uid: Uid, ids: readonly JobId[]): Promise<Map<JobId, JobRecord>> {
    return new Map(
      ids.flatMap((id) => [...this.records].filter(([key]) => key === `${uid}/${id}`).map(([, one]) => [id, one])),
    );
  }
  async finished(uid: Uid, limit: number): Promise<Job[]> {
    const own = [...this.records].filter(([key, record]) => key.startsWith(`${uid}/`) && record.phase === "ended");
    return own
      .map(([key, record]) => ({ id: Number(key.split("/")[1]), record }))
      .sort((a, b) => b.id - a.id)
      .slice(0, limit);
  }
  async users(): Promise<Uid[]> {
    return [...new Set([...this.records.values()].map(({ uid }) => uid))];
  }
  async putBack(): Promise<void> {}
  async *recover(): AsyncIterable<Job> {}
  async close(): Promise<void> {}
}

class MemoryStore implements Store {
  readonly admin = new MemoryAdminStore();
  requests = new MemoryRequestStore();
  policies = new MemoryPolicyStore();
  readonly payloads: Payload[] = [];
  readonly admins = new Map<NodeName, NodeAdmin>();
  async open(): Promise<never> {
    throw new Error("not opened in these tests");
  }
  async saveEpoch(): Promise<void> {}
  async saveSetup(): Promise<void> {}
  async nodeAdmins(): Promise<Map<NodeName, NodeAdmin>> {
    return this.admins;
  }
  async saveNodeAdmin(node: NodeName, admin: NodeAdmin | null): Promise<void> {
    if (admin === null) {
      this.admins.delete(node);
    } else {
      this.admins.set(node, admin);
    }
  }
  async putPayload(_uid: Uid, payload: Payload): Promise<string> {
    this.payloads.push(payload);
    return String(this.payloads.length).padStart(16, "0");
  }
  async getPayload(_uid: Uid, ref: string): Promise<Payload | null> {
    return this.payloads[Number(ref) - 1] ?? null;
  }
  payloadAtHand(): null {
    return null;
  }
  async close(): Promise<void> {}
}

/** What a node's skylet would send for a log request. */
export type LogSource = (request: LogRequest, node: NodeName) => Duplex;

/** A stream that sends these bytes and then ends, or stays open. */
export function streamOf(chunks: readonly Buffer[], end: "end" | "stay open" | "break"): Duplex {
  const left = [...chunks];
  const stream = new Duplex({
    read() {
      const next = left.shift();
      if (next !== undefined) {
        this.push(next);
      } else if (end === "end") {
        this.push(null);
      } else if (end === "break") {
        this.destroy(new Error("the link was cut"));
      }
    },
    write(_chunk, _encoding, callback) {
      callback();
    },
  });
  return stream;
}

class MemoryFleet implements Fleet {
  readonly told: { node: NodeName; message: ToAgent }[] = [];
  readonly requests: LogRequest[] = [];
  source: LogSource = () => {
    throw new SkyError("ConnectionError", "no logs here");
  };
  tell(node: NodeName, message: ToAgent): void {
    this.told.push({ node, message });
  }
  /** Nodes whose connection was ended. */
  readonly cuts: NodeName[] = [];
  cut(node: NodeName): void {
    this.cuts.push(node);
  }
  /** What nodes answer that are asked for a new key. */
  newKey: (node: NodeName) => Promise<string> = async () => {
    throw new SkyError("ServerUnavailableError", "no keys here");
  };
  makeKey(node: NodeName): Promise<string> {
    return this.newKey(node);
  }
  async openLogStream(node: NodeName, _uid: Uid, _user: string, request: LogRequest): Promise<Duplex> {
    this.requests.push(request);
    return this.source(request, node);
  }
  /** What nodes answer to an admin's question. */
  inspection: (node: NodeName, request: InspectRequest) => Promise<Duplex> = async () => {
    throw new SkyError("ServerUnavailableError", "no inspections here");
  };
  openInspection(node: NodeName, request: InspectRequest): Promise<Duplex> {
    return this.inspection(node, request);
  }
  async close(): Promise<void> {}
}

export interface TestCluster {
  config: CoordinatorConfig;
  socket: string;
  queue: MemoryQueue;
  store: MemoryStore;
  fleet: MemoryFleet;
  files: DiskFileStore;
  loop: CoreLoop;
  accounts: Map<Uid, Account>;
  /** Set to make the coordinator unavailable. */
  unavailable: { cause: string | null };
  /** Each node reports these attempts, with what the last `desired` says of them. */
  report(node: NodeName, change: (attempt: AttemptReport) => void): Promise<void>;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>;
  /** POST, then wait for the result. */
  result(path: string, body: unknown, headers?: Record<string, string>): Promise<RequestPayload>;
  open(method: string, path: string, body: unknown, headers?: Record<string, string>): Promise<IncomingMessage>;
  close(): Promise<void>;
}

export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  json: unknown;
}

export const rootAccount: Account = { uid: 0, gid: 0, name: "root", home: "/root", shell: "/bin/sh", groups: ["root"] };

const nothingRecovered: Recovered = {
  stateId: "s".repeat(16),
  epoch: 1,
  nonce: "n".repeat(8),
  jobs: [],
  setups: [],
  uptime: 0,
  now: 0,
};

/** POST, then wait for the result. */
async function resultOf(
  call: TestCluster["call"],
  path: string,
  body: unknown,
  headers: Record<string, string> | undefined,
): Promise<RequestPayload> {
  const started = await call("POST", path, body, headers);
  if (started.status !== 200 || started.json !== null) {
    throw new Error(`${path} answered ${started.status} ${started.text}`);
  }
  const reply = await call("GET", `/api/get?request_id=${String(started.headers["x-skypilot-request-id"])}`);
  const payload = reply.status === 500 ? (reply.json as { detail: unknown }).detail : reply.json;
  return requestPayloadSchema.parse(payload);
}

/**
 * A cluster whose nodes have 4 CPUs and 8 GiB each, node 1 also two V100. The test's own account (root) may run jobs.
 * `kept`: what a cluster before it has left, and what lives as long as the process.
 */
export async function startTestCluster(
  nodes = ["one"],
  changes: Record<string, unknown> = {},
  kept: { requests?: MemoryRequestStore; queue?: MemoryQueue; protocol?: 1 | 2; adminPolicy?: AdminPolicyRunner } = {},
): Promise<TestCluster> {
  const folder = mkdtempSync(join(tmpdir(), "sky-api-"));
  const config = coordinatorConfigSchema.parse({
    cluster: "lab",
    socket: join(folder, "api.sock"),
    host_key: "/nonexistent",
    redis: { socket: "/nonexistent" },
    state_dir: folder,
    nodes: nodes.map((name) => ({ name, key: "ssh-ed25519 AAAA" })),
    users: { min_uid: 0 },
    limits: { free_disk_mb: 0 },
    ...changes,
  });
  const key = `ssh-ed25519 ${"A".repeat(68)}`;
  const core = { nodes: nodes.map((name) => ({ name, address: null, key })), graceSeconds: 1 };
  const [queue, store, fleet] = [kept.queue ?? new MemoryQueue(), new MemoryStore(), new MemoryFleet()];
  const log = openLog("error");
  store.requests = kept.requests ?? store.requests;
  const state = initialState(core, nothingRecovered);
  const tell = (node: NodeName, message: ToAgent): void => fleet.tell(node, message);
  const cut = (node: NodeName): void => fleet.cut(node);
  const clocks = { now: () => Date.now(), uptime: () => performance.now() };
  const loop = new CoreLoop({ state, queue, store, log, tell, cut, ...clocks });
  const accounts = new Map<Uid, Account>([[0, rootAccount]]);
  const unavailable: TestCluster["unavailable"] = { cause: null };
  const files = new DiskFileStore(config, log);
  const parts: ApiParts = {
    current: () => (unavailable.cause === null ? { loop, queue, store, fleet } : { unavailable: unavailable.cause }),
    onLive: () => undefined,
    accounts: { byUid: async (uid) => accounts.get(uid) ?? null },
    ...{ files, adminPolicy: kept.adminPolicy ?? noAdminPolicy },
  };
  const api = await startApi(parts, config, { version: "1.2.3", commit: "abc" }, log);
  const open: TestCluster["open"] = (method, path, body, headers) =>
    openCall(config.socket, method, path, body, headers);
  const call: TestCluster["call"] = async (method, path, body, headers) =>
    readReply(await open(method, path, body, headers));
  const cluster: TestCluster = {
    config,
    socket: config.socket,
    queue,
    store,
    fleet,
    files,
    loop,
    accounts,
    unavailable,
    report: (node, change) => reportFrom(cluster, node, nodes.indexOf(node), change),
    call,
    open,
    result: (path, body, headers) => resultOf(call, path, body, headers),
    async close() {
      await api.close();
      loop.stop();
      files.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  for (const [index, node] of nodes.entries()) {
    await connectNode(cluster, node, index, kept.protocol ?? 1);
  }
  return cluster;
}

function inventoryOf(index: number): Report["inventory"] {
  const accelerators = index === 0 ? [0, 1].map((device) => ({ index: device, kind: "V100", memoryMb: 16_000 })) : [];
  return { address: `10.0.0.${index + 1}`, cpus: 4, memoryGb: 8, accelerators, source: "test", mixedAllowed: false };
}

function emptyReport(index: number): Report {
  const inventory = inventoryOf(index);
  return { type: "report", stateId: "s".repeat(16), epoch: 1, seq: 0, inventory, attempts: [], warnings: [] };
}

async function connectNode(cluster: TestCluster, node: NodeName, index: number, protocol: 1 | 2): Promise<void> {
  const hello = { type: "hello", protocol, version: "1", node, stateId: null, epoch: 0, bootId: "b" } as const;
  await cluster.loop.dispatch({ type: "nodeConnected", node, hello });
  await cluster.loop.dispatch({ type: "nodeReported", node, report: emptyReport(index) });
}

/** Answers the last picture that the node was sent: every wanted attempt is there, as `change` makes it. */
async function reportFrom(
  cluster: TestCluster,
  node: NodeName,
  index: number,
  change: (attempt: AttemptReport) => void,
): Promise<void> {
  // What was written meanwhile becomes a new picture a turn or two later.
  const isSettled = (): boolean => [...cluster.loop.state.jobs.values()].every((job) => job.commit === "clean");
  for (let turn = 0; turn < 100 && (turn < 3 || !isSettled()); turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  const pictures = cluster.fleet.told.filter((one) => one.node === node).map((one) => one.message);
  const last = pictures.filter((message) => message.type === "desired").at(-1);
  const report = emptyReport(index);
  if (last !== undefined) {
    report.seq = last.seq;
    report.attempts = last.wanted.map(({ attempt, uid, user, jobId, jobName, submittedAt, rank, grant }) => {
      const seen: AttemptReport = {
        ...{
          attempt,
          uid,
          user,
          jobId,
          jobName,
          submittedAt,
          rank,
          grant,
          state: "running" as const,
          pid: 1000 + rank,
        },
        ...{ setupExit: null, runExit: null, logDir: `sky_logs/${jobId}`, fault: null },
      };
      change(seen);
      return seen;
    });
  }
  await cluster.loop.dispatch({ type: "nodeReported", node, report });
}

function openCall(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, headers, agent: false }, resolve);
    outgoing.once("error", reject);
    outgoing.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body));
  });
}

async function readReply(incoming: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) {
    chunks.push(chunk as Buffer);
  }
  const text = Buffer.concat(chunks).toString();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, text, json };
}
