/**
 * Bytes between a user's skylet and the coordinator: log streams that the coordinator asked for, payloads of attempts,
 * and questions for their files. Each is joined raw, with back-pressure on both sides and nothing kept here. A stream
 * belongs to the user it was asked for, payload and files to the attempt's user; anything else is cut. Called by
 * agent/skylets.ts.
 */
import type { Socket } from "node:net";
import type { ClientChannel } from "ssh2";
import type { OpenStream } from "../shared/agent-wire.ts";
import { messageOf } from "../shared/errors.ts";
import { filesFrameKinds } from "../shared/files.ts";
import type { AttemptId, Uid } from "../shared/ids.ts";
import type { LedgerEntry } from "./core/state.ts";
import { CommandRefused, type PayloadChannel } from "./link.ts";
import type { SkyletHello } from "./skylet-control.ts";
import type { UserLog } from "./user-log.ts";

/** The coordinator waits ten seconds for a stream; a little more covers the way. */
const pendingLimitMs = 12_000;
const pendingMax = 1_024;
/** Streams and payload fetches of one user at one time. */
const perUserMax = 64;

export type StreamHello = Exclude<SkyletHello, { role: "control" }>;

export interface StreamsOwner {
  entry(attempt: AttemptId): LedgerEntry | undefined;
  openStream(id: string): Promise<ClientChannel>;
  openPayload(attempt: AttemptId): Promise<PayloadChannel>;
  openFiles(attempt: AttemptId): Promise<ClientChannel>;
  streamFailed(id: string, error: string): void;
}

export class SkyletStreams {
  private readonly owner: StreamsOwner;
  private readonly log: UserLog;
  private readonly pending = new Map<string, { message: OpenStream; timer: NodeJS.Timeout }>();
  private readonly open = new Map<Uid, number>();

  constructor(owner: StreamsOwner, log: UserLog) {
    this.owner = owner;
    this.log = log;
  }

  /** Remembers what the coordinator asked for. False: there are too many, and it has been told so. */
  expect(message: OpenStream): boolean {
    const own = this.expectedOf(message.uid).length;
    if (this.pending.size >= pendingMax || own >= perUserMax || this.pending.has(message.id)) {
      this.owner.streamFailed(message.id, "this node has too many log requests under way. Try again in a few seconds.");
      return false;
    }
    const timer = setTimeout(() => this.pending.delete(message.id), pendingLimitMs);
    this.pending.set(message.id, { message, timer });
    return true;
  }

  /** What this user's skylet is still to open. */
  expectedOf(uid: Uid): OpenStream[] {
    return [...this.pending.values()].map((one) => one.message).filter((message) => message.uid === uid);
  }

  /** The stream cannot be opened; ignored unless it was asked for this user. */
  fail(uid: Uid, id: string, error: string): void {
    if (this.take(uid, id)) {
      this.owner.streamFailed(id, error.slice(0, 1000));
    }
  }

  /** A connection of this user that has said what it is for. */
  async carry(uid: Uid, hello: StreamHello, socket: Socket): Promise<void> {
    if (hello.role === "stream") {
      await this.carryStream(uid, hello.id, socket);
    } else if (hello.role === "payload") {
      await this.carryPayload(uid, hello.attempt, socket);
    } else {
      await this.carryFiles(uid, hello.attempt, socket);
    }
  }

  /** A connection of this user's skylet that wants to carry the stream. */
  private async carryStream(uid: Uid, id: string, socket: Socket): Promise<void> {
    if (!this.take(uid, id)) {
      this.log.write("warn", uid, {}, "refused a log stream that nobody asked this user for");
      socket.destroy();
      return;
    }
    if (!this.count(uid, socket)) {
      this.owner.streamFailed(id, "you have too many log streams open on this node. Close some and try again.");
      return;
    }
    try {
      join(socket, await this.owner.openStream(id));
    } catch (error) {
      this.log.write("info", uid, { error: messageOf(error) }, "a log stream was not opened");
      socket.destroy();
    }
  }

  /** A connection of this user's skylet that wants the payload of its own attempt. */
  private async carryPayload(uid: Uid, attempt: AttemptId, socket: Socket): Promise<void> {
    const entry = this.owner.entry(attempt);
    if (entry === undefined || entry.wanted.uid !== uid || entry.phase === "exited") {
      this.log.write("warn", uid, { attempt }, "refused a payload: it is not an attempt of this user that is to run");
      socket.destroy();
      return;
    }
    if (!this.count(uid, socket)) {
      return;
    }
    try {
      const payload = await this.owner.openPayload(attempt);
      const { channel } = payload;
      socket.on("close", () => channel.destroy());
      socket.resume();
      channel.on("close", () => {
        const { complete, final, fault } = payload.end();
        if (complete) {
          socket.end();
          return;
        }
        this.log.write("warn", uid, { attempt, fault }, "a payload did not arrive");
        if (final) {
          socket.end(JSON.stringify({ fault: fault.slice(0, 500) }));
        } else {
          socket.destroy();
        }
      });
      channel.pipe(socket, { end: false });
    } catch (error) {
      this.log.write("info", uid, { attempt, error: messageOf(error) }, "a payload could not be asked for");
      socket.destroy();
    }
  }

  /** A connection of this user's own files program that asks for files of its attempt. */
  private async carryFiles(uid: Uid, attempt: AttemptId, socket: Socket): Promise<void> {
    const entry = this.owner.entry(attempt);
    if (entry === undefined || entry.wanted.uid !== uid || entry.phase === "exited") {
      this.log.write("warn", uid, { attempt }, "refused files: it is not an attempt of this user that is to run");
      refuseFiles(socket, "this is not a job of this user that is to run on this machine.");
      return;
    }
    if (!this.count(uid, socket)) {
      return;
    }
    try {
      join(socket, await this.owner.openFiles(attempt));
    } catch (error) {
      this.log.write("info", uid, { attempt, error: messageOf(error) }, "files could not be asked for");
      if (error instanceof CommandRefused) {
        refuseFiles(
          socket,
          "the coordinator refuses to send files: it is of an older version. Ask the admin to update it.",
        );
      } else {
        // It is asked again: the coordinator is away for a while.
        socket.destroy();
      }
    }
  }

  private take(uid: Uid, id: string): boolean {
    const found = this.pending.get(id);
    if (found === undefined || found.message.uid !== uid) {
      return false;
    }
    clearTimeout(found.timer);
    this.pending.delete(id);
    return true;
  }

  /** Counts the connection for its user until it closes; destroys it when there are too many. */
  private count(uid: Uid, socket: Socket): boolean {
    const now = this.open.get(uid) ?? 0;
    if (now >= perUserMax) {
      this.log.write("warn", uid, {}, "too many streams of one user; refused one");
      socket.destroy();
      return false;
    }
    this.open.set(uid, now + 1);
    socket.on("close", () => {
      countDown(this.open, uid);
    });
    return true;
  }
}

/** One less for this user; nothing is kept of a user who has none. */
export function countDown(counts: Map<Uid, number>, uid: Uid): void {
  const left = (counts.get(uid) ?? 1) - 1;
  if (left > 0) {
    counts.set(uid, left);
  } else {
    counts.delete(uid);
  }
}

/** Says in the frames of shared/files.ts why no file will come. */
function refuseFiles(socket: Socket, text: string): void {
  const head = Buffer.alloc(5);
  const body = Buffer.from(text);
  head.writeUInt8(filesFrameKinds.fault, 0);
  head.writeUInt32BE(body.length, 1);
  // Questions that were sent already would otherwise keep the connection open.
  socket.resume();
  socket.end(Buffer.concat([head, body]), () => socket.destroySoon());
}

/** Both ways, raw. The end of one side is passed on after its last byte; the loss of one side cuts the other. */
function join(socket: Socket, channel: ClientChannel): void {
  if (socket.destroyed) {
    channel.destroy();
    return;
  }
  channel.on("close", () => socket.destroy());
  // Not destroy(): ssh2 would throw away what still waits for the other end's window.
  socket.on("close", () => channel.end());
  socket.pipe(channel);
  channel.pipe(socket);
}
