/**
 * One accepted connection on the agent's socket: whose it is (from the kernel), what its first frame says it is, and for
 * a control connection its frames, one after the other. A skylet is an ordinary user's process and is trusted with
 * nothing: frames are strict and bounded, and the first bad one closes the connection. Called by agent/skylets.ts.
 */
import type { Socket } from "node:net";
import { messageOf } from "../shared/errors.ts";
import type { Uid } from "../shared/ids.ts";
import { encodeFrame, LineReader, parseFrame } from "../shared/lines.ts";
import {
  type FromSkylet,
  fromSkyletSchema,
  skyletFrameBytesMax,
  skyletHelloSchema,
  type ToSkylet,
} from "../shared/skylet-wire.ts";
import type { z } from "zod";

export type SkyletHello = z.infer<typeof skyletHelloSchema>;
export type ControlHello = Extract<SkyletHello, { role: "control" }>;

const helloBytesMax = 4_096;
const helloLimitMs = 10_000;
const queuedBytesMax = 16 * 1024 * 1024;
/** Frames of one connection that are being looked at; beyond it the socket is not read. */
const framesAtOnceMax = 256;
/** Each frame may cost a write to disk and a report; a user's thousand jobs that end at once take some seconds. */
const framesPerSecondMax = 1_000;
/** A larger frame counts as so many more: to read one of a megabyte takes as long as a thousand small ones, and more memory. */
const usualFrameBytes = 1_000;

/** Reads the first frame and leaves the bytes after it in the socket. Null (and the socket destroyed): it was not one, or came too late. */
export function readHello(socket: Socket): Promise<SkyletHello | null> {
  return new Promise((resolve) => {
    const reader = new LineReader(helloBytesMax);
    const finish = (hello: SkyletHello | null): void => {
      clearTimeout(timer);
      socket.off("data", onData);
      socket.off("close", onClose);
      socket.off("end", onClose);
      if (hello === null) {
        socket.destroy();
      }
      resolve(hello);
    };
    const onClose = (): void => finish(null);
    const onData = (chunk: Buffer): void => {
      try {
        const first = reader.pushFirst(chunk);
        if (first === null) {
          return;
        }
        const hello = parseFrame(skyletHelloSchema, first.line);
        socket.pause();
        if (first.rest.length > 0) {
          socket.unshift(Buffer.from(first.rest));
        }
        finish(hello);
      } catch {
        finish(null);
      }
    };
    const timer = setTimeout(onClose, helloLimitMs);
    socket.on("data", onData);
    socket.on("close", onClose);
    // Half-open sockets stay after the other end has gone; one that said nothing must not be counted any longer.
    socket.on("end", onClose);
  });
}

export interface ControlOwner {
  /** The next frame of the same attempt is handed out only when the promise has settled; `ready` comes after all before it and before all after it. */
  onFrame(connection: SkyletControl, frame: FromSkylet): Promise<void> | void;
  /** Called once. */
  onClosed(connection: SkyletControl): void;
  onBadFrame(connection: SkyletControl, error: string): void;
}

/** A skylet's control connection after its hello. */
export class SkyletControl {
  readonly uid: Uid;
  readonly version: string;
  /** As the skylet says; for the log only. */
  readonly pid: number;
  private readonly socket: Socket;
  private waiting = 0;
  private taken = { since: 0, count: 0 };
  private isPaced = false;
  /** The last frame of each attempt that is being looked at, and the last that spoke of all; none rejects. */
  private readonly turns = new Map<string, Promise<void>>();
  private common: Promise<void> = Promise.resolve();

  /** Reads the connection until it closes; the owner hears of everything through its callbacks. */
  static begin(uid: Uid, hello: ControlHello, socket: Socket, owner: ControlOwner): SkyletControl {
    return new SkyletControl(uid, hello, socket, owner);
  }

  private constructor(uid: Uid, hello: ControlHello, socket: Socket, owner: ControlOwner) {
    this.uid = uid;
    this.version = hello.version;
    this.pid = hello.pid;
    this.socket = socket;
    const reader = new LineReader(skyletFrameBytesMax);
    socket.on("close", () => owner.onClosed(this));
    socket.on("data", (chunk: Buffer) => {
      try {
        for (const line of reader.push(chunk)) {
          this.pace(line.length);
          this.queue(parseFrame(fromSkyletSchema, line), owner);
        }
      } catch (error) {
        owner.onBadFrame(this, messageOf(error));
        socket.destroy();
      }
    });
    socket.resume();
  }

  /** Destroys the connection when the skylet does not take what it is sent. */
  send(message: ToSkylet): void {
    if (this.socket.destroyed || !this.socket.writable) {
      return;
    }
    this.socket.write(encodeFrame(message, skyletFrameBytesMax));
    if (this.socket.writableLength > queuedBytesMax) {
      this.socket.destroy();
    }
  }

  /** Tells the skylet to end itself (its runners stay) and closes the connection. */
  retire(): void {
    this.send({ type: "retire" });
    this.socket.end();
  }

  /** Stops reading until the next second when this one's frames are used up. */
  private pace(bytes: number): void {
    const now = performance.now();
    if (now - this.taken.since > 1_000) {
      this.taken = { since: now, count: 0 };
    }
    this.taken.count += 1 + bytes / usualFrameBytes;
    if (this.taken.count >= framesPerSecondMax && !this.isPaced) {
      this.isPaced = true;
      this.socket.pause();
      setTimeout(
        () => {
          this.isPaced = false;
          this.flow();
        },
        1_000 - (now - this.taken.since),
      ).unref();
    }
  }

  private flow(): void {
    if (!this.isPaced && this.waiting < framesAtOnceMax) {
      this.socket.resume();
    }
  }

  private queue(frame: FromSkylet, owner: ControlOwner): void {
    this.waiting += 1;
    if (this.waiting >= framesAtOnceMax) {
      this.socket.pause();
    }
    const key = subjectOf(frame);
    const before =
      key === null ? Promise.all([this.common, ...this.turns.values()]) : (this.turns.get(key) ?? this.common);
    const turn = before
      .then(() => (this.socket.destroyed ? undefined : owner.onFrame(this, frame)))
      .catch((error: unknown) => owner.onBadFrame(this, messageOf(error)))
      .then(() => {
        this.waiting -= 1;
        if (key !== null && this.turns.get(key) === turn) {
          this.turns.delete(key);
        }
        this.flow();
      });
    if (key === null) {
      this.common = turn;
      this.turns.clear();
    } else {
      this.turns.set(key, turn);
    }
  }
}

/** What the frame speaks of: an attempt, a stream, or (null) all of them. */
function subjectOf(frame: FromSkylet): string | null {
  switch (frame.type) {
    case "ready":
      return null;
    case "changed":
      return frame.attempt.attempt;
    case "streamFailed":
      return frame.id;
    default:
      return frame.attempt;
  }
}

/** What is known of one user's skylet. */
export interface Slot {
  /** The control connection whose `ready` has come. */
  ready: SkyletControl | null;
  /** Never rejects. */
  starting: Promise<void> | null;
  /** Ends the wait for a skylet; at most the two of the start that is under way. */
  onReady: (() => void)[];
  /** Resolves when everything that was given to `send` before has been sent or dropped. */
  sending: Promise<void>;
  /** The account's traits when the session was opened; null: opened before this agent began. */
  traits: string | null;
}
