/**
 * What this machine has: CPUs, memory, accelerators, address. Declared values of the config win over what is found. It
 * decides nothing: a node that mixes kinds of accelerators is reported as such with a warning, and the core judges.
 * Called by agent/main.ts at start.
 */
import { availableParallelism, hostname, totalmem } from "node:os";
import { type Accelerator, acceleratorSchema, type Inventory } from "../shared/agent-wire.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import { nvidiaSmiArguments, parseNvidiaSmi } from "./accelerators/nvidia.ts";
import type { AgentConfig } from "./config.ts";
import { runTool, ToolFault } from "./spawn.ts";

const toolLimitMs = 10_000;

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
    const kind = acceleratorSchema.shape.kind.safeParse(match?.[1]);
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

async function detect(warnings: string[]): Promise<{ accelerators: Accelerator[]; source: string }> {
  try {
    const result = await runTool("nvidia-smi", nvidiaSmiArguments, toolLimitMs);
    if (result.code !== 0) {
      warnings.push(`nvidia-smi failed with exit code ${result.code}: this node takes no accelerator jobs.`);
      return { accelerators: [], source: "none" };
    }
    return { accelerators: parseNvidiaSmi(result.stdout), source: "nvidia-smi" };
  } catch (error) {
    if (!(error instanceof ToolFault && error.missing)) {
      warnings.push(`${messageOf(error).slice(0, 300)}: this node takes no accelerator jobs.`);
    }
    return { accelerators: [], source: "none" };
  }
}

/** Reads the machine once. `address` is the config's or this host's name until the link knows better. */
export async function readInventory(config: AgentConfig): Promise<Found> {
  const warnings: string[] = [];
  const { accelerators, source } =
    config.accelerators === undefined
      ? await detect(warnings)
      : { accelerators: declaredAccelerators(config.accelerators), source: "config" };
  const kinds = [...new Set(accelerators.map((device) => device.kind.toUpperCase()))];
  if (kinds.length > 1) {
    const consequence = config.mixed_accelerators
      ? "mixed_accelerators allows accelerator jobs."
      : "it takes no accelerator jobs unless its config says mixed_accelerators: true.";
    warnings.push(`Node ${config.node} mixes accelerators (${kinds.slice(0, 8).join(", ")}): ${consequence}`);
  }
  const inventory: Inventory = {
    address: config.address ?? hostname(),
    cpus: config.cpus ?? availableParallelism(),
    memoryGb: config.memory_gb ?? Math.round((totalmem() / 2 ** 30) * 100) / 100,
    accelerators,
    source,
    mixedAllowed: config.mixed_accelerators,
  };
  return { inventory, warnings };
}
