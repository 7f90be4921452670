/**
 * The coordinator's SSH listener for agents: who may connect, how often and for how long without proving it. A caller is
 * a node's name and that node's own key, nothing else; every other method, key or name is refused in the same way. It
 * must never look at what an authenticated node says: that is fleet.ts, its only caller.
 */
import { randomInt, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createServer, type Server as NetServer, type Socket } from "node:net";
import type { Logger } from "pino";
import ssh2 from "ssh2";
import type { AuthContext, Connection, ParsedKey, PublicKeyAuthContext } from "ssh2";
import { messageOf, SkyError } from "../shared/errors.ts";
import type { NodeName } from "../shared/ids.ts";
import { sshAlgorithms, sshKeyType } from "../shared/ssh-algorithms.ts";
import type { CoordinatorConfig } from "./config.ts";

/** Connections that have not proved who they are, from one address and in all. A whole dev-cluster shares one address. */
const waitingPerAddressMax = 64;
const waitingMax = 512;
const authenticationLimitMs = 10_000;
const refusalsMax = 6;
/** Warnings about strangers within a minute; what is beyond is only counted. */
const warningsPerMinute = 30;

export interface ListenOptions {
  config: CoordinatorConfig;
  log: Logger;
  /** Public keys, as configuredKeys() spells them, by which this node may connect now. */
  keysOf(node: NodeName): readonly string[];
  /**
   * Called once for each connection that has proved to be this node, with the key that proved it. `destroy` cuts it at
   * once, without waiting for the other end.
   */
  onNode(node: NodeName, connection: Connection, destroy: () => void, key: string): void;
}

export interface Listener {
  port: number;
  /** Cuts every connection and stops listening. */
  close(): Promise<void>;
}

/** The private host key; refuses one that others could read or that is not ed25519. */
async function readHostKey(file: string): Promise<Buffer> {
  const mode = (await stat(file).catch((error: unknown) => unreadable(file, error))).mode;
  if ((mode & 0o077) !== 0) {
    throw new SkyError("ValueError", `The host key ${file} can be read by others.`, `Run: chmod 600 ${file}`);
  }
  const text = await readFile(file).catch((error: unknown) => unreadable(file, error));
  const parsed = ssh2.utils.parseKey(text);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined || key instanceof Error || key.type !== sshKeyType || !key.isPrivateKey()) {
    const hint = `Make one with: ssh-keygen -t ed25519 -N '' -f ${file}`;
    throw new SkyError("ValueError", `The host key ${file} is not an ed25519 private key without a passphrase.`, hint);
  }
  return text;
}

function unreadable(file: string, error: unknown): never {
  throw new SkyError("ValueError", `The host key ${file} cannot be read: ${messageOf(error)}`);
}

function parsePublic(line: string): ParsedKey | null {
  const parsed = ssh2.utils.parseKey(line);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  return key === undefined || key instanceof Error || key.type !== sshKeyType ? null : key;
}

/** The nodes' keys as `ssh-ed25519 BASE64`. Throws a SkyError when one is not usable or two nodes have one name. */
export function configuredKeys(config: CoordinatorConfig): Map<NodeName, string> {
  const keys = new Map<NodeName, string>();
  for (const node of config.nodes) {
    const key = parsePublic(node.key);
    if (key === null) {
      const hint = `Give one line such as: ${sshKeyType} AAAA…`;
      throw new SkyError("ValueError", `The key of node '${node.name}' is not an ed25519 public key.`, hint);
    }
    if (keys.has(node.name)) {
      throw new SkyError("ValueError", `Two nodes are named '${node.name}'.`, "Give each node a name of its own.");
    }
    keys.set(node.name, `${sshKeyType} ${key.getPublicSSH().toString("base64")}`);
  }
  return keys;
}

/** True when the offered key is this one; takes the same time whichever byte differs. */
function sameKey(offered: Buffer, known: Buffer): boolean {
  return offered.length === known.length && timingSafeEqual(offered, known);
}

/** Whether this request proves, or (without a signature) could prove, that the caller is the node it names. */
function provesNode(context: PublicKeyAuthContext, known: ParsedKey | null): boolean {
  if (known === null || context.key.algo !== sshKeyType || !sameKey(context.key.data, known.getPublicSSH())) {
    return false;
  }
  if (context.signature === undefined) {
    return true;
  }
  if (context.blob === undefined) {
    return false;
  }
  // ssh2 returns an Error object for a signature that it cannot read; only `true` proves anything.
  const verified: unknown = known.verify(context.blob, context.signature, context.hashAlgo);
  return verified === true;
}

/** Limits and authentication of one listener. */
class Gate {
  private readonly options: ListenOptions;
  private readonly sockets = new Set<Socket>();
  /** Sockets that have not authenticated yet, by address and port as ssh2 reports them. */
  private readonly waiting = new Map<string, Socket>();
  private readonly waitingOf = new Map<string, number>();
  private warned = { since: 0, count: 0 };

  constructor(options: ListenOptions) {
    this.options = options;
  }

  /** False: the socket was refused and is gone. */
  admit(socket: Socket): boolean {
    const address = socket.remoteAddress ?? "";
    if ((this.waitingOf.get(address) ?? 0) >= waitingPerAddressMax) {
      this.dropOneOf(address);
    }
    if (this.waiting.size >= waitingMax) {
      this.warn({ address }, "too many connections that have not authenticated; refused one");
      socket.destroy();
      return false;
    }
    const count = this.waitingOf.get(address) ?? 0;
    const place = `${address}|${socket.remotePort}`;
    this.sockets.add(socket);
    this.waiting.set(place, socket);
    this.waitingOf.set(address, count + 1);
    const timer = setTimeout(() => {
      this.warn({ address }, "a connection did not authenticate in time");
      socket.destroy();
    }, authenticationLimitMs);
    const settle = (): void => {
      clearTimeout(timer);
      this.forget(place, address);
    };
    socket.once("authenticated", settle);
    socket.once("close", () => {
      settle();
      this.sockets.delete(socket);
    });
    socket.setNoDelay(true);
    return true;
  }

  /**
   * Makes room for a newcomer from this address. Any user's job on a node can hold connections from that node's address;
   * if the newcomer were refused, the node's own agent would stay out for as long as the job likes. Which one goes is
   * drawn, so that an agent that dials again and again gets through even while others dial faster.
   */
  private dropOneOf(address: string): void {
    this.warn({ address }, "too many connections that have not authenticated; dropped one");
    const own = [...this.waiting].filter(([place]) => place.startsWith(`${address}|`));
    const [place, socket] = own[randomInt(Math.max(1, own.length))] ?? [];
    if (place !== undefined && socket !== undefined) {
      this.forget(place, address);
      socket.destroy();
    }
  }

  /** The connection has authenticated or is gone. */
  private forget(place: string, address: string): void {
    if (!this.waiting.delete(place)) {
      return;
    }
    const left = (this.waitingOf.get(address) ?? 1) - 1;
    if (left > 0) {
      this.waitingOf.set(address, left);
    } else {
      this.waitingOf.delete(address);
    }
  }

  /** A connection that has sent its SSH identification. */
  greet(connection: Connection, address: string, port: number): void {
    const socket = this.waiting.get(`${address}|${port}`);
    connection.on("error", (error) => {
      if (socket !== undefined && this.waiting.has(`${address}|${port}`)) {
        this.warn({ address, error: messageOf(error).slice(0, 200) }, "a connection failed before it authenticated");
      }
      socket?.destroy();
    });
    if (socket === undefined) {
      connection.end();
      return;
    }
    let refusals = 0;
    let proved: { node: NodeName; key: string } | null = null;
    connection.on("authentication", (context: AuthContext) => {
      const key = context.method === "publickey" ? this.keyThatProves(context) : undefined;
      if (key !== undefined) {
        proved =
          context.method === "publickey" && context.signature !== undefined ? { node: context.username, key } : null;
        context.accept();
        return;
      }
      refusals += 1;
      if (context.method !== "none") {
        this.warn({ address, name: context.username.slice(0, 64) }, "refused: unknown node, or not its key");
      }
      context.reject(["publickey"]);
      if (refusals >= refusalsMax) {
        socket.destroy();
      }
    });
    connection.on("ready", () => {
      socket.emit("authenticated");
      if (proved === null) {
        socket.destroy();
        return;
      }
      this.options.onNode(proved.node, connection, () => socket.destroy(), proved.key);
    });
  }

  private keyThatProves(context: PublicKeyAuthContext): string | undefined {
    return this.options.keysOf(context.username).find((key) => provesNode(context, parsePublic(key)));
  }

  destroyAll(): void {
    for (const socket of this.sockets) {
      socket.destroy();
    }
  }

  private warn(fields: Record<string, string>, text: string): void {
    const now = performance.now();
    if (now - this.warned.since > 60_000) {
      if (this.warned.count > warningsPerMinute) {
        const hidden = this.warned.count - warningsPerMinute;
        this.options.log.warn({ hidden }, "more warnings about unauthenticated connections were left out");
      }
      this.warned = { since: now, count: 0 };
    }
    this.warned.count += 1;
    if (this.warned.count <= warningsPerMinute) {
      this.options.log.warn(fields, text);
    }
  }
}

function listening(server: NetServer, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const hint = "Another coordinator may be running, or listen.address is not an address of this machine.";
      reject(new SkyError("ValueError", `Cannot listen for agents on ${address} port ${port}: ${error.message}`, hint));
    });
    server.listen(port, address, () => {
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? bound.port : port);
    });
  });
}

/** Starts listening on `config.listen`; throws a SkyError when a key or the address is not usable. */
export async function listenForAgents(options: ListenOptions): Promise<Listener> {
  const { config } = options;
  const hostKey = await readHostKey(config.host_key);
  const gate = new Gate(options);
  const ssh = new ssh2.Server({
    hostKeys: [hostKey],
    algorithms: structuredClone(sshAlgorithms) as unknown as NonNullable<ssh2.ServerConfig["algorithms"]>,
    ident: "sky-onprem",
    keepaliveInterval: 5_000,
    keepaliveCountMax: 3,
  });
  ssh.on("connection", (connection, info) => gate.greet(connection, info.ip, info.port));
  // Sockets are accepted here and not by ssh2, which says nothing of a caller before it has sent its first line.
  const server = createServer((socket) => {
    if (gate.admit(socket)) {
      ssh.injectSocket(socket);
    }
  });
  const port = await listening(server, config.listen.address, config.listen.port);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        gate.destroyAll();
      }),
  };
}
