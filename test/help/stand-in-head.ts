/**
 * A small real coordinator for the client's tests: HTTP on a unix socket in a temporary folder, speaking shared/api.ts,
 * whose answers a test sets and whose connections it can cut. Used by tests only.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { headers, type RequestPayload } from "../../shared/api.ts";
import type { HeadStreams } from "../../client/sdk/transport.ts";

export interface SeenCall {
  method: string;
  path: string;
  body: unknown;
  requestId: string | null;
  skipBytes: string | null;
  /** Number of the connection, from 1. */
  connection: number;
}

type Result = { value: unknown } | { error: { type: string; message: string; hint: string | null } };

export interface FakeHead {
  socketPath: string;
  /** Every call in the order in which it came. */
  calls: SeenCall[];
  /** The result of a POST route by path; a function decides by the call. */
  results: Map<string, Result | ((call: SeenCall) => Result)>;
  /** Replies of GET routes by path. */
  pages: Map<string, unknown>;
  /** Writes the text of `/logs`; the default writes nothing. */
  logs: (call: SeenCall, reply: ServerResponse) => Promise<void>;
  /** Called before a call is answered: `cut` ends its connection without an answer, a number is an HTTP status. */
  disturb: (call: SeenCall) => "cut" | 503 | null;
  /** Connections accepted so far. */
  connections: number;
  connect(): Promise<HeadStreams>;
  close(): Promise<void>;
}

function payload(id: string, result: Result): RequestPayload {
  const failed = "error" in result;
  return {
    request_id: id,
    name: "sky.test",
    entrypoint: "",
    request_body: "",
    status: failed ? "FAILED" : "SUCCEEDED",
    created_at: 0,
    user_id: "1",
    user_name: null,
    return_value: failed ? "null" : JSON.stringify(result.value),
    error: failed ? JSON.stringify({ object: "", ...result.error }) : "null",
    pid: null,
    schedule_type: "short",
    cluster_name: null,
    status_msg: null,
    should_retry: false,
    finished_at: null,
  };
}

async function readBody(message: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of message) {
    text += String(chunk);
  }
  return text === "" ? null : JSON.parse(text);
}

function header(message: IncomingMessage, name: string): string | null {
  const value = message.headers[name.toLowerCase()];
  return typeof value === "string" ? value : null;
}

/** Streams over one unix socket, as client/ssh gives them over one SSH connection. */
function streamsTo(socketPath: string): HeadStreams {
  const open = new Set<Socket>();
  return {
    openStream: () =>
      new Promise<Duplex>((resolve, reject) => {
        const socket = connect(socketPath);
        open.add(socket);
        socket.once("connect", () => resolve(socket));
        socket.once("error", reject);
      }),
    close: () => {
      for (const socket of open) {
        socket.destroy();
      }
    },
  };
}

/** Answers one call as the results, pages and disturbances of the head say. */
async function answerCall(
  head: FakeHead,
  finished: Map<string, Result>,
  connection: number,
  message: IncomingMessage,
  reply: ServerResponse,
): Promise<void> {
  const url = new URL(message.url ?? "/", "http://head");
  const call: SeenCall = {
    method: message.method ?? "",
    path: url.pathname,
    body: await readBody(message),
    requestId: header(message, headers.requestId),
    skipBytes: header(message, headers.skipBytes),
    connection,
  };
  head.calls.push(call);
  const disturbance = head.disturb(call);
  if (disturbance === "cut") {
    message.socket.destroy();
    return;
  }
  const send = (status: number, body: unknown, more: Record<string, string> = {}): void => {
    reply.writeHead(status, { "content-type": "application/json", ...more }).end(JSON.stringify(body));
  };
  if (disturbance !== null) {
    send(disturbance, { detail: { type: "ServerUnavailableError", message: "Redis is away.", hint: null } });
    return;
  }
  const known = head.results.get(call.path);
  const result = typeof known === "function" ? known(call) : known;
  const id = call.requestId ?? "";
  if (call.path === "/api/get") {
    const asked = url.searchParams.get("request_id") ?? "";
    const done = finished.get(asked);
    if (done === undefined) {
      send(404, { detail: { type: "JobNotFoundError", message: "Request not found.", hint: null } });
    } else {
      const found = payload(asked, done);
      send("error" in done ? 500 : 200, "error" in done ? { detail: found } : found);
    }
  } else if (call.path === "/logs") {
    finished.set(id, result ?? { value: 0 });
    reply.writeHead(200, { [headers.requestId]: id });
    await head.logs(call, reply);
    reply.end();
  } else if (head.pages.has(call.path)) {
    send(200, head.pages.get(call.path));
  } else if (result !== undefined) {
    finished.set(id, result);
    send(200, null, { [headers.requestId]: id });
  } else {
    send(404, { detail: { type: "ValueError", message: `No route ${call.path}.`, hint: null } });
  }
}

/** Starts one; `close` it at the test's end. */
export async function startFakeHead(): Promise<FakeHead> {
  const folder = mkdtempSync(join(tmpdir(), "sky-head-"));
  const sockets = new Map<Socket, number>();
  const finished = new Map<string, Result>();
  const server = createServer((message, reply) => {
    const connection = sockets.get(message.socket) ?? 0;
    answerCall(head, finished, connection, message, reply).catch(() => message.socket.destroy());
  });
  server.on("connection", (socket) => {
    head.connections += 1;
    sockets.set(socket, head.connections);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  const head: FakeHead = {
    socketPath: join(folder, "api.sock"),
    calls: [],
    results: new Map(),
    pages: new Map(),
    logs: async () => undefined,
    disturb: () => null,
    connections: 0,
    connect: async () => streamsTo(head.socketPath),
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets.keys()) {
          socket.destroy();
        }
        server.close(() => {
          rmSync(folder, { recursive: true, force: true });
          resolve();
        });
      }),
  };
  await new Promise<void>((resolve) => server.listen(head.socketPath, resolve));
  return head;
}

/** A job's row with everything filled in. */
export function jobRow(id: number, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    job_id: id,
    job_name: "train",
    username: "alice",
    user_hash: "1001",
    submitted_at: 1000,
    start_at: null,
    end_at: null,
    resources: "1x[V100:4]",
    status: "PENDING",
    log_path: `~/sky_logs/${id}-train`,
    metadata: {},
    reason: null,
    position: null,
    nodes: [],
    ...more,
  };
}
