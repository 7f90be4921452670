/**
 * The agents as the coordinator's loop sees them: messages to nodes, events from nodes, and log streams. One live
 * connection a node; a newer one replaces the older, whose end is announced first. It must never decide anything about
 * jobs: it turns frames into events and hands out what the loop gives it. Started by coordinator/main.ts.
 */
import { randomInt } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { FromAgent, Hello, InspectRequest, LogRequest, ToAgent } from "../shared/agent-wire.ts";
import { oneLine } from "../shared/doctor.ts";
import { assertNever, SkyError } from "../shared/errors.ts";
import type { AttemptId, NodeName, Uid } from "../shared/ids.ts";
import type { CoordinatorConfig } from "./config.ts";
import { FileRelay } from "./fleet-files.ts";
import { listenForAgents } from "./fleet-listen.ts";
import { NodeSession, type SessionOwner } from "./fleet-session.ts";
import type { Fleet, FleetOwner } from "./parts.ts";

const streamLimitMs = 10_000;
const keyLimitMs = 10_000;
/** Characters of a node's own words that people are shown. */
const saidMax = 500;
/** Streams that one node has been asked for and has not opened yet. */
const pendingPerNodeMax = 512;

interface Pending<T> {
  node: NodeName;
  resolve(value: T): void;
  reject(error: SkyError): void;
}

class Agents implements SessionOwner {
  private readonly owner: FleetOwner;
  private readonly log: Logger;
  private readonly relay: FileRelay;
  /** Every authenticated connection; at most one of a node. */
  private readonly sessions = new Map<NodeName, NodeSession>();
  /** Sessions whose hello was announced and whose end was not. */
  private readonly announced = new Set<NodeSession>();
  private readonly pending = new Map<string, Pending<Duplex>>();
  /** Nodes that were asked for a new key. */
  private readonly pendingKeys = new Map<string, Pending<string>>();
  private closed = false;

  constructor(owner: FleetOwner, log: Logger) {
    this.owner = owner;
    this.log = log;
    this.relay = new FileRelay(owner, log);
  }

  add(session: NodeSession): void {
    if (this.closed) {
      session.close("the coordinator is stopping");
      return;
    }
    const older = this.sessions.get(session.node);
    this.sessions.set(session.node, session);
    older?.close("a newer connection of the same node replaces it");
  }

  onHello(session: NodeSession, hello: Hello): void {
    this.log.info({ node: session.node, version: hello.version, boot: hello.bootId }, "node connected");
    this.announced.add(session);
    this.owner.dispatch({ type: "nodeConnected", node: session.node, hello, key: session.key });
  }

  onMessage(session: NodeSession, message: Exclude<FromAgent, Hello>): void {
    switch (message.type) {
      case "report":
        this.owner.dispatch({ type: "nodeReported", node: session.node, report: message });
        return;
      case "refused":
        this.log.warn({ node: session.node, reason: message.reason }, "node refuses this coordinator");
        this.owner.dispatch({ type: "nodeRefused", node: session.node, reason: oneLine(message.reason, saidMax) });
        return;
      case "streamFailed": {
        const pending = this.pending.get(message.id) ?? this.pendingKeys.get(message.id);
        if (pending?.node === session.node) {
          pending.reject(new SkyError("ServerUnavailableError", oneLine(message.error, saidMax)));
        }
        return;
      }
      case "vitals":
        this.owner.dispatch({ type: "vitalsReceived", node: session.node, vitals: message });
        return;
      case "newKey": {
        const pending = this.pendingKeys.get(message.id);
        if (pending?.node === session.node) {
          pending.resolve(message.key);
        }
        return;
      }
      case "renew":
        this.owner.dispatch({ type: "renewAsked", node: session.node, id: message.id });
        return;
      default:
        assertNever(message);
    }
  }

  onClosed(session: NodeSession): void {
    if (this.sessions.get(session.node) === session) {
      this.sessions.delete(session.node);
    }
    for (const pending of [...this.pending.values(), ...this.pendingKeys.values()]) {
      if (pending.node === session.node) {
        pending.reject(lost(session.node));
      }
    }
    if (this.announced.delete(session)) {
      this.owner.dispatch({ type: "nodeDisconnected", node: session.node });
    }
  }

  onStream(session: NodeSession, id: string, accept: () => Duplex): boolean {
    const pending = this.pending.get(id);
    if (pending === undefined || pending.node !== session.node) {
      return false;
    }
    pending.resolve(accept());
    return true;
  }

  payloadFor(...args: Parameters<FleetOwner["payloadFor"]>): ReturnType<FleetOwner["payloadFor"]> {
    return this.owner.payloadFor(...args);
  }

  payloadAtHand(...args: Parameters<FleetOwner["payloadAtHand"]>): ReturnType<FleetOwner["payloadAtHand"]> {
    return this.owner.payloadAtHand(...args);
  }

  serveFiles(node: NodeName, attempt: AttemptId, channel: Duplex): Promise<void> {
    return this.relay.serve(node, attempt, channel);
  }

  tell(node: NodeName, message: ToAgent): void {
    this.sessions.get(node)?.tell(message);
  }

  openLogStream(node: NodeName, uid: Uid, user: string, request: LogRequest): Promise<Duplex> {
    const late = `Node '${node}' did not open the log of user '${user}' within ${streamLimitMs / 1000} seconds.`;
    const hint = "Try again; the user's session may be slow to start there.";
    return this.openStream(node, { late, hint }, (id) => ({ type: "openStream", id, uid, user, request }));
  }

  openInspection(node: NodeName, request: InspectRequest): Promise<Duplex> {
    const late = `Node '${node}' did not begin to answer within ${streamLimitMs / 1000} seconds.`;
    const hint = `Its agent's log says why: journalctl -u sky-agent on ${node}`;
    return this.openStream(node, { late, hint }, (id) => ({ type: "inspect", id, request }));
  }

  private openStream(
    node: NodeName,
    fault: { late: string; hint: string },
    wish: (id: string) => ToAgent,
  ): Promise<Duplex> {
    const session = this.sessions.get(node);
    if (session === undefined || !this.announced.has(session)) {
      return Promise.reject(lost(node));
    }
    if ([...this.pending.values()].filter((pending) => pending.node === node).length >= pendingPerNodeMax) {
      const text = `Node '${node}' has too many log requests under way.`;
      return Promise.reject(new SkyError("ServerUnavailableError", text, "Try again in a few seconds."));
    }
    return new Promise((resolve, reject) => {
      const id = randomStreamId();
      const timer = setTimeout(() => {
        this.pending.delete(id);
        reject(new SkyError("ServerUnavailableError", fault.late, fault.hint));
      }, streamLimitMs);
      const settle = (): void => {
        clearTimeout(timer);
        this.pending.delete(id);
      };
      this.pending.set(id, {
        node,
        resolve: (stream) => {
          settle();
          resolve(stream);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      session.tell(wish(id));
    });
  }

  cut(node: NodeName, reason: string): void {
    this.sessions.get(node)?.finish(reason);
  }

  makeKey(node: NodeName): Promise<string> {
    const session = this.sessions.get(node);
    if (session === undefined || !this.announced.has(session)) {
      return Promise.reject(lost(node));
    }
    const id = randomStreamId();
    return new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => {
        const text = `Node '${node}' did not make a new key within ${keyLimitMs / 1000} seconds; its present one goes on.`;
        reject(new SkyError("ServerUnavailableError", text, `Its agent's log says why: journalctl -u sky-agent`));
      }, keyLimitMs);
      const settle = (): void => clearTimeout(timer);
      this.pendingKeys.set(id, {
        node,
        resolve: (key) => {
          settle();
          resolve(key);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      session.tell({ type: "makeKey", id });
    }).finally(() => this.pendingKeys.delete(id));
  }

  closeAll(): void {
    this.closed = true;
    for (const session of this.sessions.values()) {
      session.close("the coordinator is stopping");
    }
  }
}

function lost(node: NodeName): SkyError {
  const hint = "What runs there goes on; try again when the node is back.";
  return new SkyError("ServerUnavailableError", `Node '${node}' is not connected to the coordinator.`, hint);
}

/** Sixteen characters that nobody can guess, so that a node cannot answer what another node was asked. */
function randomStreamId(): string {
  return Array.from({ length: 16 }, () => randomInt(36).toString(36)).join("");
}

/** Listens for agents as the config says. `port` is the one that was bound (config.listen.port may be 0 in tests). */
export async function startFleet(
  config: CoordinatorConfig,
  owner: FleetOwner,
  log: Logger,
): Promise<Fleet & { port: number }> {
  const agents = new Agents(owner, log);
  const listener = await listenForAgents({
    config,
    log,
    keysOf: (node) => owner.keysOf(node),
    onNode: (node, connection, destroy, key) =>
      agents.add(new NodeSession({ node, key }, connection, destroy, agents, log)),
  });
  log.info({ address: config.listen.address, port: listener.port }, "listening for agents");
  return {
    port: listener.port,
    tell: (node, message) => agents.tell(node, message),
    cut: (node, reason) => agents.cut(node, reason),
    makeKey: (node) => agents.makeKey(node),
    openLogStream: (node, uid, user, request) => agents.openLogStream(node, uid, user, request),
    openInspection: (node, request) => agents.openInspection(node, request),
    close: async () => {
      agents.closeAll();
      await listener.close();
    },
  };
}
