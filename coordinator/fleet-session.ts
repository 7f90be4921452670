/**
 * One authenticated connection of one node: its control channel, its log streams, its payload fetches and its
 * questions for files. Everything that the node sends is parsed by the strict schema, and the first thing that does not
 * fit closes the connection. What an agent may ask for is this list and nothing else: no shell, no forwarding, no
 * environment. Called by fleet.ts.
 */
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { Connection, ServerChannel, Session } from "ssh2";
import {
  type Desired,
  type FromAgent,
  frameBytesMax,
  fromAgentSchema,
  type Hello,
  payloadMissingCode,
  type ToAgent,
} from "../shared/agent-wire.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import { type AttemptId, attemptIdSchema, type NodeName } from "../shared/ids.ts";
import type { Payload } from "../shared/job.ts";
import { encodeFrame, LineReader, parseFrame } from "../shared/lines.ts";
import { fromAgentIn, type Protocol, protocolOf, toAgentIn } from "../shared/protocols.ts";
import { SentPayloads } from "./fleet-payloads.ts";

/** Sessions (control, streams, payload fetches) of one connection at one time. */
const sessionsMax = 1_024;
const helloLimitMs = 10_000;
const finishLimitMs = 2_000;
/** Control bytes that a node has not taken yet; beyond it the node is cut off and has to come back for a fresh picture. */
const queuedBytesMax = 16 * 1024 * 1024;
const streamCommand = /^stream ([a-z0-9]{16})$/;
const filesCommand = /^files ([a-z0-9-]{1,32})$/;
const payloadCommand = /^payload ([a-z0-9-]{1,32})$/;

type Reject = (() => void) | undefined;

export interface SessionOwner {
  onHello(session: NodeSession, hello: Hello): void;
  onMessage(session: NodeSession, message: Exclude<FromAgent, Hello>): void;
  /** Called once, whatever the reason. */
  onClosed(session: NodeSession): void;
  /** Takes over the stream when this node was asked for it; false refuses it. */
  onStream(session: NodeSession, id: string, accept: () => Duplex): boolean;
  payloadFor(node: NodeName, attempt: AttemptId): Promise<Payload | null>;
  /** The same when it is small and at hand. */
  payloadAtHand(node: NodeName, attempt: AttemptId): Payload | null;
  /** Answers a node's questions for the uploads of this attempt until the stream ends. Never rejects. */
  serveFiles(node: NodeName, attempt: AttemptId, channel: Duplex): Promise<void>;
}

export class NodeSession {
  readonly node: NodeName;
  /** The public key by which it has proved to be this node. */
  readonly key: string;
  private readonly connection: Connection;
  private readonly owner: SessionOwner;
  private readonly log: Logger;
  private readonly destroy: () => void;
  private readonly reader = new LineReader(frameBytesMax);
  private readonly helloTimer: NodeJS.Timeout;
  private control: ServerChannel | null = null;
  /** By the subsystem that the agent asked for. */
  private protocol: Protocol = 1;
  private readonly payloads = new SentPayloads();
  private greeted = false;
  private closed = false;
  private sessions = 0;

  constructor(
    caller: { node: NodeName; key: string },
    connection: Connection,
    destroy: () => void,
    owner: SessionOwner,
    log: Logger,
  ) {
    const { node } = caller;
    this.node = node;
    this.key = caller.key;
    this.connection = connection;
    this.owner = owner;
    this.log = log;
    this.destroy = destroy;
    this.helloTimer = setTimeout(() => this.close("it sent no hello in time"), helloLimitMs);
    connection.on("error", (error) => this.close(messageOf(error).slice(0, 200)));
    connection.on("end", () => this.close("it ended the connection"));
    connection.on("close", () => this.close("the connection closed"));
    connection.on("session", (accept, reject) => {
      if (this.closed) {
        reject();
        return;
      }
      if (this.sessions >= sessionsMax) {
        this.log.warn({ node }, "too many channels at one time; refused one");
        reject();
        return;
      }
      this.sessions += 1;
      this.serve(accept());
    });
  }

  /** Ends the connection for the reason given, once; a second call does nothing. */
  close(reason: string): void {
    if (this.closed) {
      return;
    }
    this.closed = true;
    clearTimeout(this.helloTimer);
    this.log.info({ node: this.node, reason }, "node disconnected");
    this.destroy();
    this.owner.onClosed(this);
  }

  /** As close, but what was told to the node before still reaches it; the connection is cut soon, whatever the node does. */
  finish(reason: string): void {
    if (this.closed) {
      return;
    }
    this.closed = true;
    clearTimeout(this.helloTimer);
    this.log.info({ node: this.node, reason }, "node disconnected");
    this.connection.end();
    setTimeout(() => this.destroy(), finishLimitMs).unref();
    this.owner.onClosed(this);
  }

  /** Queues a control frame, as far as the session's protocol knows it. Never throws: a node that cannot take it is cut off and gets the whole picture when it is back. */
  tell(given: ToAgent): void {
    if (this.control === null || !this.greeted || this.closed) {
      return;
    }
    const message = toAgentIn(this.protocol, given);
    if (message === null) {
      return;
    }
    const ahead = given.type === "desired" ? this.payloadsBefore(given) : null;
    try {
      if (ahead !== null) {
        this.control.write(encodeFrame(ahead, frameBytesMax));
      }
      this.control.write(encodeFrame(message, frameBytesMax));
    } catch (error) {
      this.log.error({ node: this.node, type: message.type, error: messageOf(error) }, "a message was not sent");
      return;
    }
    if (this.control.writableLength > queuedBytesMax) {
      this.close("it does not take its control messages");
    }
  }

  private payloadsBefore(order: Desired): ToAgent | null {
    const ahead = this.payloads.before(order, (attempt) => this.owner.payloadAtHand(this.node, attempt));
    return ahead === null ? null : toAgentIn(this.protocol, ahead);
  }

  private serve(session: Session): void {
    let used = false;
    // A session closed before it was used stays counted: ssh2 keeps such channels for the life of the connection.
    session.on("close", () => {
      this.sessions -= used ? 1 : 0;
    });
    session.on("subsystem", (accept: () => ServerChannel, reject: Reject, info: { name: string }) => {
      const protocol = protocolOf(info.name);
      if (protocol === null || this.control !== null) {
        this.refuse(`subsystem ${info.name}`, reject);
        return;
      }
      used = true;
      this.protocol = protocol;
      this.takeControl(accept());
    });
    session.on("exec", (accept: () => ServerChannel, reject: Reject, info: { command: string }) => {
      const stream = streamCommand.exec(info.command)?.[1];
      const payload = attemptIdSchema.safeParse(payloadCommand.exec(info.command)?.[1]);
      const files = attemptIdSchema.safeParse(filesCommand.exec(info.command)?.[1]);
      const openBare = (): ServerChannel => {
        used = true;
        const channel = accept();
        channel.on("error", () => channel.destroy());
        return channel;
      };
      const open = (): ServerChannel => {
        const channel = openBare();
        // The node has said all of it: closing our side too frees the channel, whatever the reader does.
        channel.on("end", () => channel.end());
        return channel;
      };
      if (!this.greeted) {
        this.refuse(info.command, reject);
      } else if (payload.success) {
        const channel = open();
        channel.resume();
        void this.sendPayload(channel, payload.data);
      } else if (files.success) {
        void this.owner.serveFiles(this.node, files.data, openBare());
      } else if (stream === undefined || !this.owner.onStream(this, stream, open)) {
        this.refuse(info.command, reject);
      }
    });
  }

  private refuse(what: string, reject: Reject): void {
    this.log.warn({ node: this.node, what: what.slice(0, 100) }, "refused what the node asked for");
    reject?.();
  }

  private takeControl(channel: ServerChannel): void {
    this.control = channel;
    channel.on("error", (error: unknown) => this.close(messageOf(error)));
    channel.on("close", () => this.close("it closed its control channel"));
    channel.on("end", () => this.close("it ended its control channel"));
    channel.on("data", (chunk: Buffer) => {
      try {
        for (const line of this.reader.push(chunk)) {
          if (this.closed) {
            return;
          }
          this.receive(this.known(parseFrame(fromAgentSchema, line)));
        }
      } catch (error) {
        this.log.error({ node: this.node, error: messageOf(error) }, "bad message from a node; it is cut off");
        this.close("it sent a bad message");
      }
    });
  }

  /** What the session's protocol does not know is as bad as what no protocol knows. */
  private known(message: FromAgent): FromAgent {
    if (fromAgentIn(this.protocol, message) !== message) {
      throw new Error(`'${message.type}' as it came is not part of protocol ${this.protocol}`);
    }
    return message;
  }

  private receive(message: FromAgent): void {
    if (message.type !== "hello") {
      if (this.greeted) {
        this.owner.onMessage(this, message);
      } else {
        this.close("its first message was not hello");
      }
      return;
    }
    if (this.greeted) {
      this.close("it sent a second hello");
    } else if (message.node !== this.node) {
      this.log.error({ node: this.node, claimed: message.node }, "a node claims another node's name");
      this.close("it claims another node's name");
    } else {
      clearTimeout(this.helloTimer);
      this.greeted = true;
      this.owner.onHello(this, message);
    }
  }

  private async sendPayload(channel: ServerChannel, attempt: AttemptId): Promise<void> {
    let payload: Payload | null = null;
    let fault = `node '${this.node}' is not to run attempt ${attempt}`;
    let code = 1;
    try {
      payload = await this.owner.payloadFor(this.node, attempt);
    } catch (error) {
      fault = messageOf(error);
      // Anything else passes: the store is away, the state is being read again.
      code = error instanceof SkyError && error.type === "InternalError" ? payloadMissingCode : code;
    }
    if (payload === null) {
      this.log.warn({ node: this.node, attempt, fault }, "no payload for this node");
      channel.stderr.write(`${fault}\n`);
      channel.exit(code);
      channel.end();
      return;
    }
    // The exit code says that everything was sent: without it the agent knows that the payload was cut short.
    channel.write(JSON.stringify(payload), () => {
      channel.exit(0);
      channel.end();
    });
  }
}
