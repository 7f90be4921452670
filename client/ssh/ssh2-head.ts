/**
 * The built-in transport: one SSH connection to the head by ssh2, through jump hosts where there are any, with a channel
 * to the coordinator's socket for each stream. ssh2 is loaded here, lazily, and nowhere else in the client. Called by
 * client/ssh/connect.ts only.
 */
import type { Duplex } from "node:stream";
import type { Client, ClientChannel, SFTPWrapper } from "ssh2";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { parseJumps } from "../local/jumps.ts";
import type { RegisteredCluster } from "../local/registered.ts";
import type { HeadConnection } from "./head.ts";
import { EarlySocket, reach } from "./dial.ts";
import { broken, noWayToSocket, notRunning, type Place, placeText } from "./faults.ts";
import { awaitMark, gateCommand, GateFailed, noSuchSocket, socketTestCommand, Tail } from "./gate-call.ts";
import { gateSocketFailed } from "./gate.ts";
import { connectClient, type Ssh2 } from "./handshake.ts";
import type { Ask } from "./host-key.ts";
import { resolveDestination } from "./resolve.ts";

const channelLimitMs = 15_000;
/** Throws SkyError("ConnectionError"). */
export async function connectBySsh2(cluster: RegisteredCluster, ask: Ask): Promise<HeadConnection> {
  const resolving = resolveDestination({
    host: cluster.headIp,
    user: cluster.user,
    port: cluster.port,
    identity: cluster.privateKey,
    jumps: cluster.jumpHost === null ? null : parseJumps(cluster.jumpHost),
    pinnedKey: cluster.hostKey,
  });
  resolving.catch(() => undefined);
  const guess: Place = { host: cluster.headIp, port: cluster.port ?? 22, user: cluster.user };
  const early = cluster.jumpHost === null ? new EarlySocket(guess) : null;
  const clients: Client[] = [];
  try {
    // Loading takes as long as the rest: meanwhile `ssh -G` runs, and sshd starts its process for us.
    const ssh2 = ((await import("ssh2")) as unknown as { default: Ssh2 }).default;
    const head = await resolving;
    let previous: Client | null = null;
    for (const jump of head.jumps) {
      const hop = await resolveDestination({ ...jump, identity: null, jumps: [], pinnedKey: null });
      if (cluster.privateKey !== null && !hop.identities.includes(cluster.privateKey)) {
        hop.identities.unshift(cluster.privateKey);
      }
      previous = await connectClient(ssh2, hop, await reach(hop, previous), ask);
      clients.push(previous);
    }
    const sock = previous === null ? early?.take(head) : undefined;
    const client = await connectClient(ssh2, head, await (sock ?? reach(head, previous)), ask);
    clients.push(client);
    return new Ssh2Head(cluster, head, clients);
  } catch (error) {
    endAll(clients);
    throw error;
  } finally {
    early?.drop();
  }
}

function endAll(clients: readonly Client[]): void {
  for (const client of [...clients].reverse()) {
    client.end();
  }
}

class Ssh2Head implements HeadConnection {
  readonly how: string;
  private readonly cluster: RegisteredCluster;
  private readonly place: Place;
  private readonly clients: readonly Client[];
  private readonly client: Client;
  /** sshd refused to forward once; it will not change its mind on this connection. */
  private forwardingRefused = false;
  private closed = false;
  private readonly acknowledge: (channel: ClientChannel) => void;

  constructor(cluster: RegisteredCluster, place: Place, clients: readonly Client[]) {
    this.cluster = cluster;
    this.place = place;
    this.clients = clients;
    this.client = clients.at(-1) as Client;
    this.how = `ssh ${placeText(place)}`;
    this.acknowledge = acknowledgeAtOnce(this.client);
    this.client.once("close", () => {
      this.closed = true;
    });
  }

  async openStream(): Promise<Duplex> {
    if (!this.forwardingRefused) {
      try {
        const channel = await this.channel((done) =>
          this.client.openssh_forwardOutStreamLocal(this.cluster.socket, done),
        );
        this.acknowledge(channel);
        return channel;
      } catch (error) {
        // sshd says the same for "forbidden" and for "nobody listens": the gate tells them apart.
        if (this.closed || error instanceof SkyError) {
          throw error instanceof SkyError ? error : broken(this.place, error);
        }
      }
    }
    const stream = await this.gate();
    this.forwardingRefused = true;
    return stream;
  }

  openSftp(): Promise<SFTPWrapper> {
    return this.opened<SFTPWrapper>((done) => this.client.sftp(done)).catch((error: unknown) => {
      const cause = new Error(`its sshd serves no files (SFTP): ${messageOf(error)}`);
      throw error instanceof SkyError ? error : broken(this.place, cause);
    });
  }

  close(): void {
    this.closed = true;
    endAll(this.clients);
  }

  private async gate(): Promise<Duplex> {
    const { gate, socket } = this.cluster;
    const channel = await this.exec(gateCommand(gate, socket));
    const stderr = new Tail(channel.stderr);
    const ended = exitOf(channel);
    try {
      await awaitMark(channel, ended);
      return channel;
    } catch (error) {
      channel.destroy();
      const code = error instanceof GateFailed ? error.code : null;
      const cause = stderr.lastLines() || messageOf(error);
      if (code === gateSocketFailed || (await this.exitCode(socketTestCommand(socket))) === noSuchSocket) {
        throw notRunning(this.place, socket, code === gateSocketFailed ? cause : "there is no such socket");
      }
      throw noWayToSocket(this.place, gate, cause);
    }
  }

  private async exec(command: string): Promise<ClientChannel> {
    try {
      return await this.channel((done) => this.client.exec(command, done));
    } catch (error) {
      throw error instanceof SkyError ? error : broken(this.place, error);
    }
  }

  private async exitCode(command: string): Promise<number | null> {
    const channel = await this.exec(command);
    channel.resume();
    channel.stderr.resume();
    return exitOf(channel);
  }

  private channel(
    open: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
  ): Promise<ClientChannel> {
    return this.opened(open);
  }

  /** What a channel gives, or an error, within the limit. */
  private opened<T>(open: (done: (error: Error | undefined, given: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(
        () => reject(broken(this.place, new Error("the server opens no channel in time"))),
        channelLimitMs,
      );
      try {
        open((error, given) => {
          clearTimeout(limit);
          if (error === undefined) {
            resolve(given);
          } else {
            reject(error);
          }
        });
      } catch (error) {
        clearTimeout(limit);
        reject(broken(this.place, error));
      }
    });
  }
}

/** Larger pieces are bulk: they fill packets, and those are acknowledged at once anyway. */
const smallPieceBytes = 1200;

/**
 * sshd leaves Nagle's algorithm on while a connection carries no session: it holds a small packet back until the one
 * before is acknowledged, and the kernel here delays that by 40 ms, at every answer. Sending anything acknowledges at
 * once; a window that grows by nothing is the smallest thing to send. It reaches into ssh2, whose version is pinned;
 * without that method answers are late, not wrong.
 */
function acknowledgeAtOnce(client: Client): (channel: ClientChannel) => void {
  const inner = client as unknown as {
    _sock?: Duplex;
    _protocol?: { channelWindowAdjust?(id: number, bytes: number): void };
  };
  const channels = new Set<{ outgoing?: { id: number; state: string } }>();
  inner._sock?.on("data", (piece: Buffer) => {
    if (piece.length <= smallPieceBytes) {
      const open = [...channels].find((channel) => channel.outgoing?.state === "open");
      if (open?.outgoing !== undefined) {
        inner._protocol?.channelWindowAdjust?.(open.outgoing.id, 0);
      }
    }
  });
  return (channel) => {
    const { outgoing } = channel as unknown as { outgoing?: { id: number; state: string } };
    const entry = outgoing === undefined ? {} : { outgoing };
    channels.add(entry);
    channel.once("close", () => channels.delete(entry));
  };
}

/** The exit code of a remote command, null when it was killed or the connection went away. */
function exitOf(channel: ClientChannel): Promise<number | null> {
  return new Promise((resolve) => {
    let exit: number | null = null;
    channel.on("exit", (code: number | null) => {
      exit = code;
    });
    channel.once("close", () => resolve(exit));
  });
}
