/**
 * How the machine is: its clock, load, free memory and disk, told to the coordinator every half minute and once for each
 * new connection. It measures nothing that costs anything and decides nothing. Started by agent/agent.ts.
 */
import { statfs } from "node:fs/promises";
import { freemem, loadavg, uptime } from "node:os";
import type { Vitals } from "../shared/agent-wire.ts";

const everyMs = 30_000;
const bytesPerGb = 1024 ** 3;

/** `folder` is where the agent's ledger lies; `skylets` how many are connected. */
export async function readVitals(folder: string, skylets: number): Promise<Vitals> {
  const disk = await statfs(folder).catch(() => null);
  return {
    type: "vitals",
    clockMs: Date.now(),
    uptimeSeconds: uptime(),
    load1: loadavg()[0] ?? 0,
    memoryAvailableGb: freemem() / bytesPerGb,
    diskFreeGb: disk === null ? null : (disk.bavail * disk.bsize) / bytesPerGb,
    skylets,
  };
}

export interface VitalsParts {
  folder: string;
  skylets(): number;
  /** The coordinator is connected and knows vitals. */
  wanted(): boolean;
  send(vitals: Vitals): void;
}

/** Tells them regularly until `stop`; `now` tells them at once. */
export function startVitals(parts: VitalsParts): { now(): void; stop(): void } {
  const tell = async (): Promise<void> => {
    if (!parts.wanted()) {
      return;
    }
    const vitals = await readVitals(parts.folder, parts.skylets());
    if (parts.wanted()) {
      parts.send(vitals);
    }
  };
  const timer = setInterval(() => void tell(), everyMs);
  timer.unref();
  return { now: () => void tell(), stop: () => clearInterval(timer) };
}
