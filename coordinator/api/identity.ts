/**
 * Who is at the other end: the account that belongs to the uid that the kernel gave for a connection, and what it may
 * do. It must never take a uid from a header or a body: text can be forged. Called by server.ts, and by every route
 * through the identity it declares.
 */
import { SkyError, messageOf } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";
import type { Account, UsersPolicy } from "../../shared/users-policy.ts";
import { refusalOf } from "../../shared/users-policy.ts";
import type { Accounts } from "../parts.ts";

/** What is known of a connection from the moment it was accepted. `refusal` is the status that all its requests get. */
export interface Peer {
  uid: Uid;
  refusal: 429 | 503 | null;
}

/** The account of a uid. Throws PermissionDeniedError when there is none, ServerUnavailableError when nobody can say. */
export async function accountOf(uid: Uid, accounts: Accounts, anew?: "anew"): Promise<Account> {
  let account: Account | null;
  try {
    account = await accounts.byUid(uid, anew);
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

/** Throws PermissionDeniedError, which names the group, when this account is no admin. */
function requireAdmin(account: Account, adminGroup: string): void {
  if (!isAdmin(account, adminGroup)) {
    throw new SkyError(
      "PermissionDeniedError",
      `Only members of the group '${adminGroup}' on the head machine may do this; user '${account.name}' is not one.`,
      `If you should be, somebody with root on the head runs: usermod -aG ${adminGroup} ${account.name}`,
    );
  }
}

/**
 * As requireAdmin, with the groups that the account has at this moment: a kept answer would leave somebody who was taken
 * out of the group an admin for half a minute. Only those who are admins by it cause a question to the name service.
 */
export async function requireAdminNow(account: Account, adminGroup: string, accounts: Accounts): Promise<void> {
  requireAdmin(account, adminGroup);
  if (account.uid !== 0) {
    requireAdmin(await accountOf(account.uid, accounts, "anew"), adminGroup);
  }
}

/** Root, and members of the group that the config names. */
export function isAdmin(account: Account, adminGroup: string): boolean {
  return account.uid === 0 || account.groups.includes(adminGroup);
}
