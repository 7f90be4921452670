/**
 * The names of files that are not whole yet. Each life of the coordinator has an ending of its own, so what an earlier
 * one left behind is told from what is being written now. Used by everything of this folder that writes.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder } from "../backup/files.ts";

const endingPattern = /\.[0-9a-f]{16}\.tmp$/;
/** What follows the name of a file that this process is writing. */
export const temporaryEnding = `.${randomBytes(8).toString("hex")}.tmp`;

/** The names in a folder; what an earlier life left unfinished is removed. None when there is no folder. */
export async function wholeNames(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") {
      return [];
    }
    throw error;
  });
  const whole: string[] = [];
  for (const name of names) {
    if (!endingPattern.test(name)) {
      whole.push(name);
    } else if (!name.endsWith(temporaryEnding)) {
      await rm(join(folder, name), { force: true });
    }
  }
  return whole;
}

/** Makes a folder two levels below that of all uploads; it is there after a power cut, too. */
export async function makeFolder(path: string): Promise<void> {
  if ((await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined) {
    const [own, all] = [dirname(path), dirname(dirname(path))];
    for (const folder of [own, all, dirname(all)]) {
      await syncFolder(folder);
    }
  }
}
