/**
 * What the user's own git says about a folder. It asks with fixed arguments and reads only; where git is missing, slow or
 * refuses, the answer is that it does not know. Called by client/files/ignore-rules.ts.
 */
import { spawnSync } from "node:child_process";

const limitMs = 30_000;
const outputBytesMax = 256 * 1024 * 1024;

/** Without what a hook or an alias of git leaves behind: the question is about the folder, not about that repository. */
function cleanEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX)$/.test(name));
  return { ...Object.fromEntries(kept), GIT_OPTIONAL_LOCKS: "0", LC_ALL: "C" };
}

/**
 * Paths below `folder` that git ignores, as bytes in latin1; a folder that is ignored as a whole ends with `/` and
 * stands for all in it. Null: no repository, or no git. Files that git tracks are never among them.
 */
export function gitIgnored(folder: string): string[] | null {
  const found = spawnSync(
    "git",
    ["-C", folder, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"],
    {
      stdio: ["ignore", "pipe", "ignore"],
      timeout: limitMs,
      maxBuffer: outputBytesMax,
      env: cleanEnv(),
      windowsHide: true,
    },
  );
  if (found.status !== 0) {
    return null;
  }
  return found.stdout
    .toString("latin1")
    .split("\0")
    .filter((path) => path !== "");
}
