/**
 * Connections to the agent's unix socket: the control connection that is kept up, and one connection for each log
 * stream and payload. The socket's owner proves the agent: only root (or, without root, the user) can make it where it
 * lies. Frames are bounded and checked in both directions; a frame that is not understood closes the connection.
 * Called by main.ts; output.ts and attempts.ts get what they need from there.
 */
import { lstatSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { SkyError } from "../../shared/errors.ts";
import { type Payload, payloadBytesMax, payloadSchema } from "../../shared/job.ts";
import { encodeFrame, LineReader, parseFrame } from "../../shared/lines.ts";
import {
  type FromSkylet,
  fromSkyletSchema,
  payloadFaultSchema,
  skyletFrameBytesMax,
  type ToSkylet,
  toSkyletSchema,
} from "../../shared/skylet-wire.ts";

/** Who must own the socket and its folder. */
export interface AgentAddress {
  socket: string;
  agentUid: number;
}

const connectLimitMs = 10_000;
const payloadIdleLimitMs = 60_000;
/** Milliseconds between two tries for a payload, doubled from the first to the last. */
const payloadPauseFirstMs = 50;
const payloadPauseMaxMs = 1_000;
/** Milliseconds between two tries for the control connection. */
const dialPauseMaxMs = 250;
/** What may wait unsent before the agent counts as stuck. */
const unsentBytesMax = 64 * 1024 * 1024;

/** Refuses a socket that somebody else could have put there. */
function checkOwner(address: AgentAddress): void {
  const socket = lstatSync(address.socket);
  const folder = lstatSync(dirname(address.socket));
  const folderIsSafe = folder.isDirectory() && folder.uid === address.agentUid && (folder.mode & 0o022) === 0;
  if (!socket.isSocket() || socket.uid !== address.agentUid || !folderIsSafe) {
    throw new SkyError(
      "PermissionDeniedError",
      `${address.socket} was not made by the agent (uid ${address.agentUid}).`,
    );
  }
}

/** A connection on which the given first frame was sent. */
export function dial(address: AgentAddress, hello: object): Promise<Socket> {
  return new Promise((resolve, reject) => {
    checkOwner(address);
    const socket = connect(address.socket);
    const timer = setTimeout(() => socket.destroy(new Error("the agent does not accept connections")), connectLimitMs);
    socket.once("error", reject);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      socket.on("error", () => undefined);
      socket.write(`${JSON.stringify(hello)}\n`);
      resolve(socket);
    });
    socket.once("close", () => clearTimeout(timer));
  });
}

/**
 * The job's scripts and variables, through a connection of their own. A coordinator or agent that is away is waited for
 * as long as the job is wanted, since nothing of it has run: until `signal` says that it is not. A SkyError says that
 * there is nothing to wait for.
 */
export async function fetchPayload(address: AgentAddress, attempt: string, signal: AbortSignal): Promise<Payload> {
  for (let pause = payloadPauseFirstMs; !signal.aborted; pause = Math.min(pause * 2, payloadPauseMaxMs)) {
    const text = await askForPayload(address, attempt, signal);
    // An unfinished text is no JSON, and a finished one that fits neither schema stays so.
    const value = text === null ? null : parsed(text);
    if (value !== null) {
      const fault = payloadFaultSchema.safeParse(value);
      if (fault.success) {
        throw new SkyError(
          "InternalError",
          `the job's scripts could not be fetched: ${fault.data.fault} Launch again.`,
        );
      }
      return payloadSchema.parse(value);
    }
    await delay(pause);
  }
  throw new SkyError("RequestCancelled", "the job was stopped before it could start.");
}

/** What came until the end; null: nothing came, or it was cut off. */
async function askForPayload(address: AgentAddress, attempt: string, signal: AbortSignal): Promise<string | null> {
  try {
    return await readAll(await dial(address, { type: "hello", role: "payload", attempt }), signal);
  } catch (error) {
    if (error instanceof SkyError && error.type === "InvalidTaskError") {
      throw error;
    }
    return null;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function readAll(socket: Socket, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    socket.setTimeout(payloadIdleLimitMs, () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      parts.push(chunk);
      size += chunk.length;
      if (size > payloadBytesMax) {
        reject(new SkyError("InvalidTaskError", `the job's scripts are larger than ${payloadBytesMax} bytes`));
        socket.destroy();
      }
    });
    socket.once("end", () => resolve(Buffer.concat(parts).toString("utf8")));
    const abandon = (): void => {
      socket.destroy();
    };
    signal.addEventListener("abort", abandon);
    socket.once("close", () => signal.removeEventListener("abort", abandon));
    socket.once("close", () => reject(new Error("the connection ended early")));
  });
}

export interface ControlOptions {
  address: AgentAddress;
  version: string;
  /** What `ready` says, asked at each connection. */
  list: () => Extract<FromSkylet, { type: "ready" }>["attempts"];
  onMessage: (message: ToSkylet) => void;
}

/** The control connection, dialled again for as long as the skylet lives. */
export class Control {
  readonly #options: ControlOptions;
  #socket: Socket | null = null;
  #closed = false;
  /** `performance.now()` of the last moment with a connection. */
  #lastConnected = performance.now();

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  /** Returns only after `close`. */
  async run(): Promise<void> {
    let pauseMs = 50;
    while (!this.#closed) {
      try {
        await this.#serve();
        pauseMs = 50;
      } catch {
        // The agent is being restarted; how long that may last is main's question.
      }
      await delay(pauseMs);
      pauseMs = Math.min(dialPauseMaxMs, pauseMs * 2);
    }
  }

  async #serve(): Promise<void> {
    const { address, version } = this.#options;
    const socket = await dial(address, { type: "hello", role: "control", version, pid: process.pid });
    this.#socket = socket;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const reader = new LineReader(skyletFrameBytesMax);
    socket.on("data", (chunk: Buffer) => this.#receive(socket, reader, chunk));
    this.send({ type: "ready", attempts: this.#options.list() });
    await closed;
    this.#lastConnected = performance.now();
    this.#socket = null;
  }

  /** Orders are taken one by one; the first that is not understood closes the connection. */
  #receive(socket: Socket, reader: LineReader, chunk: Buffer): void {
    try {
      for (const line of reader.push(chunk)) {
        this.#options.onMessage(parseFrame(toSkyletSchema, line));
      }
    } catch {
      socket.destroy();
    }
  }

  /** Drops the message when there is no connection: `ready` says all of it at the next. */
  send(message: FromSkylet): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) {
      return;
    }
    socket.write(encodeFrame(fromSkyletSchema.parse(message), skyletFrameBytesMax));
    if (socket.writableLength > unsentBytesMax) {
      socket.destroy();
    }
  }

  /** Milliseconds without a connection; 0 while there is one. */
  get silentMs(): number {
    return this.#socket === null ? performance.now() - this.#lastConnected : 0;
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }
}
