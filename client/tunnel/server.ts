/**
 * The near end of `sky tunnel`: an HTTP server on a port of loopback that hands each call on, over a stream to the
 * coordinator's socket that belongs to this person. Calls are read and written anew, so that nothing but well-formed
 * requests gets through, without their credential. It must never answer anything but 401 to a call that the guard does
 * not allow, nor send headers that open it to web pages. Called by client/commands/tunnel.ts.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { Guard } from "./guard.ts";

/** SkyPilot's client takes this port for a server that runs on the same machine: it would send paths, not files. */
const localServerPort = 46_580;

/** Milliseconds; tests are less patient. */
export interface TunnelLimits {
  connections: number;
  headersMs: number;
  requestMs: number;
  /** Without a request on a kept connection. */
  idleMs: number;
}

export const tunnelLimits: TunnelLimits = {
  connections: 64,
  headersMs: 10_000,
  /** A piece of 100 MiB over a slow line. */
  requestMs: 1_800_000,
  idleMs: 60_000,
};
const headerBytesMax = 16 * 1024;

/** What goes on to the coordinator: what the calls need, and nothing that says who is calling. */
const passedOn = /^(accept|accept-encoding|content-type|content-length|user-agent|x-skypilot-.*|x-sky-.*)$/;
/** Of replies: what belongs to the connection is made anew, and nothing may open the port to pages. */
const keptBack = /^(connection|keep-alive|transfer-encoding|upgrade|trailer|set-cookie|access-control-.*)$/;

const methods = new Set(["GET", "POST"]);

/** A tunnel that takes calls until it is closed. */
export interface Tunnel {
  port: number;
  close: () => Promise<void>;
}

/** What the far end is: one new stream to the coordinator's socket for each call. Rejects with SkyError. */
export type OpenStream = () => Promise<Duplex>;

function filtered(headers: IncomingHttpHeaders, keep: (name: string) => boolean): OutgoingHttpHeaders {
  const kept: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && keep(name)) {
      kept[name] = value;
    }
  }
  return kept;
}

function answer(outgoing: ServerResponse, status: number, text: string): void {
  if (outgoing.headersSent) {
    outgoing.destroy();
    return;
  }
  // The rest of the body is not read: the connection ends with this answer.
  const body = JSON.stringify({ detail: text });
  outgoing.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
    Connection: "close",
    ...(status === 503 ? { "Retry-After": "1" } : {}),
  });
  outgoing.end(body);
}

/** Sends the call over the stream and its reply back. Rejects when either breaks. */
async function handOn(incoming: IncomingMessage, outgoing: ServerResponse, stream: Duplex): Promise<void> {
  const { method = "GET", url = "/", headers } = incoming;
  const call = request({
    // Every call has a stream of its own.
    createConnection: () => stream,
    method,
    path: url,
    headers: { ...filtered(headers, (name) => passedOn.test(name)), host: "sky", connection: "close" },
  });
  outgoing.once("close", () => call.destroy());
  const reply = new Promise<IncomingMessage>((resolve, reject) => {
    call.once("response", resolve);
    call.once("error", reject);
    call.once("close", () => reject(new Error("the connection was cut")));
  });
  // A refusal may come before all of the body is sent; then the reply counts, not the body.
  pipeline(incoming, call).catch(() => undefined);
  const got = await reply;
  got.on("error", () => undefined);
  outgoing.writeHead(
    got.statusCode ?? 502,
    filtered(got.headers, (name) => !keptBack.test(name)),
  );
  outgoing.flushHeaders();
  await pipeline(got, outgoing);
}

async function serve(
  guard: Guard,
  open: OpenStream,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  incoming.on("error", () => undefined);
  if (!guard.allows(incoming.headers, incoming.rawHeaders)) {
    answer(outgoing, 401, "Not allowed: use the address that `sky tunnel` printed.");
    return;
  }
  if (!methods.has(incoming.method ?? "") || !(incoming.url ?? "").startsWith("/")) {
    answer(outgoing, 400, "This is no call of SkyPilot's API.");
    return;
  }
  let stream: Duplex | null = null;
  try {
    stream = await open();
    await handOn(incoming, outgoing, stream);
  } catch (error) {
    answer(outgoing, 503, `The cluster was not reached: ${messageOf(error)}`);
  } finally {
    stream?.destroy();
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const cause = error.code === "EADDRINUSE" ? "another program has it" : error.message;
      reject(
        new SkyError("ValueError", `Port ${port} cannot be opened: ${cause}.`, "Leave --port out for a free one."),
      );
    });
    server.listen({ host: "127.0.0.1", port }, resolve);
  });
}

/** Opens the port (0: a free one). Throws SkyError("ValueError") when it cannot be had. */
export async function openTunnel(
  port: number,
  secret: string,
  open: OpenStream,
  limits: TunnelLimits = tunnelLimits,
): Promise<Tunnel> {
  if (port === localServerPort) {
    const text = `SkyPilot's client takes port ${localServerPort} for a server of its own on this machine.`;
    throw new SkyError("ValueError", text, "Choose another --port, or leave it out.");
  }
  let guard: Guard | null = null;
  const server = createServer(
    {
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.idleMs,
      connectionsCheckingInterval: Math.min(1000, limits.headersMs),
      maxHeaderSize: headerBytesMax,
      insecureHTTPParser: false,
      requireHostHeader: false,
    },
    (incoming, outgoing) => {
      if (guard === null) {
        outgoing.destroy();
      } else {
        void serve(guard, open, incoming, outgoing);
      }
    },
  );
  server.maxConnections = limits.connections;
  server.on("upgrade", (_incoming, socket: Duplex) => socket.destroy());
  server.on("connect", (_incoming, socket: Duplex) => socket.destroy());
  await listen(server, port);
  const got = (server.address() as AddressInfo).port;
  if (got === localServerPort) {
    server.close();
    return openTunnel(port, secret, open, limits);
  }
  guard = new Guard(got, secret);
  return {
    port: got,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
