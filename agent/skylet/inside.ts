/**
 * What stands around a job's scripts when they may not see the machine as it is: volumes that may only be read are bound
 * read-only in a user and mount namespace of the scripts' own. Made without any privilege, as the user. The text is for
 * the runner; the check says whether the kernel allows it. Called by attempt-folder.ts and files/volume.ts.
 */
import { spawnSync } from "node:child_process";
import { shellQuoted } from "./environment.ts";

const checkLimitMs = 10_000;

/** Of a namespace's making: these paths can only be read in it. */
export function readOnlyLines(paths: readonly string[]): string {
  const mounts = paths.map((path) => {
    const quoted = shellQuoted(path, "The volume's path");
    return `mount --rbind ${quoted} ${quoted} && mount -o remount,bind,ro ${quoted} || exit 126`;
  });
  return mounts.join("\n");
}

/**
 * Two namespaces: in the outer one the user counts as root, so that mounts may be made; in the inner one the user is what
 * it was, so that the script sees its own name. The words after it are the command that runs inside.
 */
function readOnlyScript(paths: readonly string[], uid: number, gid: number): string {
  return `${readOnlyLines(paths)}\ncd . || exit 126\nexec unshare --user --map-user=${uid} --map-group=${gid} -- "$@"\n`;
}

function outer(script: string): string[] {
  return ["--user", "--map-root-user", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", script, "sh"];
}

/** Null: this path can be bound read-only for a job of this user. Otherwise why not. */
export function whyNotReadOnly(path: string): string | null {
  const script = readOnlyScript([path], process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  const { status, stderr } = spawnSync("unshare", [...outer(script), "true"], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: checkLimitMs,
    encoding: "utf8",
  });
  return status === 0
    ? null
    : `the kernel does not allow it (${(stderr ?? "").trim().split("\n")[0] ?? "no namespaces"})`;
}

/** A program for the runner (POSIX sh): its arguments are run where these paths can only be read. */
export function insideScript(paths: readonly string[], uid: number, gid: number): string {
  const words = outer(readOnlyScript(paths, uid, gid)).map((word) => shellQuoted(word, "The volume's path"));
  return `#!/bin/sh\n# Written by sky-skylet; see agent/skylet/inside.ts.\nexec unshare ${words.join(" ")} "$@"\n`;
}
