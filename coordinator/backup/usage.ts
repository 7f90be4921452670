/**
 * The usage history in a restore: staged beside the present one and brought to its place with the key files. A present
 * history that goes on from the backup's stays, since it knows more. It must never change or remove the present one:
 * what is replaced is set aside. Used by put-back.ts and marks.ts.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, open, rename } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { CoordinatorConfig } from "../config.ts";
import { usageFolder } from "../usage-files.ts";
import type { Archive, UsagePart } from "./archive.ts";
import { syncFolder } from "./files.ts";

/** What the staged history needs on the disk. */
export function usageBytes(archive: Archive): number {
  return archive.usageParts().reduce((sum, [, part]) => sum + part.bytes, 0);
}

/** Writes the backup's history into the work folder, unless the present one begins with all of it. */
export async function stageUsage(config: CoordinatorConfig, archive: Archive, work: string): Promise<void> {
  const parts = archive.usageParts();
  if (await beginsWith(join(config.state_dir, usageFolder), parts)) {
    return;
  }
  const staged = join(work, usageFolder);
  await mkdir(staged, { mode: 0o700 });
  for (const [name] of parts) {
    const file = await open(join(staged, basename(name)), "wx", 0o600);
    try {
      await archive.copy(name, file);
    } finally {
      await file.close();
    }
  }
  await syncFolder(staged);
  await syncFolder(work);
}

async function beginsWith(
  folder: string,
  parts: readonly [UsagePart, { bytes: number; sha256: string }][],
): Promise<boolean> {
  for (const [name, { bytes, sha256 }] of parts) {
    const path = join(folder, basename(name));
    if (!existsSync(path) || (bytes > 0 && (await beginHash(path, bytes)) !== sha256)) {
      return false;
    }
  }
  return true;
}

async function beginHash(path: string, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { end: bytes - 1 })) {
    hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}

/** Brings the staged history to its place; the present one goes into `aside`. Doing it again after a crash goes on. */
export async function completeUsage(config: CoordinatorConfig, work: string, aside: string): Promise<void> {
  const staged = join(work, usageFolder);
  const present = join(config.state_dir, usageFolder);
  if (!existsSync(staged)) {
    return;
  }
  if (existsSync(present)) {
    await mkdir(aside, { recursive: true, mode: 0o700 });
    await rename(present, join(aside, usageFolder));
    await syncFolder(aside);
  }
  await rename(staged, present);
  await syncFolder(dirname(present));
}
