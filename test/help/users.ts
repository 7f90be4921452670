/**
 * Ordinary Unix users made for one test: an account, a home, bash, a key pair. Names are drawn so that runs side by side
 * do not meet. Removing a user ends that user's processes first, so it must never be given a name that was not made here.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must, run } from "./run.ts";
import { until } from "./until.ts";

export interface TestUser {
  name: string;
  uid: number;
  gid: number;
  home: string;
  /** The private key's path; its public part is in the user's authorized_keys. */
  key: string;
}

/**
 * Far from where the users of test/hosts' guests begin: their processes are seen from here too, and tests end all processes
 * of a user's uid.
 */
const ownIds = ["UID_MIN", "GID_MIN"].flatMap((key) => [
  "-K",
  `${key}=40000`,
  "-K",
  `${key.replace("MIN", "MAX")}=59999`,
]);
const namePattern = /^skytest[0-9a-f]{6}$/;

/** Makes an ordinary user with bash, a 0755 home and an SSH key. */
export async function makeUser(): Promise<TestUser> {
  const name = `skytest${randomBytes(3).toString("hex")}`;
  // "*" instead of "!": sshd refuses locked accounts where PAM is off.
  await must(["useradd", ...ownIds, "--create-home", "--shell", "/bin/bash", "--password", "*", name]);
  const entry = (await must(["getent", "passwd", name])).split(":");
  const user = { name, uid: Number(entry[2]), gid: Number(entry[3]), home: entry[5] ?? "" };
  const ssh = join(user.home, ".ssh");
  mkdirSync(ssh, { mode: 0o700 });
  const key = join(ssh, "id_ed25519");
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key]);
  writeFileSync(join(ssh, "authorized_keys"), readFileSync(`${key}.pub`), { mode: 0o600 });
  chmodSync(ssh, 0o700);
  for (const path of [ssh, key, `${key}.pub`, join(ssh, "authorized_keys")]) {
    chownSync(path, user.uid, user.gid);
  }
  return { ...user, key };
}

/** Pids of everything that runs as this uid. */
export function processesOf(uid: number): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    try {
      return /^[0-9]+$/.test(entry) && statSync(`/proc/${entry}`).uid === uid ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

/** Ends the user's processes and removes account, home and mail spool. */
export async function removeUser(user: TestUser): Promise<void> {
  if (!namePattern.test(user.name)) {
    throw new Error(`removeUser: '${user.name}' is not a test's user`);
  }
  await until(() => {
    const pids = processesOf(user.uid);
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone between the look and the signal.
      }
    }
    return pids.length === 0;
  }, `the end of ${user.name}'s processes`);
  await run(["userdel", "--force", "--remove", user.name]);
}

/** Gives a file in the user's home the user as owner. */
export function writeHomeFile(user: TestUser, path: string, text: string, mode = 0o644): string {
  const full = join(user.home, path);
  writeFileSync(full, text, { mode });
  chownSync(full, user.uid, user.gid);
  return full;
}
