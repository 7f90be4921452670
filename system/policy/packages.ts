/**
 * Where the code of admin policies may come from: one folder, in which nobody may write but those who are named. It finds
 * a module there and refuses a folder that others could change; it must never run or read the code. Called before a
 * worker is started (worker-process.ts) and when the coordinator starts.
 */
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, sep } from "node:path";
import { SkyError } from "../../shared/errors.ts";

/** Files and folders in a folder of packages: more are a mistake, and looking at them all takes too long. */
const entriesMax = 100_000;
const endings = ["", ".ts", ".mts", ".mjs", ".js", ".cjs", "/index.ts", "/index.mjs", "/index.js"];

/** `owners`: uids whose files may be run; root's always. */
export interface PackagesFolder {
  path: string;
  owners: readonly number[];
}

function refusal(path: string, why: string, folder: PackagesFolder): SkyError {
  return new SkyError(
    "InvalidPolicyError",
    `Admin policies in ${folder.path} are not run: ${path} ${why}, so others could put their code into it.`,
    `Give the folder and all that is in it to its owner alone: chmod -R go-w ${folder.path}`,
  );
}

function checkOwner(path: string, { uid, mode }: { uid: number; mode: number }, folder: PackagesFolder): void {
  if (uid !== 0 && !folder.owners.includes(uid)) {
    throw refusal(path, `belongs to the account with uid ${uid}`, folder);
  }
  if ((mode & 0o022) !== 0) {
    throw refusal(path, "can be written to by a group or by everybody", folder);
  }
}

/** Whoever may write above the folder can exchange it. A folder such as /tmp keeps others' entries safe. */
async function checkParents(path: string, folder: PackagesFolder): Promise<void> {
  for (let parent = dirname(path); ; parent = dirname(parent)) {
    const found = await stat(parent);
    const isSticky = (found.mode & 0o1000) !== 0;
    checkOwner(parent, isSticky ? { uid: found.uid, mode: 0 } : found, folder);
    if (parent === dirname(parent)) {
      return;
    }
  }
}

async function checkEntry(path: string, root: string, folder: PackagesFolder): Promise<"folder" | "other"> {
  const found = await lstat(path);
  if (found.isSymbolicLink()) {
    const target = await realpath(path).catch(() => null);
    if (target !== null && target !== root && !target.startsWith(root + sep)) {
      throw refusal(path, `is a link to ${target}, which lies elsewhere`, folder);
    }
    return "other";
  }
  checkOwner(path, found, folder);
  return found.isDirectory() ? "folder" : "other";
}

/**
 * Throws SkyError("InvalidPolicyError") naming the first path that somebody else could change. Resolves with the folder's
 * real path, or null where there is no such folder.
 */
export async function requireOwn(folder: PackagesFolder): Promise<string | null> {
  const root = await realpath(folder.path).catch(() => null);
  if (root === null) {
    return null;
  }
  await checkParents(root, folder);
  const waiting = [root];
  for (let seen = 0; ; seen += 1) {
    const path = waiting.pop();
    if (path === undefined) {
      return root;
    }
    if (seen > entriesMax) {
      throw refusal(root, `holds more than ${entriesMax} files, which cannot be looked through`, folder);
    }
    if ((await checkEntry(path, root, folder)) === "folder") {
      waiting.push(...(await readdir(path)).map((name) => join(path, name)));
    }
  }
}

/** What the package itself names as its entry. */
async function entryOf(root: string, module: string): Promise<string | null> {
  try {
    const path = await realpath(createRequire(join(root, "policies.js")).resolve(module));
    return path.startsWith(root + sep) ? path : null;
  } catch {
    return null;
  }
}

/** The file of a module below `node_modules` of the folder, or in the folder itself; null: there is none. */
export async function moduleFile(root: string, module: string): Promise<string | null> {
  for (const folder of [join(root, "node_modules"), root]) {
    for (const ending of endings) {
      const path = join(folder, module + ending);
      const found = await stat(path).catch(() => null);
      if (found?.isFile() === true) {
        return path;
      }
    }
  }
  return entryOf(root, module);
}
