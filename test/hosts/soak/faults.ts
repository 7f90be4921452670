/**
 * What a soak does to a cluster: kills its programs, cuts its network, takes the power of its machines, in an order drawn
 * from a seed. Every fault ends by itself: a machine that was cut is joined again, one that lost its power is started.
 * Called by run.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Cluster } from "../cluster.ts";
import type { Machine } from "../machine.ts";
import type { Random } from "./random.ts";

export interface Fault {
  name: string;
  weight: number;
  /** Does it, and mends it where it does not mend itself. */
  strike: (cluster: Cluster, random: Random) => Promise<string>;
}

function kill(unit: string): (machine: Machine) => Promise<string> {
  return async (machine) => {
    await machine.run(["systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit]);
    return machine.name;
  };
}

const killCoordinator = kill("sky-coordinator.service");
const killRedis = kill("sky-redis.service");
const killAgent = kill("sky-agent.service");

/** Longest cut and longest time without power, in milliseconds: some outlast `lost_node_seconds` of a soak, most do not. */
const cutMs = [500, 25_000] as const;
const darkMs = [0, 5_000] as const;

async function takePower(machine: Machine, random: Random): Promise<string> {
  const ms = random.between(...darkMs);
  await machine.kill();
  await delay(ms);
  await machine.start();
  return `${machine.name} for ${Math.round(ms)} ms`;
}

export const faults: readonly Fault[] = [
  { name: "kill coordinator", weight: 3, strike: (cluster) => killCoordinator(cluster.head) },
  { name: "kill redis", weight: 2, strike: (cluster) => killRedis(cluster.head) },
  { name: "kill agent", weight: 3, strike: (cluster, random) => killAgent(random.pick(cluster.nodes)) },
  {
    name: "kill skylets",
    weight: 2,
    strike: async (cluster, random) => {
      const machine = random.pick(cluster.nodes);
      await machine.run(["pkill", "-KILL", "-f", "skylet.mjs --socket"]);
      return machine.name;
    },
  },
  {
    name: "restart everything",
    weight: 1,
    strike: async (cluster) => {
      const units = ["sky-redis.service", "sky-coordinator.service", "sky-agent.service"];
      await Promise.all(
        [cluster.head, ...cluster.nodes].map((machine) => machine.run(["systemctl", "try-restart", ...units])),
      );
      return "all units";
    },
  },
  {
    name: "cut",
    weight: 4,
    strike: async (cluster, random) => {
      const machine = random.pick([cluster.head, ...cluster.nodes]);
      const ms = random.between(...cutMs);
      await machine.cut();
      await delay(ms);
      await machine.join();
      return `${machine.name} for ${Math.round(ms)} ms`;
    },
  },
  {
    name: "power of a node",
    weight: 1,
    strike: (cluster, random) => takePower(random.pick(cluster.nodes), random),
  },
  { name: "power of the head", weight: 1, strike: (cluster, random) => takePower(cluster.head, random) },
];
