/**
 * What this machine has: CPUs, memory, operating system, disks, address; and what the config declares instead. It
 * decides nothing: a node that mixes kinds of accelerators is reported as such with a warning, and the core judges.
 * Accelerators are added by agent/watch.ts, which also looks again. Called by agent/agent.ts at start.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, hostname, release, totalmem } from "node:os";
import * as z from "zod";
import { canonicalKind } from "../shared/accelerators.ts";
import { type Accelerator, acceleratorSchema, type Inventory } from "../shared/agent-wire.ts";
import { SkyError } from "../shared/errors.ts";
import { plainText } from "./accelerators/found.ts";
import type { AgentConfig } from "./config.ts";
import { containerPrograms } from "./containers.ts";
import { runTool } from "./spawn.ts";

const hardwareLimitMs = 10_000;
const disksMax = 50;
/** The first that is there says what system this is. */
const releaseFiles = ["/etc/os-release", "/usr/lib/os-release"];

export interface Found {
  inventory: Inventory;
  warnings: string[];
}

/** `V100:4,T4:1` or `-` as devices numbered from 0. Throws a SkyError when it is neither. */
export function declaredAccelerators(text: string): Accelerator[] {
  const trimmed = text.trim();
  if (trimmed === "-" || trimmed === "") {
    return [];
  }
  const devices: Accelerator[] = [];
  for (const part of trimmed.split(",")) {
    const match = /^\s*([^:\s]+)(?::([0-9]{1,4}))?\s*$/.exec(part);
    const count = Number(match?.[2] ?? "1");
    const kind = acceleratorSchema.shape.kind.safeParse(canonicalKind(match?.[1] ?? ""));
    if (!kind.success || count < 1 || devices.length + count > 1024) {
      const hint = "Write for example V100:4 or V100:4,T4:1, or - for none.";
      throw new SkyError("ValueError", `accelerators: '${part.trim().slice(0, 80)}' is not a kind and a count.`, hint);
    }
    for (let at = 0; at < count; at += 1) {
      devices.push({ index: devices.length, kind: kind.data, memoryMb: null });
    }
  }
  return devices;
}

/** A node that mixes kinds takes accelerator jobs only when its admin says so; null: it does not mix them. */
export function mixedWarning(config: AgentConfig, accelerators: readonly Accelerator[]): string | null {
  const kinds = [...new Map(accelerators.map(({ kind }) => [kind.toUpperCase(), kind])).values()];
  if (kinds.length < 2) {
    return null;
  }
  const consequence = config.mixed_accelerators
    ? "mixed_accelerators allows accelerator jobs, each with the kind that it asks for."
    : "it takes no accelerator jobs unless its config says mixed_accelerators: true.";
  return `Node ${config.node} mixes accelerators (${kinds.slice(0, 8).join(", ")}): ${consequence}`;
}

/** `Debian GNU/Linux 12 (bookworm), Linux 6.1.0`. */
async function systemText(): Promise<string> {
  for (const file of releaseFiles) {
    const text = await readFile(file, "utf8").catch(() => "");
    const name = /^PRETTY_NAME="?([^"\n]{1,150})"?$/m.exec(text)?.[1];
    if (name !== undefined) {
      return plainText(`${name}, Linux ${release()}`);
    }
  }
  return plainText(`Linux ${release()}`);
}

const hardwareSchema = z.object({
  cpuModel: z.string(),
  disks: z.array(z.object({ mount: z.string(), sizeGb: z.number().min(0).max(1e9) })),
});

/** What sky-hardware (agent/hardware.ts) says; null: there is no such program here, or it was late or broken. */
async function askHardware(program: string | null): Promise<z.infer<typeof hardwareSchema> | null> {
  if (program === null) {
    return null;
  }
  try {
    const answer = await runTool(process.execPath, [program], hardwareLimitMs);
    return hardwareSchema.parse(JSON.parse(answer.stdout));
  } catch {
    return null;
  }
}

/** The inventory with these programs in the place of those that it had. */
export function withContainers(inventory: Inventory, containers: Inventory["containers"]): Inventory {
  const { containers: _, ...rest } = inventory;
  return { ...rest, ...(containers === undefined || containers.length === 0 ? {} : { containers }) };
}

/**
 * Reads the machine once, without what only a detection finds. `address` is the config's or this host's name until the
 * link knows better. `hardware`: the path of sky-hardware.
 */
export async function readInventory(config: AgentConfig, hardware: string | null): Promise<Found> {
  const accelerators = config.accelerators === undefined ? [] : declaredAccelerators(config.accelerators);
  const mixed = mixedWarning(config, accelerators);
  const found = await askHardware(hardware);
  const cpuModel = plainText(found?.cpuModel ?? cpus()[0]?.model ?? "");
  const disks = (found?.disks ?? []).slice(0, disksMax).map(({ mount, sizeGb }) => ({
    mount: plainText(mount, 300),
    sizeGb: Math.round(sizeGb * 10) / 10,
  }));
  const inventory: Inventory = {
    address: config.address ?? hostname(),
    cpus: config.cpus ?? availableParallelism(),
    memoryGb: config.memory_gb ?? Math.round((totalmem() / 2 ** 30) * 100) / 100,
    accelerators,
    source: config.accelerators === undefined ? "none" : "config",
    mixedAllowed: config.mixed_accelerators,
    os: await systemText(),
    ...(cpuModel === "" ? {} : { cpuModel }),
    ...(disks.length === 0 ? {} : { disks }),
  };
  return { inventory: withContainers(inventory, await containerPrograms()), warnings: mixed === null ? [] : [mixed] };
}
