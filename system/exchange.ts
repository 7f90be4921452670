/**
 * Two files or folders change their names in one step, so that at every moment both names stand for something whole. The
 * kernel's renameat2 does that and Node has no call for it. It must never fall back to two renames: between them a name
 * would be missing. Used by coordinator/backup.
 */
import koffi from "koffi";
import { SkyError } from "../shared/errors.ts";

/** Linux: AT_FDCWD and RENAME_EXCHANGE. */
const currentFolder = -100;
const exchangeFlag = 2;

/** Both must exist, on one file system. Throws SkyError when the kernel or the file system cannot do it. */
export function exchange(one: string, other: string): void {
  const renameat2 = koffi.load(null).func("int renameat2(int, const char *, int, const char *, unsigned int)");
  const result: unknown = renameat2(currentFolder, one, currentFolder, other, exchangeFlag);
  if (result !== 0) {
    throw new SkyError(
      "InternalError",
      `${one} and ${other} cannot be exchanged in one step (error ${koffi.errno()}).`,
      `Nothing was changed. Stop Redis, move ${other} away yourself, and try again.`,
    );
  }
}
