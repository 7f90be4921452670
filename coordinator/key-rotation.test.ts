/**
 * A node's key is exchanged over real connections while either end is killed at each step: whatever is lost, the node
 * comes back by a key that counts, the exchange can be brought to its end, and the old key is refused afterwards.
 */
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import ssh2 from "ssh2";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type AgentConfig, agentConfigSchema } from "../agent/config.ts";
import { Link, readLinkKeys } from "../agent/link.ts";
import { followKeyWish, NodeKey } from "../agent/node-key.ts";
import type { FromAgent, ToAgent } from "../shared/agent-wire.ts";
import type { NodeAdmin } from "../shared/node-admin.ts";
import { until } from "../test/help/until.ts";
import { type CoordinatorConfig, coordinatorConfigSchema } from "./config.ts";
import { initialState } from "./core/initial.ts";
import { keysOf, layOver } from "./core/node-keys.ts";
import type { State } from "./core/state.ts";
import { DiskFileStore } from "./files/store.ts";
import { startFleet } from "./fleet.ts";
import { configuredKeys } from "./fleet-listen.ts";
import { CoreLoop } from "./loop.ts";
import type { Fleet, JobQueue, Store } from "./parts.ts";
import { makeKeyPair } from "../system/key-pair.ts";

const log = pino({ level: "silent" });
const host = makeKeyPair();
const first = makeKeyPair();
const stateId = "s".repeat(16);

let dir = "";
let port = 0;
/** What is on the coordinator's disk. */
let disk: Map<string, NodeAdmin>;
/** Called for what happens; true: whoever it happens to is killed at that moment, and it does not happen. */
let killAt: (step: string) => boolean;
let head: { state: State; fleet: Fleet; loop: CoreLoop; kill(): Promise<void> } | null = null;
let node: { kill(): void } | null = null;

async function startHead(configuredKey = first.public): Promise<void> {
  const config: CoordinatorConfig = coordinatorConfigSchema.parse({
    ...{ cluster: "t", host_key: join(dir, "host_key"), state_dir: dir, redis: { socket: join(dir, "none") } },
    ...{ listen: { port }, nodes: [{ name: "n1", key: configuredKey }] },
  });
  const nodes = [{ name: "n1", address: null, key: configuredKeys(config).get("n1") ?? "" }];
  const { admins, changed } = layOver(nodes, disk);
  for (const [name, admin] of changed) {
    if (admin === null) {
      disk.delete(name);
    } else {
      disk.set(name, admin);
    }
  }
  const recovered = { stateId, epoch: 1, nonce: "n".repeat(8), jobs: [], setups: [], admins, uptime: 0, now: 0 };
  const state = initialState({ nodes, graceSeconds: 1 }, recovered);
  const life = { alive: true };
  const dies = (step: string): boolean => {
    if (life.alive && killAt(step)) {
      life.alive = false;
    }
    return !life.alive;
  };
  const store = {
    saveNodeAdmin: (name: string, admin: NodeAdmin) => {
      const step = admin.key?.used === true ? "head stores that it is used" : "head stores the new key";
      if (dies(step)) {
        return new Promise(() => {});
      }
      disk.set(name, admin);
      return Promise.resolve();
    },
  } as unknown as Store;
  let fleet: (Fleet & { port: number }) | null = null;
  const loop: CoreLoop = new CoreLoop({
    ...{ state, queue: {} as JobQueue, store, log, now: Date.now, uptime: () => performance.now() },
    tell: (name, message) => {
      if (message.type !== "useKey" || !dies("head hands the key out")) {
        fleet?.tell(name, message);
      }
    },
    cut: (name, reason) => fleet?.cut(name, reason),
  });
  fleet = await startFleet(
    config,
    {
      dispatch: (event) => loop.note(event),
      keysOf: (name) => keysOf(state, name),
      payloadFor: async () => null,
      payloadAtHand: () => null,
      filesFor: async () => null,
      files: new DiskFileStore(config, log),
    },
    log,
  );
  port = fleet.port;
  const started = fleet;
  head = {
    ...{ state, fleet, loop },
    async kill() {
      life.alive = false;
      loop.stop();
      await started.close();
      head = null;
    },
  };
}

async function agentConfig(): Promise<AgentConfig> {
  const coordinator = { address: "127.0.0.1", port, host_key: host.public };
  return agentConfigSchema.parse({ node: "n1", coordinator, key: join(dir, "node_key") });
}

async function startNode(): Promise<void> {
  const config = await agentConfig();
  const keys = await readLinkKeys(config);
  await keys.node.tidy(log);
  const life = { alive: true };
  const kill = (): void => {
    life.alive = false;
    link.stop();
  };
  const dies = (step: string): boolean => {
    if (life.alive && killAt(step)) {
      kill();
    }
    return !life.alive;
  };
  const send = (message: FromAgent): void => {
    if (message.type !== "newKey" || !dies("node has made a key")) {
      link.send(message);
    }
  };
  const onMessage = (message: ToAgent): void => {
    if (message.type === "welcome") {
      const inventory = { address: "a", cpus: 1, memoryGb: 1, accelerators: [], source: "test", mixedAllowed: false };
      link.send({ type: "report", stateId, epoch: message.epoch, seq: 0, inventory, attempts: [], warnings: [] });
    } else if (message.type === "makeKey" || (message.type === "useKey" && !dies("node hears that it may use it"))) {
      const redial = (): void => {
        if (!dies("node has put it into its place")) {
          link.redial();
        }
      };
      void followKeyWish({ key: keys.node, log, sendCoordinator: send, redial }, message);
    }
  };
  const link: Link = new Link(
    config,
    keys,
    {
      hello: () => ({ type: "hello", protocol: 2, version: "1", node: "n1", stateId, epoch: 0, bootId: "b" }),
      onUp: () => {},
      onDown: () => {},
      onMessage,
    },
    log,
  );
  link.start();
  node = { kill };
}

/** Whether a stranger who has this private key is let in. */
async function letsIn(privateKey: string): Promise<boolean> {
  const client = new ssh2.Client();
  try {
    return await new Promise<boolean>((resolve) => {
      client.on("ready", () => resolve(true)).on("error", () => resolve(false));
      client.connect({ host: "127.0.0.1", port, username: "n1", privateKey });
    });
  } finally {
    client.destroy();
  }
}

async function rotate(): Promise<void> {
  const key = await head?.fleet.makeKey("n1");
  await head?.loop.dispatch({ type: "keyMade", node: "n1", key: key ?? "" });
}

const isUp = (): boolean => head?.state.nodes.get("n1")?.heard === true;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-keys-"));
  port = 0;
  disk = new Map();
  killAt = () => false;
  await writeFile(join(dir, "host_key"), host.private, { mode: 0o600 });
  await writeFile(join(dir, "node_key"), first.private, { mode: 0o600 });
  await writeFile(join(dir, "node_key.pub"), `${first.public} n1\n`);
  await startHead();
  await startNode();
  await until(isUp, "the node to be up");
});

afterEach(async () => {
  node?.kill();
  await head?.kill();
  await rm(dir, { recursive: true });
});

it.each([
  "nothing",
  "node has made a key",
  "head stores the new key",
  "head hands the key out",
  "node hears that it may use it",
  "node has put it into its place",
  "head stores that it is used",
])("killed at: %s", async (fatal) => {
  let killed = fatal === "nothing";
  killAt = (step) => {
    const now = step === fatal && !killed;
    killed ||= now;
    return now;
  };
  // Whoever dies says nothing more; both are started again from what is on their disks.
  rotate().catch(() => {});
  await until(() => killed, `the kill at '${fatal}'`);
  if (fatal !== "nothing") {
    node?.kill();
    await head?.kill();
    await startHead();
    await startNode();
  }
  await until(isUp, "the node to come back");
  const used = (): boolean => head?.state.nodes.get("n1")?.admin.key?.used === true;
  if (["node has made a key", "head stores the new key"].includes(fatal)) {
    // The coordinator never heard of it: the node goes on with its present key, and the admin asks again.
    expect(used()).toBe(false);
    await rotate();
  }
  await until(() => used() && isUp(), "the new key to be in use");
  expect(await letsIn(first.private)).toBe(false);
  const present = await NodeKey.open(join(dir, "node_key"), "n1");
  expect(keysOf((head as NonNullable<typeof head>).state, "n1")).toEqual([present.present]);
  expect(await readFile(join(dir, "node_key.pub"), "utf8")).toBe(`${present.present} n1\n`);
  expect((await stat(join(dir, "node_key"))).mode & 0o777).toBe(0o600);
  await expect(stat(join(dir, "node_key.new"))).rejects.toThrow("ENOENT");
  // Once the config has the new key too, nothing needs to be remembered; a restart changes nothing for the node.
  await head?.kill();
  await startHead(present.present);
  expect(disk.get("n1")?.key ?? null).toBeNull();
  await until(isUp, "the node to come back by the key of the config");
});

it("a public part that was not brought up to date before a power cut is mended at the next start", async () => {
  await rotate();
  await until(() => head?.state.nodes.get("n1")?.admin.key?.used === true, "the new key to be in use");
  node?.kill();
  await writeFile(join(dir, "node_key.pub"), `${first.public} n1\n`);
  await startNode();
  const key = await NodeKey.open(join(dir, "node_key"), "n1");
  await until(async () => (await readFile(join(dir, "node_key.pub"), "utf8")).startsWith(key.present), "the .pub");
});

it("wishes that come all at once are carried out one after the other: disk and memory never disagree", async () => {
  node?.kill();
  const file = join(dir, "node_key");
  const key = await NodeKey.open(file, "n1");
  let made = await key.make();
  for (let round = 0; round < 30; round += 1) {
    const before = key.present;
    const wishes = [key.make(), key.use(made), key.make(), key.make()] as const;
    const [, used, , last] = await Promise.allSettled(wishes);
    // What was made later has replaced what it was told to use.
    expect(used).toEqual({ status: "fulfilled", value: false });
    expect(last.status).toBe("fulfilled");
    expect((await NodeKey.open(file, "n1")).present).toBe(before);
    made = last.status === "fulfilled" ? last.value : "";
    expect(await key.use(made)).toBe(true);
    const onDisk = await NodeKey.open(file, "n1");
    expect([onDisk.present, onDisk.offers.length]).toEqual([made, 1]);
    made = await key.make();
  }
  const flood = await Promise.allSettled(Array.from({ length: 200 }, () => key.make()));
  expect(flood.filter(({ status }) => status === "rejected").length).toBeGreaterThan(100);
});

it("another key in the config wins over what was exchanged", async () => {
  await rotate();
  await until(() => head?.state.nodes.get("n1")?.admin.key?.used === true, "the new key to be in use");
  const third = makeKeyPair();
  await copyFile(join(dir, "node_key"), join(dir, "kept"));
  node?.kill();
  await head?.kill();
  await startHead(third.public);
  expect(await letsIn(await readFile(join(dir, "kept"), "utf8"))).toBe(false);
  expect(await letsIn(first.private)).toBe(false);
  expect(await letsIn(third.private)).toBe(true);
});
