/** Which skylets are started and which are waited for, on a real socket; only the login itself is a stand-in. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../test/help/until.ts";
import { Cgroups } from "./cgroup.ts";
import { Clearing } from "./clearing.ts";
import type { AgentEvent } from "./core/state.ts";
import { Skylets } from "./skylets.ts";
import { SkyletStreams } from "./skylet-streams.ts";
import { UserLog } from "./user-log.ts";

const uid = process.getuid?.() ?? 0;
const log = pino({ level: "silent" });
const starts: string[] = [];
const events: string[] = [];
let dir = "";
let socketPath = "";
let skylets: Skylets;
const open: Skylets[] = [];
let seeming: ChildProcess | null = null;

/** An agent on the socket; its starts and events are told from those of others by `name`. */
async function listenAs(name: string): Promise<Skylets> {
  const userLog = new UserLog(log);
  const no = async (): Promise<never> => await Promise.reject(new Error("no coordinator"));
  // As the core: whoever has jobs gets a skylet again when theirs has gone.
  const take = (event: AgentEvent): void => {
    events.push(`${name}: ${event.type}`);
    if (event.type === "skyletGone") {
      made.ensure(uid, "alice");
    }
  };
  const made: Skylets = new Skylets({
    socketPath,
    starts: {
      version: "1",
      account: no,
      start: async (_uid, _user, ready) => {
        starts.push(name);
        await ready;
        return "";
      },
    },
    streams: new SkyletStreams(
      { entry: () => undefined, openStream: no, openPayload: no, openFiles: no, streamFailed: () => undefined },
      userLog,
    ),
    cgroups: Cgroups.none(),
    clearing: new Clearing(Cgroups.none(), log, async () => undefined),
    log,
    userLog,
    dispatch: take,
    settle: async (event) => take(event),
    entry: () => undefined,
    payload: () => null,
    hasAttempts: () => true,
    onJob: () => undefined,
  });
  await made.listen();
  open.push(made);
  return made;
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-skylets-"));
  socketPath = join(dir, "agent.sock");
  [starts.length, events.length] = [0, 0];
  skylets = await listenAs("first");
});

afterEach(async () => {
  seeming?.kill("SIGKILL");
  seeming = null;
  await Promise.all(open.splice(0).map((one) => one.close()));
  await rm(dir, { recursive: true });
});

/** A skylet's control connection, said to be ready. */
async function dialIn(): Promise<Socket> {
  const socket = connect(socketPath);
  socket.on("error", () => undefined);
  const frames = [
    { type: "hello", role: "control", version: "1", pid: 1 },
    { type: "ready", attempts: [] },
  ];
  socket.write(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(""));
  const readies = (): number => events.filter((event) => event.endsWith("skyletReady")).length;
  const before = readies();
  await until(() => readies() > before, "the skylet to be taken in");
  return socket;
}

/** A process that looks like a skylet which is not connected at present. */
async function seem(): Promise<void> {
  const child = spawn("/bin/sh", ["-c", "echo here; read line; exit", "skylet", "--socket", socketPath, "--dir", dir], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  seeming = child;
  await new Promise((resolve) => child.stdout.once("data", resolve));
}

/** One skylet after another comes to the second agent and goes: whatever else is under way comes to its end meanwhile. */
async function exchangeAtSecond(): Promise<void> {
  for (const count of [1, 2, 3]) {
    await until(() => starts.filter((name) => name === "second").length >= count, "a start by the second agent");
    (await dialIn()).destroy();
  }
}

test("a user whose skylet has gone gets another one", async () => {
  (await dialIn()).destroy();
  await until(() => starts.length > 0, "a start");
  expect(events).toEqual(["first: skyletReady", "first: skyletGone"]);
});

test("no skylet is started while one that may come back is still there", async () => {
  await seem();
  skylets.ensure(uid, "alice");
  await dialIn();
  expect(starts).toEqual([]);
});

test("an agent that is closed leaves its users' skylets to the next agent", async () => {
  await dialIn();
  await skylets.close();
  const second = await listenAs("second");
  second.ensure(uid, "alice");
  await exchangeAtSecond();
  expect(starts).not.toContain("first");
  expect(events.filter((event) => event.startsWith("first"))).toEqual(["first: skyletReady"]);
});

test("a start that waits for the end of an older skylet is given up when the agent is closed", async () => {
  await seem();
  skylets.ensure(uid, "alice");
  await skylets.close();
  const second = await listenAs("second");
  second.ensure(uid, "alice");
  seeming?.stdin?.end();
  await exchangeAtSecond();
  expect(starts).not.toContain("first");
});

test("a login that is under way holds up no close, and what becomes of it is the next agent's concern", async () => {
  skylets.ensure(uid, "alice");
  await until(() => starts.length > 0, "the login");
  await skylets.close();
  expect(events).toEqual([]);
});
