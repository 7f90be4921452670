/**
 * The end of an attempt's container after a stop: its runner ends it too, but may have been killed before it could. A
 * container whose engine does not answer is not waited for for ever. Called by attempts.ts.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { attemptFiles } from "./runner-script.ts";

const limitMs = 60_000;

/** Without effect for an attempt that has none. */
export async function endContainer(folder: string): Promise<void> {
  const script = join(folder, attemptFiles.containerEnd);
  if (existsSync(script)) {
    await new Promise((resolve) => execFile("/bin/sh", [script], { timeout: limitMs }, resolve));
  }
}
