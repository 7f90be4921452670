/**
 * Looks at the accelerators, and for programs that run containers, again and again while the agent runs, and tells the
 * core only when something has changed. A look never overlaps the next, and one that finds nothing new costs nobody
 * anything. It must never decide about a job: a faulty device is told to the coordinator, which does. Also asks the tools
 * how busy the devices are. Made by agent/agent.ts.
 */
import type { Logger } from "pino";
import type { Accelerator, Inventory, Vitals } from "../shared/agent-wire.ts";
import { messageOf } from "../shared/errors.ts";
import { detect } from "./accelerators/detect.ts";
import { readUse } from "./accelerators/use.ts";
import type { AgentConfig } from "./config.ts";
import { containerPrograms, type ContainerProgram } from "./containers.ts";
import type { AgentEvent, AgentState } from "./core/state.ts";
import { readDevices, saveDevices } from "./device-memory.ts";
import { Devices } from "./devices.ts";
import { mixedWarning, withContainers } from "./inventory.ts";
import type { Machine } from "./tools.ts";

const warningsMax = 50;

/** What a look adds to the inventory. */
export interface Seen {
  accelerators: Accelerator[];
  source: string;
  driver: string | undefined;
  warnings: string[];
}

export class Watch {
  readonly #config: AgentConfig;
  readonly #machine: Machine;
  readonly #bootId: string;
  readonly #devices: Devices;
  readonly #log: Logger;
  readonly #programs: () => Promise<ContainerProgram[]>;
  #saved = "";
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  private constructor(
    config: AgentConfig,
    machine: Machine,
    bootId: string,
    devices: Devices,
    log: Logger,
    programs: () => Promise<ContainerProgram[]>,
  ) {
    this.#config = config;
    this.#machine = machine;
    this.#bootId = bootId;
    this.#devices = devices;
    this.#log = log;
    this.#programs = programs;
    this.#saved = JSON.stringify(devices.saved);
  }

  static async open(
    config: AgentConfig,
    machine: Machine,
    bootId: string,
    log: Logger,
    programs: () => Promise<ContainerProgram[]> = containerPrograms,
  ): Promise<Watch> {
    const saved = config.accelerators === undefined ? await readDevices(config.state_dir, bootId) : [];
    return new Watch(config, machine, bootId, new Devices(saved), log, programs);
  }

  /** One look. `isHeld`: an attempt holds that index. */
  async look(isHeld: (index: number) => boolean): Promise<Seen> {
    const detection = await detect(this.#machine);
    const problems = this.#devices.take(detection, isHeld);
    await this.#save();
    const { accelerators } = this.#devices;
    const mixed = mixedWarning(this.#config, accelerators);
    const tools = [...detection.looks].flatMap(([tool, look]) =>
      look.state === "seen" && look.devices.length + look.lost.length > 0 ? [{ tool, driver: look.driver }] : [],
    );
    const drivers = tools.flatMap(({ driver }) => driver ?? []);
    return {
      accelerators,
      source: tools.length === 0 ? "none" : tools.map(({ tool }) => tool).join(", "),
      driver: drivers.length === 0 ? undefined : drivers.join(", ").slice(0, 100),
      warnings: [...(mixed === null ? [] : [mixed]), ...problems, ...detection.warnings].map((one) =>
        one.slice(0, 500),
      ),
    };
  }

  /** Looks every `detect_seconds` until `stop`. `others`: warnings that have nothing to do with accelerators. */
  start(state: AgentState, others: readonly string[], dispatch: (event: AgentEvent) => void): void {
    const isDeclared = this.#config.accelerators !== undefined;
    const again = async (): Promise<void> => {
      try {
        const seen = isDeclared ? null : await this.look((index) => isHeld(state, index));
        const programs = await this.#programs();
        const inventory = withContainers(withSeen(state.inventory, seen ?? state.inventory), programs);
        const warnings = seen === null ? state.warnings : [...others, ...seen.warnings].slice(0, warningsMax);
        const before = withContainers(withSeen(state.inventory, state.inventory), state.inventory.containers);
        const isSame = JSON.stringify([inventory, warnings]) === JSON.stringify([before, state.warnings]);
        if (!this.#stopped && !isSame) {
          this.#tell(state.inventory.accelerators, inventory.accelerators);
          dispatch({ type: "inventoryChanged", inventory, warnings });
        }
      } catch (error) {
        this.#log.error({ error: messageOf(error) }, "the machine could not be looked at");
      }
      this.#plan(again);
    };
    this.#plan(again);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
    }
  }

  /** How busy each device is just now, as far as its tool says so. */
  async use(): Promise<Vitals["devices"]> {
    if (this.#config.accelerators !== undefined) {
      return [];
    }
    return await readUse(this.#machine, this.#devices);
  }

  #plan(again: () => Promise<void>): void {
    if (!this.#stopped) {
      this.#timer = setTimeout(() => void again(), this.#config.detect_seconds * 1000);
      this.#timer.unref();
    }
  }

  /** One log line for each device whose health has changed. */
  #tell(before: readonly Accelerator[], after: readonly Accelerator[]): void {
    const known = new Map(before.map((one) => [one.index, one]));
    for (const { index, kind, uuid, pci, fault } of after) {
      const last = known.get(index)?.fault;
      const fields = { device: index, kind, uuid: uuid ?? null, pci: pci ?? null };
      if (fault !== undefined && fault !== last) {
        this.#log.warn({ ...fields, fault }, "an accelerator is faulty: nothing new is granted on it");
      } else if (fault === undefined && last !== undefined) {
        this.#log.info(fields, "an accelerator is well again");
      }
    }
  }

  async #save(): Promise<void> {
    const { saved } = this.#devices;
    const text = JSON.stringify(saved);
    if (text === this.#saved) {
      return;
    }
    try {
      await saveDevices(this.#config.state_dir, this.#bootId, saved);
      this.#saved = text;
    } catch (error) {
      this.#log.error(
        { error: messageOf(error) },
        "the list of devices could not be written; trying again at the next look",
      );
    }
  }
}

/** The inventory with what a look has found in the place of what an earlier one had. */
export function withSeen(
  inventory: Inventory,
  seen: Pick<Seen, "accelerators" | "source"> & { driver?: string | undefined },
): Inventory {
  const { driver: _, ...rest } = inventory;
  const { accelerators, source, driver } = seen;
  return { ...rest, accelerators, source, ...(driver === undefined ? {} : { driver }) };
}

function isHeld(state: AgentState, index: number): boolean {
  return [...state.attempts.values()].some(
    (attempt) => !attempt.gone && attempt.entry.wanted.grant.devices.includes(index),
  );
}
