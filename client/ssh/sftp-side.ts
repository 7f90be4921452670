/**
 * The caller's files on the cluster as one side of a copy, over SFTP: the user's own login, with the user's own rights.
 * Relative paths start from the home, where SFTP begins. Called by client/commands/cp.ts.
 */
import type { FileEntryWithStats, SFTPWrapper, Stats } from "ssh2";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Side, SideStats } from "../files/copy.ts";

/** SFTP's own number for "there is no such file". */
const noSuchFile = 2;

function statsOf(stats: Stats): SideStats {
  const type = stats.isFile() ? "file" : stats.isDirectory() ? "dir" : stats.isSymbolicLink() ? "link" : "other";
  return { type, mode: stats.mode & 0o777, size: stats.size, mtime: stats.mtime };
}

/** `name` is put before paths in messages. */
export function sftpSide(sftp: SFTPWrapper, name: string): Side {
  const call = <T>(
    path: string,
    work: (done: (error: Error | null | undefined, value: T) => void) => void,
  ): Promise<T> =>
    new Promise((resolve, reject) => {
      const fail = (error: unknown): void =>
        reject(Object.assign(new SkyError("ValueError", `${name}${path}: ${messageOf(error)}.`), { cause: error }));
      try {
        work((error, value) => (error === null || error === undefined ? resolve(value) : fail(error)));
      } catch (error) {
        fail(error);
      }
    });
  const done = (path: string, work: (done: (error: Error | null | undefined) => void) => void): Promise<void> =>
    call<void>(path, (finish) => work((error) => finish(error, undefined)));
  const found = async (
    path: string,
    look: (done: (error: Error | undefined, stats: Stats) => void) => void,
  ): Promise<SideStats | null> => {
    try {
      return statsOf(await call<Stats>(path, look));
    } catch (error) {
      const cause = (error as { cause?: { code?: unknown } }).cause;
      if (cause?.code === noSuchFile) {
        return null;
      }
      throw error;
    }
  };
  return {
    name,
    lstat: (path) => found(path, (finish) => sftp.lstat(path, finish)),
    stat: (path) => found(path, (finish) => sftp.stat(path, finish)),
    async list(path) {
      const entries = await call<FileEntryWithStats[]>(path, (finish) => sftp.readdir(path, finish));
      return entries.map(({ filename }) => filename).filter((one) => one !== "." && one !== "..");
    },
    readlink: (path) => call<string>(path, (finish) => sftp.readlink(path, finish)),
    async mkdir(path, mode) {
      await done(path, (finish) => sftp.mkdir(path, { mode }, finish));
      // Servers take the umask off, and some ignore the mode.
      await done(path, (finish) => sftp.chmod(path, mode & 0o755, finish));
    },
    symlink: (target, path) => done(path, (finish) => sftp.symlink(target, path, finish)),
    chmod: (path, mode) => done(path, (finish) => sftp.chmod(path, mode, finish)),
    setTime: (path, mtime) => done(path, (finish) => sftp.utimes(path, mtime, mtime, finish)),
    async rename(from, to) {
      // SFTP's own rename fails when the target is there; OpenSSH's takes its place.
      await done(to, (finish) => sftp.ext_openssh_rename(from, to, finish));
    },
    unlink: (path) => done(path, (finish) => sftp.unlink(path, finish)),
    read: (path) => sftp.createReadStream(path),
    write: (path, mode) => sftp.createWriteStream(path, { flags: "wx", mode }),
  };
}
