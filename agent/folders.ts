/**
 * The agent's own folders: that nobody else could have put anything there, where its socket lies, and a folder for each
 * user below the runtime folder. Root makes a user's folder in a parent that is root's alone and never looks inside it
 * afterwards. Called by agent/main.ts at start and by agent/skylet-starts.ts.
 */
import { chmod, lchown, lstat, mkdir, realpath } from "node:fs/promises";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { SkyError } from "../shared/errors.ts";
import type { Account } from "../shared/users-policy.ts";

/** The kernel's limit is 107; a margin stays for the words around it. */
const socketBytesMax = 100;

export function socketPathOf(runtimeDir: string): string {
  return join(runtimeDir, "agent.sock");
}

function unsafe(folder: string, part: string, why: string): never {
  const hint = `Run: chown root: ${part}; chmod go-w ${part} (or name another folder in the agent's config).`;
  throw new SkyError("ValueError", `The folder ${folder} is not safe to use: ${part} ${why}.`, hint);
}

/**
 * Makes the folder if need be and refuses it when anybody but `owner` (root, or the user of a single-user agent) could
 * replace it or write into it. Parents may also be root's, and others may write to a parent only when it is sticky.
 * Returns the path without symbolic links.
 */
export async function secureFolder(folder: string, owner: number, mode: number): Promise<string> {
  await mkdir(folder, { recursive: true, mode });
  const real = await realpath(folder);
  let part = real;
  for (;;) {
    const facts = await lstat(part);
    const ownersAllowed = part === real ? [owner] : [owner, 0];
    if (!facts.isDirectory()) {
      unsafe(folder, part, "is not a folder");
    }
    if (!ownersAllowed.includes(facts.uid)) {
      unsafe(folder, part, `belongs to uid ${facts.uid}`);
    }
    const othersMayWrite = (facts.mode & 0o022) !== 0;
    const isSticky = (facts.mode & 0o1000) !== 0;
    if (othersMayWrite && (part === real || !isSticky)) {
      unsafe(folder, part, "can be written by others");
    }
    if (part === "/") {
      break;
    }
    part = dirname(part);
  }
  await chmod(real, mode);
  return real;
}

/** Throws when the socket's path is longer than the kernel's limit allows. */
export function checkSocketPath(runtimeDir: string): void {
  const path = socketPathOf(runtimeDir);
  if (Buffer.byteLength(path) > socketBytesMax) {
    const text = `runtime_dir is too long: ${path} has more than ${socketBytesMax} bytes.`;
    throw new SkyError("ValueError", text, "Name a shorter folder in the agent's config.");
  }
}

/** Whether somebody accepts connections on this socket. */
export function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** `<runtime_dir>/<uid>`, the user's own with mode 0700. Its parent is root's, so nobody can have put a link there. */
export async function userFolder(runtimeDir: string, account: Account, asRoot: boolean): Promise<string> {
  const folder = join(runtimeDir, String(account.uid));
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw error;
    }
  }
  const facts = await lstat(folder);
  if (!facts.isDirectory()) {
    throw new Error(`${folder} is not a folder`);
  }
  if (asRoot && (facts.uid !== account.uid || facts.gid !== account.gid)) {
    await lchown(folder, account.uid, account.gid);
  }
  return folder;
}

/** The first part of the path that an ordinary user could not read; null when every user can. */
export async function unreadablePart(path: string): Promise<string | null> {
  const real = await realpath(path);
  if (((await lstat(real)).mode & 0o004) === 0) {
    return real;
  }
  for (let part = dirname(real); ; part = dirname(part)) {
    if (((await lstat(part)).mode & 0o001) === 0) {
      return part;
    }
    if (part === "/") {
      return null;
    }
  }
}
