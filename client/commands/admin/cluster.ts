/**
 * Which cluster a verb of `sky admin` means: the one that is named, the only one that is registered, or, on the head
 * itself, the coordinator's socket without any registration. It must never use the network by itself: the calls connect
 * when they are made. Used by every verb that asks the coordinator.
 */
import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { SkyError } from "../../../shared/errors.ts";
import type { RegisteredCluster } from "../../local/registered.ts";
import { type AdminCalls, createAdminCalls } from "../../sdk/admin-calls.ts";
import type { Transport } from "../../sdk/transport.ts";
import { findLocal, listLocal, transportOf } from "../clusters.ts";
import { type Context, UsageError } from "../context.ts";

/** The socket of an installed coordinator. */
const installedSocket = "/run/sky-coordinator/api.sock";

/** Where it is, this machine is a head. */
const installedConfig = "/etc/sky-onprem/coordinator.yaml";

export interface ClusterFlags {
  cluster?: string;
  /** The coordinator's socket on this machine. */
  socket?: string;
}

/** What stands for a registration where there is only a socket. */
function bySocket(socket: string): RegisteredCluster {
  if (!existsSync(socket)) {
    throw new UsageError(
      `There is no socket ${socket} on this machine.`,
      "Run this on the cluster's head while its coordinator runs, or name a registered cluster with -c.",
    );
  }
  const nothing = { privateKey: null, port: null, jumpHost: null, hostKey: null };
  const host = { host: "localhost", user: null, port: null };
  return {
    ...{ name: "on this machine", file: socket, user: userInfo().username, hosts: [host], headIp: host.host },
    ...nothing,
    ...{ transport: "ssh2", socket, gate: "sky" },
  };
}

/** The cluster that is meant. Throws UsageError when that cannot be known. */
async function chosenCluster(context: Context, flags: ClusterFlags): Promise<RegisteredCluster> {
  if (flags.socket !== undefined) {
    if (flags.cluster !== undefined) {
      throw new UsageError("Give --cluster or --socket, not both.");
    }
    return bySocket(flags.socket);
  }
  if (flags.cluster !== undefined) {
    return findLocal(context, flags.cluster).registered;
  }
  const { clusters } = await listLocal(context);
  const [first, ...others] = clusters;
  if (others.length > 0) {
    const names = clusters.map((cluster) => cluster.name).join(", ");
    throw new UsageError(`Several clusters are registered: ${names}.`, "Name one with -c.");
  }
  if (first !== undefined) {
    return findLocal(context, first.name).registered;
  }
  if (existsSync(installedSocket)) {
    return bySocket(installedSocket);
  }
  if (existsSync(installedConfig)) {
    const text = "The coordinator of this head does not run.";
    throw new SkyError("ServerUnavailableError", text, "Start it: sudo systemctl start sky-coordinator");
  }
  const hint = "`sky status` says how to register one. On the cluster's head no registration is needed.";
  throw new UsageError("No cluster is registered, and this machine is no head of one.", hint);
}

/** The way to the cluster that is meant; `close` it. */
export async function transportTo(context: Context, flags: ClusterFlags): Promise<Transport> {
  const cluster = await chosenCluster(context, flags);
  return transportOf(context, cluster);
}

/** The admin's calls to the cluster that is meant; `close` them. */
export async function adminCallsTo(context: Context, flags: ClusterFlags): Promise<AdminCalls> {
  const { screen } = context;
  return createAdminCalls(await transportTo(context, flags), (text) => screen.note(screen.noteColors.yellow(text)));
}
