/**
 * The way to a cluster's head, as the user: the coordinator's socket itself on the head, else SSH by the transport that
 * the cluster's file names. Everything that can go wrong becomes a SkyError("ConnectionError") with a cause and a way
 * out. It never speaks HTTP; client/sdk does, over the streams. Called by client/main.ts, which loads it lazily.
 */
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { hostname, networkInterfaces, userInfo } from "node:os";
import type { Duplex } from "node:stream";
import { SkyError } from "../../shared/errors.ts";
import { type RegisteredCluster, requireFilledIn } from "../local/registered.ts";
import type { HeadConnection } from "./head.ts";
import type { Ask } from "./host-key.ts";

const localLimitMs = 10_000;

/** Throws SkyError("ConnectionError"), or "ValueError" when the cluster's file is not filled in. */
export async function connectHead(cluster: RegisteredCluster, ask: Ask): Promise<HeadConnection> {
  requireFilledIn(cluster);
  if (isHere(cluster)) {
    return localHead(cluster);
  }
  if (cluster.transport === "openssh") {
    const { OpenSshHead } = await import("./openssh-head.ts");
    const head = new OpenSshHead(cluster, ask);
    try {
      await head.connect();
    } catch (error) {
      head.close();
      throw error;
    }
    return head;
  }
  const { connectBySsh2 } = await import("./ssh2-head.ts");
  return connectBySsh2(cluster, ask);
}

/**
 * True when this machine is the head and this account is the one to be. A port of its own or a jump host means that the
 * address is only the near end of something else (a tunnel, a test's sshd).
 */
function isHere(cluster: RegisteredCluster): boolean {
  if (cluster.jumpHost !== null || (cluster.port ?? 22) !== 22) {
    return false;
  }
  return cluster.user === userInfo().username && isOwnAddress(cluster.headIp) && existsSync(cluster.socket);
}

function isOwnAddress(host: string): boolean {
  const name = host.toLowerCase();
  if (
    name === "localhost" ||
    name === "::1" ||
    /^127\.\d+\.\d+\.\d+$/.test(name) ||
    name === hostname().toLowerCase()
  ) {
    return true;
  }
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some((one) => one.address === name));
}

function localHead(cluster: RegisteredCluster): HeadConnection {
  const open = new Set<Duplex>();
  return {
    how: `the socket ${cluster.socket} on this machine`,
    isHere: true,
    async openStream() {
      const socket = connect({ path: cluster.socket, allowHalfOpen: true });
      open.add(socket);
      socket.once("close", () => open.delete(socket));
      const limit = setTimeout(() => socket.destroy(new Error("no answer")), localLimitMs);
      try {
        await new Promise<void>((resolve, reject) => {
          socket.once("connect", resolve);
          socket.once("error", reject);
        });
      } catch (error) {
        throw localFault(cluster, error as NodeJS.ErrnoException);
      } finally {
        clearTimeout(limit);
      }
      return socket;
    },
    close() {
      for (const socket of open) {
        socket.destroy();
      }
    },
  };
}

function localFault(cluster: RegisteredCluster, error: NodeJS.ErrnoException): SkyError {
  const cause =
    error.code === "EACCES"
      ? "you may not open it"
      : error.code === "ECONNREFUSED" || error.code === "ENOENT"
        ? "nobody listens there"
        : error.message;
  return new SkyError(
    "ConnectionError",
    `The coordinator of cluster '${cluster.name}' does not answer on this machine: ${cluster.socket}: ${cause}.`,
    "Start it: systemctl start sky-coordinator. Its log: journalctl -u sky-coordinator",
  );
}
