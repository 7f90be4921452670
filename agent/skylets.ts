/**
 * The users' skylets: the unix socket that they dial, who may speak on it, starting one that is needed, and turning what
 * they say into events. Whatever a skylet claims is checked against the kernel and the ledger before the core hears of
 * it; a skylet can only speak of its own user's attempts. Root touches nothing inside a user's folder.
 * Called by agent/loop.ts (orders) and agent/main.ts (streams).
 */
import { chmod, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "pino";
import type { OpenStream, WantedAttempt } from "../shared/agent-wire.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import type { AttemptId, Uid } from "../shared/ids.ts";
import type { FromSkylet, ToSkylet } from "../shared/skylet-wire.ts";
import { peerUid } from "../system/peer-uid.ts";
import { acceptRunner } from "./accept-runner.ts";
import { AccountRefused, sessionTraits } from "./accounts.ts";
import type { Clearing } from "./clearing.ts";
import type { Cgroups } from "./cgroup.ts";
import type { AgentEvent, LedgerEntry } from "./core/state.ts";
import { isAnswered } from "./folders.ts";
import { readProcess, untilNoSkylet } from "./processes.ts";
import { type ControlHello, type ControlOwner, readHello, SkyletControl, type Slot } from "./skylet-control.ts";
import { SkyletNotStarted, type SkyletStarts } from "./skylet-starts.ts";
import { countDown, type SkyletStreams } from "./skylet-streams.ts";
import type { UserFields, UserLog } from "./user-log.ts";

/** Connections of one user that have not said yet what they are. */
const greetingPerUserMax = 16;
/** Control connections of one user: the skylet's, one that is being replaced, and some that the kernel has not closed yet. */
const controlsPerUserMax = 4;

export interface SkyletsOptions {
  socketPath: string;
  starts: Pick<SkyletStarts, "version" | "account" | "start">;
  streams: SkyletStreams;
  cgroups: Cgroups;
  clearing: Clearing;
  log: Logger;
  userLog: UserLog;
  dispatch(event: AgentEvent): void;
  /** As `dispatch`; resolves when the event has been dealt with. */
  settle(event: AgentEvent): Promise<void>;
  entry(attempt: AttemptId): LedgerEntry | undefined;
  /** JSON text of the attempt's payload if it came ahead of its order, once. */
  payload(attempt: AttemptId): string | null;
  /** The ledger holds an attempt of this user. */
  hasAttempts(uid: Uid): boolean;
  /** A job of this user is about to begin. */
  onJob(uid: Uid): void;
}

export class Skylets implements ControlOwner {
  private readonly options: SkyletsOptions;
  private readonly log: Logger;
  private readonly slots = new Map<Uid, Slot>();
  private readonly greeting = new Map<Uid, number>();
  private readonly controls = new Map<Uid, number>();
  private readonly sockets = new Set<Socket>();
  private readonly closing = new AbortController();
  private server: Server | null = null;

  constructor(options: SkyletsOptions) {
    this.options = options;
    this.log = options.log;
  }

  /** Opens the socket for every user. Throws when another agent answers on it. */
  async listen(): Promise<void> {
    const { socketPath } = this.options;
    if (await isAnswered(socketPath)) {
      throw new SkyError("ValueError", `Another agent is running: it answers on ${socketPath}.`, "Stop it first.");
    }
    await rm(socketPath, { force: true });
    const server = createServer({ allowHalfOpen: true }, (socket) => void this.accept(socket));
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socketPath, resolve);
    });
    server.on("error", (error) => this.log.error({ error: error.message }, "the users' socket failed"));
    await chmod(socketPath, 0o666);
  }

  /**
   * Lets go of everybody; nothing is dispatched and no login begun after it, since another agent may be there already. A
   * login that is under way goes on. For tests and single runs: the agent itself simply ends.
   */
  async close(): Promise<void> {
    const { server } = this;
    this.closing.abort();
    for (const socket of this.sockets) {
      socket.destroy();
    }
    const slots = [...this.slots.values()];
    slots.flatMap((slot) => slot.onReady.splice(0)).forEach((wake) => wake());
    await Promise.all(slots.flatMap((slot) => slot.starting ?? []));
    await new Promise((resolve) => (server === null ? resolve(null) : server.close(resolve)));
  }

  /** Starts the user's skylet unless one is there or on its way; ends in `skyletReady` or `skyletFailed`. */
  ensure(uid: Uid, user: string): void {
    const slot = this.slot(uid);
    if (slot.starting !== null || slot.ready !== null || this.closing.signal.aborted) {
      return;
    }
    slot.starting = this.start(uid, user, slot)
      .catch((error: unknown) => {
        for (const message of this.options.streams.expectedOf(uid)) {
          this.options.streams.fail(uid, message.id, messageOf(error));
        }
        const fault = error instanceof SkyletNotStarted ? error.fault : "passing";
        this.dispatch({ type: "skyletFailed", uid, error: messageOf(error), fault });
      })
      .finally(() => {
        slot.starting = null;
        slot.onReady = [];
      });
  }

  /**
   * Best effort: what is lost with a connection is asked again after the next `skyletReady`. One after the other, so that
   * a `stop` never overtakes the `start` whose account is still being looked up.
   */
  send(uid: Uid, message: ToSkylet): void {
    const slot = this.slots.get(uid);
    const connection = slot?.ready ?? null;
    if (slot === undefined || connection === null) {
      return;
    }
    slot.sending = slot.sending.then(async () => {
      if (message.type === "start" && !(await this.mayStart(slot, uid, message.wanted))) {
        return;
      }
      if (slot.ready === connection) {
        this.sendPayload(connection, message);
        connection.send(message);
      }
    });
  }

  /** Ahead of a start, when it is here. */
  private sendPayload(connection: SkyletControl, message: ToSkylet): void {
    const text = message.type === "start" ? this.options.payload(message.wanted.attempt) : null;
    if (message.type === "start" && text !== null) {
      connection.send({ type: "payload", attempt: message.wanted.attempt, text });
    }
  }

  /** The coordinator wants a log stream; the skylet is started for it if need be. */
  openStream(message: OpenStream): void {
    if (!this.options.streams.expect(message)) {
      return;
    }
    const ready = this.slots.get(message.uid)?.ready ?? null;
    if (ready === null) {
      this.ensure(message.uid, message.user);
    } else {
      ready.send({ type: "stream", id: message.id, request: message.request });
    }
  }

  onClosed(connection: SkyletControl): void {
    const slot = this.slots.get(connection.uid);
    if (slot?.ready === connection) {
      slot.ready = null;
      this.dispatch({ type: "skyletGone", uid: connection.uid });
      // It was asked for a log and cannot have answered; nobody else may need the next one.
      this.ensureForStreams(connection.uid);
    }
  }

  onBadFrame(connection: SkyletControl, error: string): void {
    this.warn({ uid: connection.uid, error }, "bad message from a user's skylet");
  }

  onFrame(connection: SkyletControl, frame: FromSkylet): Promise<void> | void {
    const { uid } = connection;
    if (frame.type === "ready") {
      return this.onReady(connection, frame);
    }
    if (this.slots.get(uid)?.ready !== connection) {
      this.warn({ uid, type: frame.type }, "ignored a message from a skylet that is not ready or was replaced");
      return undefined;
    }
    if (frame.type === "streamFailed") {
      this.options.streams.fail(uid, frame.id, frame.error);
      return undefined;
    }
    const attempt = frame.type === "changed" ? frame.attempt.attempt : frame.attempt;
    if (this.options.entry(attempt)?.wanted.uid !== uid) {
      this.warn({ uid, attempt, type: frame.type }, "ignored what a skylet said of an attempt that is not its user's");
      return undefined;
    }
    switch (frame.type) {
      case "prepared":
        return this.onPrepared(uid, frame);
      case "failed":
        return this.options.settle({ type: "runnerFailed", uid, attempt, error: frame.error });
      case "changed":
        return this.options.settle({ type: "runnerChanged", uid, attempt: frame.attempt });
      case "gone":
        // May take seconds; what the skylet says of other attempts does not wait for it.
        void this.options.clearing.gone(uid, attempt);
        return undefined;
    }
  }

  private onReady(connection: SkyletControl, frame: Extract<FromSkylet, { type: "ready" }>): Promise<void> | undefined {
    const { uid } = connection;
    const slot = this.slot(uid);
    if (connection.version !== this.options.starts.version) {
      this.exchange(connection, slot);
      return undefined;
    }
    const own = frame.attempts.filter((one) => {
      const entry = this.options.entry(one.attempt);
      return entry === undefined || entry.wanted.uid === uid;
    });
    if (own.length < frame.attempts.length) {
      this.warn({ uid, count: frame.attempts.length - own.length }, "ignored attempts of others that a skylet listed");
    }
    const older = slot.ready;
    slot.ready = connection;
    if (older !== null && older !== connection) {
      older.retire();
    }
    const fields = { pid: connection.pid, version: connection.version, attempts: own.length };
    this.options.userLog.write("info", uid, fields, "skylet is ready");
    const settled = this.options.settle({ type: "skyletReady", uid, attempts: own });
    for (const message of this.options.streams.expectedOf(uid)) {
      connection.send({ type: "stream", id: message.id, request: message.request });
    }
    for (const wake of slot.onReady.splice(0)) {
      wake();
    }
    return settled;
  }

  /** After an upgrade or a rollback: the old skylet ends, its runners stay, and the next one takes them over. */
  private exchange(connection: SkyletControl, slot: Slot): void {
    const { uid, pid, version } = connection;
    this.options.userLog.write("info", uid, { pid, version }, "a skylet of another version is exchanged");
    connection.retire();
    if (slot.ready === null) {
      this.dispatch({ type: "skyletGone", uid });
      this.ensureForStreams(uid);
    }
  }

  private ensureForStreams(uid: Uid): void {
    const [waiting] = this.options.streams.expectedOf(uid);
    if (waiting !== undefined) {
      this.ensure(waiting.uid, waiting.user);
    }
  }

  private async onPrepared(uid: Uid, frame: Extract<FromSkylet, { type: "prepared" }>): Promise<void> {
    const { attempt, pid, startTime, logDir } = frame;
    const wanted = this.options.entry(attempt)?.wanted.limits ?? null;
    const accepted = await acceptRunner(this.options.cgroups, uid, frame, wanted);
    if (accepted.fault === null) {
      const limits = accepted.limits === null ? {} : { limits: accepted.limits };
      this.options.onJob(uid);
      await this.options.settle({ type: "runnerPrepared", uid, attempt, pid, startTime, logDir, ...limits });
      return;
    }
    const { fault } = accepted;
    this.warn({ uid, attempt, fault }, "a runner was not accepted");
    if (readProcess(pid) === null) {
      // Killed at its gate: its skylet, or the next one, says so, and another one is prepared.
      return;
    }
    await this.options.settle({
      type: "runnerFailed",
      uid,
      attempt,
      error: `The job was not started: ${fault}. Launch it again.`,
    });
  }

  private async start(uid: Uid, user: string, slot: Slot): Promise<void> {
    const { signal } = this.closing;
    const isOver = (): boolean => slot.ready !== null || signal.aborted;
    await untilNoSkylet(uid, this.options.socketPath, isOver);
    if (isOver()) {
      return;
    }
    const ready = new Promise<void>((resolve) => slot.onReady.push(resolve));
    this.log.info({ uid, user }, "starting a user's skylet");
    // The traits of the session before it must not be taken for those of the one that is being opened.
    slot.traits = null;
    slot.traits = await this.options.starts.start(uid, user, ready, signal);
    if (slot.ready === null) {
      throw new SkyletNotStarted("the user's part ended right after its start", "passing");
    }
  }

  /** A start goes to a session that is still what a fresh login would be; otherwise the skylet is exchanged first. */
  private async mayStart(slot: Slot, uid: Uid, wanted: WantedAttempt): Promise<boolean> {
    const { attempt, user } = wanted;
    const { ready } = slot;
    let traits: string;
    try {
      traits = sessionTraits(await this.options.starts.account(uid, user));
    } catch (error) {
      if (error instanceof AccountRefused) {
        this.dispatch({ type: "runnerFailed", uid, attempt, error: error.message.slice(0, 1000) });
        return false;
      }
      // The name service does not answer; the session that is open was admitted when it was opened.
      this.log.warn({ uid, user, error: messageOf(error) }, "the account could not be looked at again");
      return true;
    }
    slot.traits ??= traits;
    if (slot.ready !== ready || ready === null || slot.traits === traits) {
      return true;
    }
    this.log.info({ uid, user }, "the account has changed; its skylet is exchanged");
    slot.ready = null;
    ready.retire();
    this.dispatch({ type: "skyletGone", uid });
    return false;
  }

  private async accept(socket: Socket): Promise<void> {
    const uid = peerUid(socket);
    const count = uid === null ? 0 : (this.greeting.get(uid) ?? 0);
    if (uid === null || !this.isExpected(uid) || count >= greetingPerUserMax) {
      if (uid !== null) {
        this.warn({ uid }, "refused a connection: no skylet of this user is expected, or there are too many");
      }
      socket.destroy();
      return;
    }
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    this.greeting.set(uid, count + 1);
    const hello = await readHello(socket);
    countDown(this.greeting, uid);
    if (hello === null) {
      this.warn({ uid }, "a connection of a user did not say what it is");
    } else if (hello.role === "control") {
      this.beginControl(uid, hello, socket);
    } else {
      await this.options.streams.carry(uid, hello, socket);
    }
  }

  private beginControl(uid: Uid, hello: ControlHello, socket: Socket): void {
    const count = this.controls.get(uid) ?? 0;
    if (count >= controlsPerUserMax) {
      this.warn({ uid }, "refused a control connection: the user has too many");
      socket.destroy();
      return;
    }
    this.controls.set(uid, count + 1);
    socket.on("close", () => countDown(this.controls, uid));
    // A skylet that goes away ends its side only; the rest is of no use to it then.
    socket.on("end", () => socket.end());
    SkyletControl.begin(uid, hello, socket, this);
  }

  private dispatch(event: AgentEvent): void {
    if (!this.closing.signal.aborted) {
      this.options.dispatch(event);
    }
  }

  private isExpected(uid: Uid): boolean {
    return this.slots.has(uid) || this.options.hasAttempts(uid);
  }

  private slot(uid: Uid): Slot {
    let slot = this.slots.get(uid);
    if (slot === undefined) {
      slot = { ready: null, starting: null, onReady: [], sending: Promise.resolve(), traits: null };
      this.slots.set(uid, slot);
    }
    return slot;
  }

  private warn(fields: UserFields & { uid: Uid }, text: string): void {
    this.options.userLog.write("warn", fields.uid, fields, text);
  }
}
