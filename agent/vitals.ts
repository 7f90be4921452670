/**
 * How the machine is: its clock, load, free memory and disk, told to the coordinator every half minute and once for each
 * new connection, and how busy its accelerators are. It measures nothing that costs much and decides nothing. Started by
 * agent/orders.ts.
 */
import { statfs } from "node:fs/promises";
import { freemem, loadavg, uptime } from "node:os";
import type { Vitals } from "../shared/agent-wire.ts";

const everyMs = 30_000;
const bytesPerGb = 1024 ** 3;

/** `folder` is where the agent's ledger lies; `skylets` how many are connected. */
export async function readVitals(folder: string, skylets: number, devices: Vitals["devices"]): Promise<Vitals> {
  const disk = await statfs(folder).catch(() => null);
  return {
    type: "vitals",
    clockMs: Date.now(),
    uptimeSeconds: uptime(),
    load1: loadavg()[0] ?? 0,
    memoryAvailableGb: freemem() / bytesPerGb,
    diskFreeGb: disk === null ? null : (disk.bavail * disk.bsize) / bytesPerGb,
    skylets,
    devices,
  };
}

export interface VitalsParts {
  folder: string;
  skylets(): number;
  /** How busy the accelerators are. */
  devices(): Promise<Vitals["devices"]>;
  /** The coordinator is connected and knows vitals. */
  wanted(): boolean;
  send(vitals: Vitals): void;
}

/** Tells them regularly until `stop`; `now` tells them at once. */
export function startVitals(parts: VitalsParts): { now(): void; stop(): void } {
  let isReading = false;
  const tell = async (): Promise<void> => {
    if (!parts.wanted()) {
      return;
    }
    if (isReading) {
      return;
    }
    isReading = true;
    const devices = await parts.devices().finally(() => {
      isReading = false;
    });
    const vitals = await readVitals(parts.folder, parts.skylets(), devices);
    if (parts.wanted()) {
      parts.send(vitals);
    }
  };
  const timer = setInterval(() => void tell(), everyMs);
  timer.unref();
  return { now: () => void tell(), stop: () => clearInterval(timer) };
}
