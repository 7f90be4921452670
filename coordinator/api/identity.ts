/**
 * Who is at the other end: the kernel's answer (SO_PEERCRED) for an accepted unix socket, and the account that belongs
 * to it. It must never take a uid from a header, a body or the peer's pid: pids are reused, and text can be forged.
 * Called by server.ts in http's `connection` event, and by every route through the identity it declares.
 */
import type { Socket } from "node:net";
import koffi from "koffi";
import { SkyError, messageOf } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";
import { uidSchema } from "../../shared/ids.ts";
import type { Account, UsersPolicy } from "../../shared/users-policy.ts";
import { refusalOf } from "../../shared/users-policy.ts";
import type { Accounts } from "../parts.ts";

/** Linux: SOL_SOCKET, SO_PEERCRED and sizeof(struct ucred) = pid, uid, gid of 4 bytes each. */
const solSocket = 1;
const soPeercred = 17;
const ucredBytes = 12;
const ucredUidOffset = 4;

/** null looks the function up in the running program, so that no C library has to be named. */
const getsockopt = koffi
  .load(null)
  .func("int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *length)");

/**
 * The uid of the process that opened the connection, or null when the kernel does not say. Read it at once, in the
 * `connection` event. The buffer is fresh on each call: a reused one would keep the last caller's uid when a call fails.
 */
export function peerUid(socket: Socket): Uid | null {
  const descriptor = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  if (descriptor === undefined || descriptor < 0) {
    return null;
  }
  const credentials = Buffer.alloc(ucredBytes);
  const length = [ucredBytes];
  const result: unknown = getsockopt(descriptor, solSocket, soPeercred, credentials, length);
  if (result !== 0 || length[0] !== ucredBytes) {
    return null;
  }
  const uid = uidSchema.safeParse(credentials.readUInt32LE(ucredUidOffset));
  return uid.success ? uid.data : null;
}

/** What is known of a connection from the moment it was accepted. `refusal` is the status that all its requests get. */
export interface Peer {
  uid: Uid;
  refusal: 429 | 503 | null;
}

/** The account of a uid. Throws PermissionDeniedError when there is none, ServerUnavailableError when nobody can say. */
export async function accountOf(uid: Uid, accounts: Accounts): Promise<Account> {
  let account: Account | null;
  try {
    account = await accounts.byUid(uid);
  } catch (error) {
    throw new SkyError(
      "ServerUnavailableError",
      `The head machine's name service did not say who uid ${uid} is: ${messageOf(error)}`,
      `Try again; an admin can check \`getent passwd ${uid}\` on the head.`,
    );
  }
  if (account === null) {
    throw new SkyError(
      "PermissionDeniedError",
      `Uid ${uid} has no account on the head machine.`,
      `An admin can check \`getent passwd ${uid}\` on the head.`,
    );
  }
  if (account.uid !== uid) {
    throw new SkyError(
      "PermissionDeniedError",
      `The name service gave an account of uid ${account.uid} for uid ${uid}.`,
    );
  }
  return account;
}

/** Throws PermissionDeniedError when the policy does not let this account run jobs. */
export function requireJobUser(account: Account, policy: UsersPolicy): void {
  const refusal = refusalOf(account, policy);
  if (refusal !== null) {
    throw new SkyError("PermissionDeniedError", refusal);
  }
}

/** Root, and members of the group that the config names. */
export function isAdmin(account: Account, adminGroup: string): boolean {
  return account.uid === 0 || account.groups.includes(adminGroup);
}
