/**
 * The end of an attempt's container after a stop: its runner ends it too, but may have been killed before it could. A
 * container whose engine does not answer is not waited for for ever, and what its engine complains of is told. Called by
 * attempts.ts.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { attemptFiles } from "./runner-script.ts";

const limitMs = 60_000;

/** Null: it is gone, or the attempt has none. Otherwise what is wrong, for people. */
export async function endContainer(folder: string): Promise<string | null> {
  const script = join(folder, attemptFiles.containerEnd);
  if (!existsSync(script)) {
    return null;
  }
  return new Promise((resolve) => {
    execFile("/bin/sh", [script], { timeout: limitMs, encoding: "utf8" }, (error, stdout) => {
      const late = `The job's container was not removed within ${limitMs / 1000} s.`;
      resolve(error === null ? null : stdout.trim() === "" ? late : stdout.trim());
    });
  });
}
