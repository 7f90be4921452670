/**
 * What goes wrong while files are brought, in words for the user: what, where, why, and what to do. Errors of the file
 * system are named by the path as the user knows it, never by the descriptor through which it was reached. Used by all of
 * this folder.
 */
import { hostname } from "node:os";
import { messageOf } from "../../../shared/errors.ts";

/** The message is one or two sentences for the setup log. */
export class FilesFault extends Error {
  override readonly name = "FilesFault";
}

const causes: Record<string, string> = {
  ENOSPC: "the disk is full. Free space there and launch again",
  EDQUOT: "the disk quota is used up. Free space there and launch again",
  EACCES: "permission denied. Take a place where the user may write",
  EPERM: "not permitted. Take a place where the user may write",
  EROFS: "the file system is read-only. Take another place",
  ENOTDIR: "a file stands where a folder is needed. Move it away and launch again",
  EISDIR: "a folder stands where a file is needed. Move it away and launch again",
  ENAMETOOLONG: "the name is too long for the file system there",
  ESTALE: "the file server has lost it (stale handle). Ask the machine's admin to mount it again",
  EIO: "input/output error. Ask the machine's admin to look at the disk",
  EMFILE: "the user's limit of open files is reached. Ask the machine's admin to raise it",
  EFBIG: "the file is larger than the file system or the user's limits take",
};

/** `doing`: e.g. `write ~/data/x`. What is a FilesFault already stays as it is. */
export function asFault(error: unknown, doing: string): FilesFault {
  if (error instanceof FilesFault) {
    return error;
  }
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return new FilesFault(`machine '${hostname()}': cannot ${doing}: ${causes[code] ?? messageOf(error)}.`);
}

/** A path of bytes (each character one byte) as it is shown. */
export function shown(path: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters must not reach a terminal
  return Buffer.from(path, "latin1")
    .toString("utf8")
    .replaceAll(/[\u0000-\u001F\u007F-\u009F]/gu, "?");
}
