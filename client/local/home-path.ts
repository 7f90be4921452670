/**
 * Paths that a person has written with `~`, on whatever system the client runs: on Windows `~\` and backslashes too. The
 * rules of the other systems are parameters, so that each can be tried anywhere. Pure; it must never look at a disk. Used
 * for cluster files and for what a task brings along.
 */
import native, { type PlatformPath } from "node:path";

/** The path with `~` and `~/…` put into `home`; `~name` is a name like any other. `rules`: this system's by default. */
export function expandHome(path: string, home: string, rules: PlatformPath = native): string {
  const isInHome = path.startsWith("~/") || (rules.sep === "\\" && path.startsWith("~\\"));
  return path === "~" || isInHome ? rules.join(home, path.slice(1)) : path;
}

/** The absolute path of what was written in `folder`. */
export function absolutePath(path: string, folder: string, home: string, rules: PlatformPath = native): string {
  return rules.resolve(folder, expandHome(path, home, rules));
}
