/**
 * Accounts of this node and whether jobs may run as them. The name service is asked by children with a time limit (a
 * directory service may hang), and the answer is judged by this node's own root-owned config, whatever the coordinator
 * says. Each refusal is a text for the user. Called by agent/skylets.ts before a skylet is started.
 */
import type { Uid } from "../shared/ids.ts";
import { type Account, refusalOf } from "../shared/users-policy.ts";
import type { AgentConfig } from "./config.ts";
import { runTool, ToolFault } from "./spawn.ts";

const lookupLimitMs = 10_000;
const noLoginShells = new Set(["nologin", "false", "true", "sync", "halt", "shutdown"]);

/** This node will not run anything as that user, and why, for people. */
export class AccountRefused extends Error {
  override readonly name = "AccountRefused";
}

/** An account as one line of `getent passwd`; null when the line is not one. */
export function parsePasswd(line: string): Omit<Account, "groups"> | null {
  const [name, , uid, gid, , home, shell] = line.trimEnd().split(":");
  const numbers = [uid, gid].every((text) => text !== undefined && /^[0-9]{1,10}$/.test(text));
  if (name === undefined || name === "" || !numbers || home === undefined || shell === undefined) {
    return null;
  }
  return { name, uid: Number(uid), gid: Number(gid), home, shell };
}

/** The account with that name as this node's name service gives it; null when there is none. */
async function findAccount(name: string): Promise<Account | null> {
  const found = await runTool("getent", ["passwd", "--", name], lookupLimitMs);
  // 2: there is none. Anything else says nothing about the user.
  if (found.code !== 0 && found.code !== 2) {
    throw new ToolFault(`getent ended with exit code ${found.code}`, false);
  }
  const account = found.code === 0 ? parsePasswd(found.stdout.split("\n")[0] ?? "") : null;
  if (account === null || account.name !== name) {
    return null;
  }
  // Exit code 1 with output: some group has no name. Its number stands there instead.
  const groups = await runTool("id", ["-Gnz", "--", name], lookupLimitMs);
  return { ...account, groups: groups.stdout.split("\0").filter((group) => group !== "") };
}

/** The account as which this node may run what uid and user name; throws AccountRefused with the reason. */
export async function admitAccount(uid: Uid, user: string, config: AgentConfig): Promise<Account> {
  const account = await findAccount(user);
  const { node } = config;
  if (account === null) {
    const way = `Ask an admin to create it there with uid ${uid}.`;
    throw new AccountRefused(`user '${user}' (uid ${uid} on the head) has no account on node ${node}. ${way}`);
  }
  if (account.uid !== uid) {
    const way = "Ask an admin to give the user the same uid on every machine.";
    throw new AccountRefused(
      `user '${user}' has uid ${uid} on the head but uid ${account.uid} on node ${node}. ${way}`,
    );
  }
  if (config.single_user) {
    if (uid !== process.getuid?.()) {
      const text = `node ${node} runs jobs of uid ${process.getuid?.()} only (single_user in the agent's config)`;
      throw new AccountRefused(`${text}, not of user '${user}'.`);
    }
    return account;
  }
  const refusal = refusalOf(account, config.users);
  if (refusal !== null) {
    throw new AccountRefused(`node ${node}: ${refusal}`);
  }
  if (noLoginShells.has(account.shell.split("/").at(-1) ?? "")) {
    const way = "Ask an admin to give the account a login shell there.";
    throw new AccountRefused(`user '${user}' may not log in on node ${node}: the shell is ${account.shell}. ${way}`);
  }
  return account;
}

/** What of an account a running session has taken over; when it differs, a new session is needed. */
export function sessionTraits(account: Account): string {
  return JSON.stringify([account.gid, account.home, account.shell, [...account.groups].sort()]);
}
