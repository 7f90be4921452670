/**
 * What is said when a head cannot be reached: one sentence with the machine, the user and the cause, and one thing to do.
 * Pure. Called by the transports in client/ssh; it must never show a key's contents or a passphrase.
 */
import { messageOf, SkyError, type SkyErrorType } from "../../shared/errors.ts";

/** The machine and account that a message is about. */
export interface Place {
  host: string;
  port: number;
  user: string;
}

export function placeText(place: Place): string {
  return `${place.user}@${place.host}:${place.port}`;
}

function tryByHand(place: Place): string {
  return `Try by hand: ssh ${place.port === 22 ? "" : `-p ${place.port} `}${place.user}@${place.host} true`;
}

/** The TCP connection could not be made. */
export function unreachable(place: Place, error: unknown): SkyError {
  const code = (error as NodeJS.ErrnoException | null)?.code ?? "";
  const where = `${place.host}:${place.port}`;
  switch (code) {
    case "ECONNREFUSED":
      return fault(
        place,
        `nothing listens on ${where} (connection refused)`,
        "Check the address and auth.port in the cluster's file, and that sshd runs there.",
      );
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "ENODATA":
      return fault(
        place,
        `the name ${place.host} cannot be resolved (${code})`,
        `Check cluster.ips in the cluster's file. Try: getent hosts ${place.host}`,
      );
    case "ETIMEDOUT":
      return fault(
        place,
        `${where} does not answer (time limit passed)`,
        "Check the network, VPN and firewall, or set auth.jump_host.",
      );
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return fault(
        place,
        `there is no route to ${where} (${code})`,
        "Check the network and VPN, or set auth.jump_host.",
      );
    default:
      return fault(place, messageOf(error), tryByHand(place));
  }
}

/** The server did not accept any of the keys. `tried` names them; `asks` is what the server would still take. */
export function permissionDenied(place: Place, tried: readonly string[], asks: readonly string[]): SkyError {
  const keys = tried.length === 0 ? "no key was found" : `tried ${tried.join(", ")}`;
  const others = asks.filter((method) => method !== "publickey");
  const wants = asks.length > 0 && !asks.includes("publickey") ? ` The server asks for ${others.join(", ")}.` : "";
  const hint =
    wants === ""
      ? `The key or the account '${place.user}' is not known there. Ask the admin, or: ssh-copy-id ${place.port === 22 ? "" : `-p ${place.port} `}${place.user}@${place.host}`
      : "Write `transport: openssh` in the cluster's file, which can answer that.";
  return fault(place, `permission denied (${keys}).${wants}`, hint);
}

/** The connection broke during the handshake or later. */
export function broken(place: Place, error: unknown): SkyError {
  return fault(place, messageOf(error), tryByHand(place));
}

/** The head was reached, but not the coordinator's socket. */
export function notRunning(place: Place, socket: string, cause: string): SkyError {
  return fault(
    place,
    `the head was reached, but no coordinator answers at ${socket} (${cause})`,
    "Ask the admin to start it: systemctl start sky-coordinator. Or correct coordinator.socket in the cluster's file.",
  );
}

/** sshd forwards no streams, and the program that would stand in for it cannot be run. */
export function noWayToSocket(place: Place, gate: string, cause: string): SkyError {
  return fault(
    place,
    `sshd there forbids stream forwarding, and '${gate}' cannot be run instead (${cause})`,
    "Ask the admin for AllowStreamLocalForwarding yes in sshd_config, or set coordinator.gate in the cluster's file to the path of sky on the head.",
    "NotSupportedError",
  );
}

/** The ssh program logged in, but the head has no gate to run. */
export function noGate(place: Place, gate: string, cause: string): SkyError {
  return fault(
    place,
    `the head was reached, but '${gate}' cannot be run there (${cause})`,
    "Set coordinator.gate in the cluster's file to the path of sky on the head.",
    "NotSupportedError",
  );
}

function fault(place: Place, cause: string, hint: string, type: SkyErrorType = "ConnectionError"): SkyError {
  const end = cause.endsWith(".") ? "" : ".";
  return new SkyError(type, `Cannot connect to ${placeText(place)}: ${cause}${end}`, hint);
}
