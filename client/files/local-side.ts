/**
 * This machine's files as one side of a copy. It does nothing but pass on calls, and makes errors say where. Called by
 * client/commands/cp.ts.
 */
import { createReadStream, createWriteStream, type Stats } from "node:fs";
import { chmod, lstat, mkdir, readdir, readlink, rename, stat, symlink, unlink, utimes } from "node:fs/promises";
import { resolve } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Side, SideStats } from "./copy.ts";

function statsOf(stats: Stats): SideStats {
  const type = stats.isFile() ? "file" : stats.isDirectory() ? "dir" : stats.isSymbolicLink() ? "link" : "other";
  return { type, mode: stats.mode & 0o777, size: stats.size, mtime: Math.floor(stats.mtimeMs / 1000) };
}

/** Relative paths start from `cwd`. `name` is put before paths in messages. */
export function localSide(cwd: string, name = ""): Side {
  const at = (path: string): string => resolve(cwd, path);
  const doing = async <T>(path: string, work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw new SkyError("ValueError", `${name}${path}: ${messageOf(error)}.`);
    }
  };
  const found = async (path: string, look: Promise<Stats>): Promise<SideStats | null> => {
    try {
      return statsOf(await look);
    } catch (error) {
      if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) {
        return null;
      }
      throw new SkyError("ValueError", `${name}${path}: ${messageOf(error)}.`);
    }
  };
  return {
    name,
    lstat: (path) => found(path, lstat(at(path))),
    stat: (path) => found(path, stat(at(path))),
    list: (path) => doing(path, readdir(at(path))),
    readlink: (path) => doing(path, readlink(at(path))),
    mkdir: (path, mode) => doing(path, mkdir(at(path), { mode })),
    symlink: (target, path) => doing(path, symlink(target, at(path))),
    chmod: (path, mode) => doing(path, chmod(at(path), mode)),
    setTime: (path, mtime) => doing(path, utimes(at(path), mtime, mtime)),
    rename: (from, to) => doing(to, rename(at(from), at(to))),
    unlink: (path) => doing(path, unlink(at(path))),
    read: (path) => createReadStream(at(path)),
    write: (path, mode) => createWriteStream(at(path), { flags: "wx", mode }),
  };
}
