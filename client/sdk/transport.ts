/**
 * HTTP over the streams of one connection to a cluster's head. Keep-alive, so that several calls share one stream and
 * one SSH channel; a lost connection is made anew at the next call. It must never retry by itself (sdk/requests.ts
 * decides that) and never interpret a reply. Used by sdk/requests.ts and sdk/follow.ts.
 */
import {
  Agent,
  type ClientRequest,
  type ClientRequestArgs,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
} from "node:http";
import type { Duplex } from "node:stream";
import { messageOf, SkyError } from "../../shared/errors.ts";

/** One authenticated connection to the head; client/ssh makes it. */
export interface HeadStreams {
  /** Rejects with SkyError; "NotSupportedError" when trying again is no use. */
  openStream(): Promise<Duplex>;
  close(): void;
}

export interface HttpCall {
  method: "GET" | "POST";
  path: string;
  /** JSON text; pieces of bytes, which are written as the stream takes them; null: no body. */
  body: string | readonly Uint8Array[] | null;
  /** Bytes of pieces that the stream has taken, each time it has taken some. */
  sent?: (bytes: number) => void;
  headers: Record<string, string>;
  /** Milliseconds without a byte after which the call counts as lost; null: silence is fine (log streams). */
  silenceMs: number | null;
}

export interface HttpReply {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface TransportOptions {
  /** Calls that change something end with RequestTaken as soon as they were taken. */
  leavesRequests?: boolean;
  /** Called when a call begins; what it returns, when the call has ended. */
  waiting?: () => () => void;
}

export type Reached = "nowhere" | "head" | "coordinator";

/** What Node says of a connection that ended in the middle. */
const cutMessages = new Set(["aborted", "socket hang up"]);

/** The connection went away, or nothing came back in time: the same call may be tried again. */
export class LostConnection extends Error {
  /**
   * How far this transport ever came. `nowhere`: what is wrong is the person's to repair, at once. `head`: no coordinator
   * has answered yet, though it may just be starting. `coordinator`: it will come back.
   */
  readonly reached: Reached;
  readonly sky: SkyError | null;

  constructor(cause: unknown, reached: Reached) {
    super(cutMessages.has(messageOf(cause)) ? "the connection was cut" : messageOf(cause).replace(/\.$/, ""));
    this.reached = reached;
    this.sky = cause instanceof SkyError ? cause : null;
  }
}

/** Largest reply that is held in memory; log streams are not held. */
const replyBytesMax = 64 * 1024 * 1024;

/** Node's agent over streams that are no sockets: idle ones have no keep-alive timer to set. */
class StreamAgent extends Agent {
  readonly #open: () => Promise<Duplex>;

  constructor(open: () => Promise<Duplex>) {
    super({ keepAlive: true, maxSockets: 4, maxFreeSockets: 4 });
    this.#open = open;
  }

  override createConnection(
    _options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    void this.#deliver((error, stream) => callback?.(error, stream));
  }

  async #deliver(give: (error: Error | null, stream: Duplex) => void): Promise<void> {
    let stream: Duplex;
    try {
      stream = await this.#open();
    } catch (error) {
      // Node's type asks for a stream beside an error; it looks at the error first.
      give(error instanceof Error ? error : new Error(messageOf(error)), null as never);
      return;
    }
    // A half-open stream that the other end has closed must not be taken for the next call.
    stream.once("end", () => stream.destroy());
    give(null, stream);
  }

  override keepSocketAlive(): boolean {
    return true;
  }

  override reuseSocket(stream: Duplex, message: ClientRequest): void {
    // Node calls ref(), which only real sockets have; what else it does (its listener for idle streams goes) is needed.
    super.reuseSocket(Object.assign(stream, { ref: () => stream }), message);
  }
}

function bodyHeaders(body: HttpCall["body"]): Record<string, string | number> {
  if (body === null) {
    return {};
  }
  return typeof body === "string"
    ? { "content-type": "application/json", "content-length": Buffer.byteLength(body) }
    : {
        "content-type": "application/octet-stream",
        "content-length": body.reduce((sum, piece) => sum + piece.length, 0),
      };
}

/** Bytes that are given to a stream at once, so that its taking them can be seen. */
const pieceBytes = 64 * 1024;

/** Writes the pieces one after another, each when the stream has taken the one before, and ends the message. */
function writePieces(message: ClientRequest, pieces: readonly Uint8Array[], taken: (bytes: number) => void): void {
  let index = 0;
  let at = 0;
  const next = (): void => {
    while (index < pieces.length && at >= (pieces[index]?.length ?? 0)) {
      index += 1;
      at = 0;
    }
    const piece = pieces[index];
    if (piece === undefined || message.destroyed) {
      message.end();
      return;
    }
    const part = piece.subarray(at, at + pieceBytes);
    at += part.length;
    message.write(part, (error) => {
      if (error === null || error === undefined) {
        taken(part.length);
        next();
      }
    });
  };
  next();
}

export class Transport {
  readonly clusterName: string;
  /** Calls that change something end with RequestTaken as soon as they were taken. */
  readonly leavesRequests: boolean;
  readonly #connect: () => Promise<HeadStreams>;
  readonly #waiting: () => () => void;
  #connection: Promise<HeadStreams> | null = null;
  #agent: StreamAgent | null = null;
  #reached: Reached = "nowhere";

  constructor(clusterName: string, connect: () => Promise<HeadStreams>, options: TransportOptions = {}) {
    this.clusterName = clusterName;
    this.#connect = connect;
    this.leavesRequests = options.leavesRequests === true;
    this.#waiting = options.waiting ?? (() => () => undefined);
  }

  /** Connects now rather than at the first call. Rejects with what client/ssh says. */
  async connect(): Promise<void> {
    this.#connection ??= this.#connect();
    try {
      await this.#connection;
      this.#reached = this.#reached === "nowhere" ? "head" : this.#reached;
    } catch (error) {
      this.#connection = null;
      throw error;
    }
  }

  async #openStream(): Promise<Duplex> {
    await this.connect();
    if (this.#connection === null) {
      throw new Error("the connection was closed");
    }
    return (await this.#connection).openStream();
  }

  /** Sends one call; resolves when the reply's headers are here. Rejects with LostConnection. */
  async open(call: HttpCall): Promise<IncomingMessage> {
    this.#agent ??= new StreamAgent(() => this.#openStream());
    const agent = this.#agent;
    return new Promise<IncomingMessage>((resolve, reject) => {
      const message = request({
        agent,
        host: "sky",
        method: call.method,
        path: call.path,
        headers: {
          ...call.headers,
          ...bodyHeaders(call.body),
        },
      });
      let timer: NodeJS.Timeout | null = null;
      const seconds = (call.silenceMs ?? 0) / 1000;
      const arm = (): void => {
        if (call.silenceMs !== null) {
          clearTimeout(timer ?? undefined);
          timer = setTimeout(() => message.destroy(new Error(`no answer within ${seconds} s`)), call.silenceMs);
        }
      };
      arm();
      message.on("close", () => clearTimeout(timer ?? undefined));
      message.on("error", (error) => reject(new LostConnection(error, this.#reached)));
      message.on("response", (reply) => {
        this.#reached = "coordinator";
        arm();
        reply.on("data", arm);
        // A listener on data would start the flow before the caller reads.
        reply.pause();
        resolve(reply);
      });
      if (typeof call.body === "string" || call.body === null) {
        message.end(call.body ?? undefined);
      } else {
        writePieces(message, call.body, (bytes) => {
          arm();
          call.sent?.(bytes);
        });
      }
    });
  }

  /** Sends one call and holds the whole reply. Rejects with LostConnection. */
  async call(call: HttpCall): Promise<HttpReply> {
    const answered = this.#waiting();
    try {
      return await this.#call(call);
    } finally {
      answered();
    }
  }

  async #call(call: HttpCall): Promise<HttpReply> {
    const reply = await this.open(call);
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of reply as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > replyBytesMax) {
          throw new SkyError("InternalError", `The reply of cluster '${this.clusterName}' is over 64 MB.`);
        }
        chunks.push(chunk);
      }
    } catch (error) {
      throw error instanceof SkyError ? error : new LostConnection(error, this.#reached);
    }
    return { status: reply.statusCode ?? 0, headers: reply.headers, text: Buffer.concat(chunks).toString("utf8") };
  }

  /** Ends the streams and the connection; the next call makes new ones. */
  close(): void {
    this.#agent?.destroy();
    this.#agent = null;
    const connection = this.#connection;
    this.#connection = null;
    connection?.then(
      (head) => head.close(),
      () => undefined,
    );
  }
}
