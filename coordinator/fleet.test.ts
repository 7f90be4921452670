/** Real ssh2 at both ends on loopback: who gets in, what is refused, and that bytes arrive whole. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { pino } from "pino";
import ssh2 from "ssh2";
import { afterEach, beforeEach, expect, it } from "vitest";
import { agentConfigSchema } from "../agent/config.ts";
import { Link, readLinkKeys } from "../agent/link.ts";
import type { Hello, LogRequest, ToAgent } from "../shared/agent-wire.ts";
import { SkyError } from "../shared/errors.ts";
import type { Payload } from "../shared/job.ts";
import { until } from "../test/help/until.ts";
import { coordinatorConfigSchema } from "./config.ts";
import type { CoreEvent } from "./core/state.ts";
import { DiskFileStore } from "./files/store.ts";
import { startFleet } from "./fleet.ts";
import { StoreUnavailable } from "./parts.ts";
import { makeKeyPair } from "../system/key-pair.ts";

const log = pino({ level: "silent" });
const keyPair = makeKeyPair;
const keys = { host: keyPair(), otherHost: keyPair(), n1: keyPair(), n2: keyPair(), stranger: keyPair() };
const publicText = (pair: { public: string }): string => pair.public.split(" ").slice(0, 2).join(" ");
const request: LogRequest = {
  kind: "logs",
  attempt: "abcdefgh-1",
  logDir: null,
  rank: 0,
  follow: false,
  setupOffset: 0,
  runOffset: 0,
  tailLines: null,
};

let dir = "";
let events: CoreEvent[] = [];
let payloads = new Map<string, Payload | Error>();
/** What each node may connect by. */
let accepted = new Map<string, string[]>();
let fleet: Awaited<ReturnType<typeof startFleet>>;
const cleanups: (() => void)[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-fleet-"));
  events = [];
  payloads = new Map();
  accepted = new Map([
    ["n1", [publicText(keys.n1)]],
    ["n2", [publicText(keys.n2)]],
  ]);
  await writeFile(join(dir, "host_key"), keys.host.private, { mode: 0o600 });
  const config = coordinatorConfigSchema.parse({
    cluster: "t",
    host_key: join(dir, "host_key"),
    state_dir: dir,
    redis: { socket: join(dir, "none") },
    listen: { port: 0 },
    nodes: [
      { name: "n1", key: keys.n1.public },
      { name: "n2", key: keys.n2.public },
    ],
  });
  const owner = {
    dispatch: (event: CoreEvent) => void events.push(event),
    keysOf: (node: string) => accepted.get(node) ?? [],
    payloadFor: async (node: string, attempt: string) => {
      const payload = payloads.get(`${node}/${attempt}`) ?? null;
      if (payload instanceof Error) {
        throw payload;
      }
      return payload;
    },
    payloadAtHand: (node: string, attempt: string) => {
      const payload = payloads.get(`${node}/${attempt}`);
      return payload instanceof Error ? null : (payload ?? null);
    },
    filesFor: async () => null,
    files: new DiskFileStore(config, log),
  };
  fleet = await startFleet(config, owner, log);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) {
    cleanup();
  }
  await fleet.close();
  await rm(dir, { recursive: true });
});

interface Agent {
  link: Link;
  messages: ToAgent[];
  ups: number;
  downs: number;
}

async function agent(node: string, options: { key?: string; host?: string; claim?: string } = {}): Promise<Agent> {
  const file = join(dir, `key-${Math.random()}`);
  await writeFile(file, options.key ?? keys.n1.private, { mode: 0o600 });
  const config = agentConfigSchema.parse({
    node,
    coordinator: { address: "127.0.0.1", port: fleet.port, host_key: options.host ?? keys.host.public },
    key: file,
  });
  const hello: Hello = {
    type: "hello",
    protocol: 1,
    version: "1",
    node: options.claim ?? node,
    stateId: null,
    epoch: 0,
    bootId: "b",
  };
  const messages: ToAgent[] = [];
  const made: Agent = { messages, ups: 0, downs: 0, link: undefined as never };
  made.link = new Link(
    config,
    await readLinkKeys(config),
    {
      hello: () => hello,
      onUp: () => void (made.ups += 1),
      onDown: () => void (made.downs += 1),
      onMessage: (message) => void messages.push(message),
    },
    log,
  );
  cleanups.push(() => made.link.stop());
  made.link.start();
  return made;
}

/** A bare SSH client, for what our own agent never does. */
async function bareClient(username: string, privateKey: string): Promise<ssh2.Client> {
  const client = new ssh2.Client();
  cleanups.push(() => client.destroy());
  await new Promise<void>((resolve, reject) => {
    client
      .on("ready", resolve)
      .on("error", reject)
      .on("close", () => reject(new Error("closed")));
    client.connect({ host: "127.0.0.1", port: fleet.port, username, privateKey });
  });
  return client;
}

const seen = (type: CoreEvent["type"]): number => events.filter((event) => event.type === type).length;

it("lets a node in by its own key and carries messages both ways", async () => {
  const a = await agent("n1");
  await until(() => seen("nodeConnected") === 1);
  fleet.tell("n1", { type: "retireSkylet", uid: 1001 });
  await until(() => a.messages.length === 1);
  expect(a.messages).toEqual([{ type: "retireSkylet", uid: 1001 }]);
  a.link.send({ type: "refused", reason: "another state", stateId: null });
  await until(() => seen("nodeRefused") === 1);
  a.link.stop();
  await until(() => seen("nodeDisconnected") === 1);
  expect(events.map((event) => event.type)).toEqual(["nodeConnected", "nodeRefused", "nodeDisconnected"]);
});

it("refuses a wrong key, another node's key, an unknown node, and a claimed name", async () => {
  const stranger = keys.stranger.private;
  await expect(bareClient("n1", stranger)).rejects.toThrow("authentication methods failed");
  await expect(bareClient("n1", keys.n2.private)).rejects.toThrow("authentication methods failed");
  await expect(bareClient("n3", keys.n1.private)).rejects.toThrow("authentication methods failed");
  const liar = await agent("n1", { claim: "n2" });
  await until(() => liar.downs >= 1);
  expect(events).toEqual([]);
});

it("never speaks to a coordinator with another host key", async () => {
  const a = await agent("n1", { host: keys.otherHost.public });
  const b = await agent("n2", { key: keys.n2.private });
  await until(() => b.ups === 1);
  expect([a.ups, a.messages]).toEqual([0, []]);
  expect(seen("nodeConnected")).toBe(1);
});

it("lets a node in by the keys that count now, and says by which it came", async () => {
  const second = keyPair();
  accepted.set("n1", [publicText(keys.n1), publicText(second)]);
  await agent("n1", { key: second.private });
  await until(() => seen("nodeConnected") === 1);
  expect(events[0]).toMatchObject({ type: "nodeConnected", key: publicText(second) });
  accepted.set("n1", [publicText(second)]);
  await expect(bareClient("n1", keys.n1.private)).rejects.toThrow("authentication methods failed");
  accepted.set("n1", []);
  await expect(bareClient("n1", second.private)).rejects.toThrow("authentication methods failed");
});

it("cuts a node off after what it was told before", async () => {
  const a = await agent("n1");
  await until(() => seen("nodeConnected") === 1);
  accepted.set("n1", []);
  for (let uid = 1; uid <= 500; uid += 1) {
    fleet.tell("n1", { type: "retireSkylet", uid });
  }
  fleet.cut("n1", "removed");
  expect(events.at(-1)?.type).toBe("nodeDisconnected");
  fleet.tell("n1", { type: "retireSkylet", uid: 501 });
  await until(() => a.downs === 1);
  expect(a.messages).toHaveLength(500);
  expect(seen("nodeConnected")).toBe(1);
});

it("asks a node for a new key, and says what hindered it", async () => {
  await expect(fleet.makeKey("n1")).rejects.toThrow("Node 'n1' is not connected");
  const a = await agent("n1");
  const other = await agent("n2", { key: keys.n2.private });
  await until(() => seen("nodeConnected") === 2);
  const asked = fleet.makeKey("n1");
  await until(() => a.messages.length === 1);
  const { id } = a.messages[0] as { id: string };
  const key = publicText(keyPair());
  other.link.send({ type: "newKey", id, key: publicText(keys.stranger) });
  other.link.send({ type: "refused", reason: "it has answered", stateId: null });
  await until(() => seen("nodeRefused") === 1);
  a.link.send({ type: "newKey", id, key });
  expect(await asked).toBe(key);
  const failing = fleet.makeKey("n1");
  await until(() => a.messages.length === 2);
  a.link.send({
    type: "streamFailed",
    id: (a.messages[1] as { id: string }).id,
    error: "no new key: the disk is full",
  });
  await expect(failing).rejects.toThrow("the disk is full");
});

it("replaces a node's older connection by the newer one, and announces it in that order", async () => {
  const first = await agent("n1");
  await until(() => first.ups === 1 && seen("nodeConnected") === 1);
  const second = await agent("n1");
  await until(() => first.downs === 1);
  first.link.stop();
  await until(() => second.ups >= 1 && events.at(-1)?.type === "nodeConnected");
  const types = events.map((event) => event.type);
  types.forEach((type, at) => expect(type).toBe(at % 2 === 0 ? "nodeConnected" : "nodeDisconnected"));
});

it("comes back by itself after the connection was cut", async () => {
  const a = await agent("n1");
  await until(() => a.ups === 1);
  a.link.redial();
  await until(() => a.ups === 2 && seen("nodeConnected") === 2);
  expect(a.downs).toBe(1);
});

it("carries a stream with back-pressure, byte for byte", async () => {
  const a = await agent("n1");
  await until(() => seen("nodeConnected") === 1);
  const wanted = fleet.openLogStream("n1", 1001, "alice", request);
  await until(() => a.messages.length === 1);
  const message = a.messages[0];
  if (message?.type !== "openStream") {
    throw new Error("no openStream");
  }
  expect(message).toMatchObject({ uid: 1001, user: "alice", request });
  const channel = await a.link.openStream(message.id);
  const stream = await wanted;
  const size = 24 * 1024 * 1024;
  const block = Buffer.alloc(1024 * 1024, "x");
  let accepted = 0;
  for (let at = 0; at < size; at += block.length) {
    channel.write(block, () => {
      accepted += block.length;
    });
  }
  channel.end();
  // Nobody reads yet: no more than the channel's window and the reader's buffer may have left the sender.
  await until(() => accepted > 0);
  fleet.tell("n1", { type: "retireSkylet", uid: 1 });
  await until(() => a.messages.length === 2);
  expect(accepted).toBeLessThan(8 * 1024 * 1024);
  let received = 0;
  stream.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  await finished(stream, { writable: false });
  expect(received).toBe(size);
});

it("refuses a stream that this node was not asked for, and tells the asker when it failed or the node went away", async () => {
  const one = await agent("n1");
  const two = await agent("n2", { key: keys.n2.private });
  await until(() => seen("nodeConnected") === 2);
  const wanted = fleet.openLogStream("n1", 1001, "alice", request);
  await until(() => one.messages.length === 1);
  const { id } = one.messages[0] as { id: string };
  await expect(two.link.openStream(id)).rejects.toThrow();
  two.link.send({ type: "streamFailed", id, error: "not mine" });
  one.link.send({ type: "streamFailed", id, error: "user 'alice' has no account on node n1" });
  await expect(wanted).rejects.toThrow("user 'alice' has no account on node n1");
  const again = fleet.openLogStream("n1", 1001, "alice", request);
  one.link.stop();
  await expect(again).rejects.toThrow("Node 'n1' is not connected");
  await expect(fleet.openLogStream("n1", 1001, "alice", request)).rejects.toThrow("Node 'n1' is not connected");
});

it("gives a payload to the node that is to run it, whole, and to no other", async () => {
  const one = await agent("n1");
  const two = await agent("n2", { key: keys.n2.private });
  await until(() => seen("nodeConnected") === 2);
  const payload: Payload = { setup: null, run: "x".repeat(7 * 1024 * 1024), envs: {} };
  payloads.set("n1/abcdefgh-1", payload);
  const take = async (link: Link): Promise<{ text: string; complete: boolean; final: boolean; fault: string }> => {
    const payload = await link.openPayload("abcdefgh-1");
    const { channel } = payload;
    const parts: Buffer[] = [];
    channel.on("data", (part: Buffer) => parts.push(part));
    await new Promise((resolve) => channel.on("close", resolve));
    return { text: Buffer.concat(parts).toString(), ...payload.end() };
  };
  const given = await take(one.link);
  expect(given.complete).toBe(true);
  expect(JSON.parse(given.text)).toEqual(payload);
  const refused = await take(two.link);
  const fault = "node 'n2' is not to run attempt abcdefgh-1";
  expect(refused).toEqual({ text: "", complete: false, final: false, fault });
  payloads.set("n2/abcdefgh-1", new StoreUnavailable("Redis is away"));
  expect(await take(two.link)).toEqual({ text: "", complete: false, final: false, fault: "Redis is away" });
  payloads.set("n2/abcdefgh-1", new SkyError("InternalError", "It is lost."));
  expect(await take(two.link)).toEqual({ text: "", complete: false, final: true, fault: "It is lost." });
});

it("closes on bad, over-long, late or repeated frames, and never announces them", async () => {
  const bad = [
    "garbage\n",
    '{"type":"hello"}\n',
    "x".repeat(5 * 1024 * 1024),
    '{"type":"report"}\n',
    `${JSON.stringify({ type: "refused", reason: "r", stateId: null })}\n`,
  ];
  for (const frame of bad) {
    const client = await bareClient("n1", keys.n1.private);
    const closed = new Promise<void>((resolve) => client.on("close", () => resolve()));
    client.on("error", () => undefined);
    client.subsys("sky-agent", (error, channel) => {
      expect(error).toBeUndefined();
      channel.on("error", () => undefined);
      channel.write(frame);
    });
    await closed;
  }
  expect(events).toEqual([]);
});

it("speaks the protocol that the session was opened with, and cuts off what is not part of it", async () => {
  const hello = { type: "hello", protocol: 1, version: "0.1.0", node: "n1", stateId: null, epoch: 0, bootId: "b" };
  const vitals = {
    type: "vitals",
    clockMs: 1,
    uptimeSeconds: 1,
    load1: 0,
    memoryAvailableGb: 1,
    diskFreeGb: 1,
    skylets: 0,
    devices: [],
  };
  const open = async (subsystem: string, frames: object[]): Promise<{ said: () => string; closed: () => boolean }> => {
    const client = await bareClient("n1", keys.n1.private);
    let said = "";
    let closed = false;
    client.on("error", () => undefined);
    client.on("close", () => void (closed = true));
    client.subsys(subsystem, (error, channel) => {
      expect(error).toBeUndefined();
      channel.on("error", () => undefined);
      channel.on("data", (chunk: Buffer) => void (said += chunk.toString()));
      channel.write(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(""));
    });
    return { said: () => said, closed: () => closed };
  };
  const old = await open("sky-agent", [hello]);
  await until(() => seen("nodeConnected") === 1);
  fleet.tell("n1", { type: "renewed", id: 1 });
  fleet.tell("n1", { type: "welcome", protocol: 2, version: "2", node: "n1", stateId: "s".repeat(16), epoch: 1 });
  await until(() => old.said() !== "");
  expect(JSON.parse(old.said())).toMatchObject({ type: "welcome", protocol: 1 });
  expect(events[0]).toMatchObject({ type: "nodeConnected", hello: { protocol: 1 } });

  for (const [subsystem, frames] of [
    ["sky-agent", [hello, vitals]],
    ["sky-agent", [{ ...hello, protocol: 2 }]],
    ["sky-agent-2", [hello]],
  ] as const) {
    const bad = await open(subsystem, [...frames]);
    await until(bad.closed, `${subsystem} with ${JSON.stringify(frames)} to be cut off`);
  }
  expect(seen("vitalsReceived")).toBe(0);
  await open("sky-agent-2", [{ ...hello, protocol: 2 }, vitals]);
  await until(() => seen("vitalsReceived") === 1);
});

it("opens no shell, no forwarding, no other subsystem or command", async () => {
  const client = await bareClient("n1", keys.n1.private);
  const refused = async (open: (done: (error: Error | undefined) => void) => void): Promise<void> => {
    const error = await new Promise<Error | undefined>((resolve) => open(resolve));
    expect(error).toBeInstanceOf(Error);
  };
  await refused((done) => client.shell((error) => done(error)));
  await refused((done) => client.exec("id", (error) => done(error)));
  await refused((done) => client.exec("payload abcdefgh-1", (error) => done(error)));
  await refused((done) => client.sftp((error) => done(error ?? undefined)));
  await refused((done) => client.subsys("other", (error) => done(error)));
  await refused((done) => client.forwardOut("127.0.0.1", 1, "127.0.0.1", 22, (error) => done(error)));
  await refused((done) => client.forwardIn("127.0.0.1", 0, (error) => done(error)));
  await refused((done) => client.openssh_forwardOutStreamLocal("/x", (error) => done(error ?? undefined)));
});

it("survives garbage before authentication and limits silent connections of one address", async () => {
  for (const garbage of [
    "\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "SSH-2.0-x\r\n" + "\0".repeat(100_000),
    "\xff".repeat(70_000),
  ]) {
    const socket = connect(fleet.port, "127.0.0.1");
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.on("error", () => undefined);
    socket.resume();
    socket.end(garbage, "latin1");
    await closed;
  }
  const silent = Array.from({ length: 80 }, () => connect(fleet.port, "127.0.0.1"));
  cleanups.push(() => silent.forEach((socket) => socket.destroy()));
  silent.forEach((socket) => socket.on("error", () => undefined).resume());
  await until(() => silent.filter((socket) => socket.destroyed).length >= 16);
  expect(silent.filter((socket) => !socket.destroyed).length).toBeLessThanOrEqual(64);
  silent.forEach((socket) => socket.destroy());
  const a = await agent("n1");
  await until(() => a.ups === 1);
});

it("lets an agent in although a job on its machine holds every unauthenticated connection that there may be", async () => {
  const hold = (): void => {
    const socket = connect(fleet.port, "127.0.0.1");
    socket.on("error", () => undefined);
    // What is dropped is dialled again, as an attacker would.
    socket.on("close", () => (held.delete(socket) && held.size > 0 ? hold() : undefined));
    held.add(socket);
  };
  const held = new Set<Socket>();
  cleanups.push(() => {
    const all = [...held];
    held.clear();
    all.forEach((socket) => socket.destroy());
  });
  for (let count = 0; count < 80; count += 1) {
    hold();
  }
  await until(() => held.size >= 64, "held connections");
  const n1 = await agent("n1");
  await until(() => n1.ups === 1, "the agent, before any of them is given up", 8_000);
});
