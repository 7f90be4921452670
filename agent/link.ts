/**
 * The agent's connection to the coordinator: dials for ever, accepts exactly the pinned host key, proves this node by
 * its own key, and carries control frames and further channels. What is sent while there is no connection is dropped,
 * because the next report is the whole picture. It must never act on a frame: it hands each one to its owner.
 * Used by agent/main.ts and, for channels, by agent/skylet-streams.ts.
 */
import { timingSafeEqual } from "node:crypto";
import { connect as connectTcp, type Socket } from "node:net";
import type { Logger } from "pino";
import ssh2 from "ssh2";
import type { AuthHandlerMiddleware, Client, ClientChannel, ConnectConfig } from "ssh2";
import {
  type FromAgent,
  frameBytesMax,
  type Hello,
  payloadMissingCode,
  type ToAgent,
  toAgentSchema,
} from "../shared/agent-wire.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import type { AttemptId } from "../shared/ids.ts";
import { encodeFrame, LineReader, parseFrame } from "../shared/lines.ts";
import { fromAgentIn, offeredProtocols, type Protocol, subsystemOf, toAgentIn } from "../shared/protocols.ts";
import { sshAlgorithms, sshKeyType } from "../shared/ssh-algorithms.ts";
import type { AgentConfig } from "./config.ts";
import { NodeKey, parseEd25519 } from "./node-key.ts";

const backoffFirstMs = 100;
const backoffMaxMs = 1_000;
const connectLimitMs = 10_000;
const channelLimitMs = 10_000;
const queuedBytesMax = 16 * 1024 * 1024;
/** A connection that lived this long counts as good: the next one is tried at once. */
const settledMs = 5_000;

export interface LinkOwner {
  /** The first frame of each connection; asked for just before it is sent. */
  hello(): Promise<Hello> | Hello;
  onUp(localAddress: string): void;
  onMessage(message: ToAgent): void;
  onDown(): void;
}

/** The coordinator knows no such command, or not on this connection: asking again is of no use. */
export class CommandRefused extends Error {
  override readonly name = "CommandRefused";
}

/** A payload on its way. `end` is asked after the channel has closed. */
export interface PayloadChannel {
  channel: ClientChannel;
  /**
   * `complete`: every byte was sent. Otherwise `fault` says why not, in the coordinator's words where there are any, and
   * `final` that asking again is of no use.
   */
  end(): { complete: boolean; final: boolean; fault: string };
}

export interface LinkKeys {
  node: NodeKey;
  /** The coordinator's pinned public key, as it travels on the wire. */
  host: Buffer;
}

/** Reads and checks both keys that the config names; a SkyError says which one is not usable and why. */
export async function readLinkKeys(config: AgentConfig): Promise<LinkKeys> {
  const node = await NodeKey.open(config.key, config.node);
  const host = parseEd25519(config.coordinator.host_key);
  if (host === null) {
    const text = "coordinator.host_key in the agent's config is not an ed25519 public key.";
    throw new SkyError(
      "ValueError",
      text,
      `Give the line from the coordinator's host key file ending in .pub (${sshKeyType} AAAA…).`,
    );
  }
  return { node, host: host.getPublicSSH() };
}

/** One connection at a time; made by `new Link(…)`, begun by `start()`. */
export class Link {
  private readonly config: AgentConfig;
  private readonly keys: LinkKeys;
  private readonly owner: LinkOwner;
  private readonly log: Logger;
  private client: Client | null = null;
  private socket: Socket | null = null;
  private control: ClientChannel | null = null;
  /** Of the present connection. */
  private protocol: Protocol = 1;
  /** The private key that the present connection was last asked to be proved by. */
  private offered: Buffer | null = null;
  private up = false;
  private upAt = 0;
  private backoffMs = backoffFirstMs;
  private retry: NodeJS.Timeout | null = null;
  private stopped = false;
  private lastFault = "";

  constructor(config: AgentConfig, keys: LinkKeys, owner: LinkOwner, log: Logger) {
    this.config = config;
    this.keys = keys;
    this.owner = owner;
    this.log = log;
  }

  start(): void {
    this.dial();
  }

  /** Ends the connection for good. */
  stop(): void {
    this.stopped = true;
    if (this.retry !== null) {
      clearTimeout(this.retry);
    }
    this.drop("the agent is stopping");
  }

  /** Drops the present connection and dials again at once, e.g. because another identity was accepted. */
  redial(): void {
    this.backoffMs = backoffFirstMs;
    this.drop("a new connection is wanted");
  }

  /**
   * Sends a frame if there is a connection whose protocol knows it; it is dropped otherwise, and the connection is when the
   * coordinator takes nothing.
   */
  send(given: FromAgent): void {
    const message = fromAgentIn(this.protocol, given);
    if (this.control === null || message === null) {
      return;
    }
    try {
      this.control.write(encodeFrame(message, frameBytesMax));
    } catch (error) {
      this.log.error({ type: message.type, error: messageOf(error) }, "a message to the coordinator was not sent");
      return;
    }
    if (this.control.writableLength > queuedBytesMax) {
      this.drop("the coordinator does not take its control messages");
    }
  }

  /** The channel that answers the coordinator's wish for this stream. Rejects when there is no connection or it is refused. */
  openStream(id: string): Promise<ClientChannel> {
    return this.exec(`stream ${id}`, (channel) => {
      channel.stderr.resume();
      return channel;
    });
  }

  /** The payload's JSON. Rejects when there is no connection. */
  openPayload(attempt: AttemptId): Promise<PayloadChannel> {
    return this.exec(`payload ${attempt}`, (channel) => {
      // Listened to at once: the exit code can arrive in the same packet as the channel.
      let code: number | null = null;
      let fault = "";
      channel.on("exit", (given: number | null) => {
        code = given;
      });
      channel.stderr.on("data", (chunk: Buffer) => {
        fault = (fault + chunk.toString()).slice(0, 500);
      });
      const end = (): { complete: boolean; final: boolean; fault: string } => ({
        complete: code === 0,
        final: code === payloadMissingCode,
        fault: fault.trim() === "" ? "the connection to the coordinator was cut" : fault.trim(),
      });
      return { channel, end };
    });
  }

  /** Questions and answers of shared/files.ts. Rejects when there is no connection; CommandRefused: by an older coordinator. */
  openFiles(attempt: AttemptId): Promise<ClientChannel> {
    return this.exec(`files ${attempt}`, (channel) => {
      channel.stderr.resume();
      return channel;
    });
  }

  private exec<T>(command: string, take: (channel: ClientChannel) => T): Promise<T> {
    const { client } = this;
    if (client === null || !this.up) {
      return Promise.reject(new Error("there is no connection to the coordinator"));
    }
    return new Promise((resolve, reject) => {
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        reject(new Error("the coordinator did not open a channel in time"));
      }, channelLimitMs);
      client.exec(command, (error, channel) => {
        clearTimeout(timer);
        if (error !== undefined) {
          // ssh2's words for the answer SSH_MSG_CHANNEL_FAILURE; everything else is the connection's end.
          reject(error.message.startsWith("Unable to exec") ? new CommandRefused(error.message) : error);
          return;
        }
        channel.on("error", () => channel.destroy());
        if (late) {
          channel.destroy();
        } else {
          resolve(take(channel));
        }
      });
    });
  }

  private dial(): void {
    const { address, port } = this.config.coordinator;
    const socket = connectTcp({ host: address, port, noDelay: true });
    const client = new ssh2.Client();
    this.socket = socket;
    this.client = client;
    const fail = (reason: string): void => {
      if (this.client === client) {
        this.drop(reason);
      }
    };
    socket.setTimeout(connectLimitMs, () => fail(`no answer from ${address} port ${port}`));
    socket.once("error", (error) => fail(error.message));
    socket.once("connect", () => {
      socket.setTimeout(0);
      client.connect(this.connectConfig(socket));
    });
    client.on("error", (error) => fail(error.message));
    client.on("close", () => fail("the coordinator closed the connection"));
    client.on("end", () => fail("the coordinator ended the connection"));
    client.on("ready", () => this.askControl(client, [...offeredProtocols], socket.localAddress ?? "", fail));
  }

  /** Asks for the control channel of the first protocol, and where that is refused, as by the version before, of the next. */
  private askControl(client: Client, protocols: Protocol[], address: string, fail: (reason: string) => void): void {
    const [protocol, ...older] = protocols;
    if (protocol === undefined) {
      fail("the coordinator refused the control channel: it speaks no protocol that this version speaks");
      return;
    }
    client.subsys(subsystemOf(protocol), (error, channel) => {
      if (this.client !== client) {
        return;
      }
      if (error === undefined) {
        this.protocol = protocol;
        void this.takeControl(client, channel, address, fail);
      } else {
        this.askControl(client, older, address, fail);
      }
    });
  }

  private connectConfig(socket: Socket): ConnectConfig {
    const username = this.config.node;
    const left = this.keys.node.offers;
    // Called for the first offer and again after each one that was refused.
    const offerNext: AuthHandlerMiddleware = (_left, _partial, next) => {
      const key = left.shift();
      if (key === undefined) {
        next(false as never);
        return;
      }
      this.offered = key;
      next({ type: "publickey", username, key });
    };
    return {
      sock: socket,
      username,
      authHandler: offerNext,
      hostVerifier: (key: Buffer) => key.length === this.keys.host.length && timingSafeEqual(key, this.keys.host),
      algorithms: structuredClone(sshAlgorithms) as unknown as NonNullable<ConnectConfig["algorithms"]>,
      readyTimeout: connectLimitMs,
      keepaliveInterval: 5_000,
      keepaliveCountMax: 3,
      agentForward: false,
      ident: "sky-onprem",
    };
  }

  private async takeControl(
    client: Client,
    channel: ClientChannel,
    address: string,
    fail: (reason: string) => void,
  ): Promise<void> {
    const reader = new LineReader(frameBytesMax);
    channel.on("error", (error: unknown) => fail(messageOf(error)));
    channel.on("close", () => fail("the coordinator closed the control channel"));
    channel.on("end", () => fail("the coordinator ended the control channel"));
    channel.stderr.resume();
    if (this.offered !== null) {
      await this.keys.node.proved(this.offered).catch((error: unknown) => {
        this.log.error({ error: messageOf(error) }, "the node's new key could not be put into the old one's place");
      });
    }
    const hello = await this.owner.hello();
    if (this.client !== client) {
      return;
    }
    this.control = channel;
    this.up = true;
    this.upAt = performance.now();
    this.lastFault = "";
    const { protocol } = this;
    this.log.info({ coordinator: this.config.coordinator.address, protocol }, "connected to the coordinator");
    this.send(hello);
    this.owner.onUp(address);
    channel.on("data", (chunk: Buffer) => {
      try {
        for (const line of reader.push(chunk)) {
          if (this.control === channel) {
            this.owner.onMessage(this.known(parseFrame(toAgentSchema, line)));
          }
        }
      } catch (error) {
        this.log.error({ error: messageOf(error) }, "bad message from the coordinator");
        fail("it sent a bad message");
      }
    });
  }

  /** What the session's protocol does not know is as bad as what no protocol knows. */
  private known(message: ToAgent): ToAgent {
    if (toAgentIn(this.protocol, message) !== message) {
      throw new Error(`'${message.type}' as it came is not part of protocol ${this.protocol}`);
    }
    return message;
  }

  /** Cuts the present connection, tells the owner once, and plans the next. */
  private drop(reason: string): void {
    const { socket, up } = this;
    if (this.client === null) {
      return;
    }
    this.client = null;
    this.socket = null;
    this.control = null;
    this.up = false;
    // Its listeners stay: what a connection reports while it is being cut is caught and ignored by them.
    socket?.on("error", () => undefined);
    socket?.destroy();
    if (reason !== this.lastFault) {
      this.lastFault = reason;
      this.log.warn({ coordinator: this.config.coordinator.address, reason }, "no connection to the coordinator");
    }
    if (up) {
      if (performance.now() - this.upAt > settledMs) {
        this.backoffMs = backoffFirstMs;
      }
      this.owner.onDown();
    }
    this.planDial();
  }

  private planDial(): void {
    if (this.stopped) {
      return;
    }
    // Jitter, so that a restarted coordinator is not met by all nodes in the same instant.
    this.retry = setTimeout(() => this.dial(), this.backoffMs * (0.5 + Math.random()));
    this.backoffMs = Math.min(backoffMaxMs, this.backoffMs * 2);
  }
}
