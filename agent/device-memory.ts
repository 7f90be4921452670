/**
 * The devices of this boot of the machine, in the state folder, so that a restart or an upgrade of the agent gives no
 * index another meaning while jobs hold it. After a restart of the machine nothing runs, and indices are given anew. A
 * file that cannot be read is as good as none. Called by agent/watch.ts.
 */
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { type SavedDevice, savedDeviceSchema } from "./devices.ts";

const fileSchema = z.strictObject({ bootId: z.string().max(64), devices: z.array(savedDeviceSchema).max(1024) });

function fileIn(stateDir: string): string {
  return join(stateDir, "devices.json");
}

/** Those of this boot; none on a new one. */
export async function readDevices(stateDir: string, bootId: string): Promise<SavedDevice[]> {
  try {
    const saved = fileSchema.parse(JSON.parse(await readFile(fileIn(stateDir), "utf8")));
    return saved.bootId === bootId ? saved.devices : [];
  } catch {
    return [];
  }
}

/** Replaces what was saved before, durably. */
export async function saveDevices(stateDir: string, bootId: string, devices: readonly SavedDevice[]): Promise<void> {
  const temporary = `${fileIn(stateDir)}.tmp`;
  await rm(temporary, { force: true });
  const handle = await open(temporary, "wx", 0o600);
  try {
    await handle.writeFile(JSON.stringify({ bootId, devices }));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, fileIn(stateDir));
}
