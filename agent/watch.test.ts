/** Looks while the agent runs: the core hears of a change and of nothing else, also over a restart of the agent. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../test/help/until.ts";
import { agentConfigSchema, type AgentConfig } from "./config.ts";
import type { ContainerProgram } from "./containers.ts";
import { initialAgentState } from "./core/reduce.ts";
import type { AgentEvent, AgentState } from "./core/state.ts";
import { readInventory, withContainers } from "./inventory.ts";
import type { ToolResult } from "./spawn.ts";
import type { Machine } from "./tools.ts";
import { Watch, withSeen } from "./watch.ts";

const log = pino({ level: "silent" });
let config: AgentConfig;
let answer: ToolResult;
let looks = 0;
let programs: ContainerProgram[];

/** nvidia-smi alone, and no bus to be seen. */
const machine: Machine = {
  tool: (name) => {
    looks += name === "nvidia-smi" ? 1 : 0;
    return Promise.resolve(name === "nvidia-smi" ? answer : null);
  },
  list: () => Promise.resolve(null),
  file: () => Promise.resolve(null),
  link: () => Promise.resolve(null),
};

function cards(...uuids: string[]): void {
  const rows = uuids.map(
    (uuid, at) => `${at}, GPU-${uuid}, 00000000:${at + 1}A:00.0, Tesla T4, 15360, 550.1, [N/A], 0, No, No, None`,
  );
  answer = { code: 0, stdout: `${rows.join("\n")}\n`, stderr: "" };
}

beforeEach(async () => {
  const state_dir = await mkdtemp(join(tmpdir(), "sky-watch-"));
  const coordinator = { address: "127.0.0.1", host_key: "x" };
  config = agentConfigSchema.parse({ node: "n1", coordinator, key: "/k", state_dir, detect_seconds: 1 });
  looks = 0;
  programs = [];
});
afterEach(async () => await rm(config.state_dir, { recursive: true }));

async function begin(bootId: string): Promise<{ watch: Watch; state: AgentState; events: AgentEvent[] }> {
  const watch = await Watch.open(config, machine, bootId, log, () => Promise.resolve(programs));
  const inventory = withContainers((await readInventory(config, null)).inventory, programs);
  const seen = config.accelerators === undefined ? await watch.look(() => false) : null;
  const warnings = ["others", ...(seen?.warnings ?? [])];
  const rest = { node: "n1", bootId, identity: null, entries: [] };
  const state = initialAgentState({ ...rest, inventory: withSeen(inventory, seen ?? inventory), warnings });
  const events: AgentEvent[] = [];
  watch.start(state, ["others"], (event) => {
    events.push(event);
    if (event.type === "inventoryChanged") {
      state.inventory = event.inventory;
      state.warnings = event.warnings;
    }
  });
  return { watch, state, events };
}

it("tells a change once, and nothing while there is none", async () => {
  cards("aaaa", "bbbb");
  const { watch, state, events } = await begin("boot");
  try {
    expect(state.inventory).toMatchObject({ source: "nvidia-smi", driver: "550.1" });
    await until(() => looks >= 3, "three looks");
    expect(events).toEqual([]);
    cards("aaaa");
    await until(() => events.length > 0, "the change");
    expect(state.inventory.accelerators.map((one) => one.fault ?? null)).toEqual([
      null,
      "no longer listed by its tool",
    ]);
    expect(state.warnings).toEqual(["others"]);
    const before = looks;
    await until(() => looks >= before + 2, "two more looks");
    expect(events).toHaveLength(1);
  } finally {
    watch.stop();
  }
});

it("knows its devices again in the same boot of the machine, and only then", async () => {
  cards("aaaa", "bbbb");
  (await begin("boot")).watch.stop();
  expect(await readdir(config.state_dir)).toEqual(["devices.json"]);
  cards("bbbb");
  const same = await begin("boot");
  same.watch.stop();
  expect(same.state.inventory.accelerators.map((one) => [one.index, one.uuid, one.fault !== undefined])).toEqual([
    [0, "GPU-aaaa", true],
    [1, "GPU-bbbb", false],
  ]);
  const other = await begin("another boot");
  other.watch.stop();
  expect(other.state.inventory.accelerators.map((one) => [one.index, one.uuid])).toEqual([[0, "GPU-bbbb"]]);
});

it("podman that is installed or removed meanwhile is told, also where accelerators are declared", async () => {
  for (const accelerators of [undefined, "T4:1"]) {
    config = accelerators === undefined ? config : { ...config, accelerators };
    cards();
    programs = [];
    const { watch, state, events } = await begin("boot-1");
    programs = ["podman"];
    await until(() => events.length > 0, "the change");
    expect(state.inventory.containers).toEqual(["podman"]);
    expect(state.inventory.accelerators).toHaveLength(accelerators === undefined ? 0 : 1);
    programs = [];
    await until(() => events.length > 1, "the other change");
    expect(state.inventory.containers).toBeUndefined();
    watch.stop();
  }
});
