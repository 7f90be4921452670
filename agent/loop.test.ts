import { pino } from "pino";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { FromAgent, WantedAttempt } from "../shared/agent-wire.ts";
import { initialAgentState } from "./core/reduce.ts";
import type { LedgerEntry } from "./core/state.ts";
import { AgentLoop } from "./loop.ts";
import { UserLog } from "./user-log.ts";

const stateId = "s".repeat(16);
const acts: string[] = [];
const sent: FromAgent[] = [];
let isDiskFull = false;

function wanted(attempt: string): WantedAttempt {
  return {
    attempt,
    uid: 1001,
    user: "alice",
    jobId: 1,
    jobName: null,
    cluster: "c",
    rank: 0,
    grant: { node: "n1", devices: [], share: 1, cpus: 1, memoryGb: 1 },
    setup: false,
    hasRun: true,
    mayRun: true,
    started: false,
    addresses: ["127.0.0.1"],
    nodeLabel: "head",
    singleNodeCluster: true,
    graceSeconds: 30,
    submittedAt: 1,
  };
}

function makeLoop(): AgentLoop {
  const inventory = { address: "a", cpus: 1, memoryGb: 1, accelerators: [], source: "none", mixedAllowed: false };
  const state = initialAgentState({ node: "n1", bootId: "b", inventory, warnings: [], identity: null, entries: [] });
  const write = async (what: string): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (isDiskFull) {
      throw new Error("ENOSPC: no space left on device");
    }
    acts.push(what);
  };
  return new AgentLoop(state, {
    ledger: {
      save: (entry: LedgerEntry) => write(`save ${entry.wanted.attempt} ${entry.phase}`),
      drop: (attempt) => write(`drop ${attempt}`),
      saveIdentity: ({ epoch }) => write(`identity ${epoch}`),
    },
    ensureSkylet: (uid) => void acts.push(`ensure ${uid}`),
    sendSkylet: (uid, message) => void acts.push(`${message.type} ${uid}`),
    sendCoordinator: (message) => void sent.push(message),
    clearAttempt: () => undefined,
    uptimeMs: () => 0,
    log: pino({ level: "silent" }),
    userLog: new UserLog(pino({ level: "silent" })),
  });
}

beforeEach(() => {
  acts.length = 0;
  sent.length = 0;
  isDiskFull = false;
});
afterEach(() => void vi.useRealTimers());

async function accepted(): Promise<AgentLoop> {
  const loop = makeLoop();
  loop.dispatch({ type: "linkUp" });
  loop.dispatch({ type: "welcomed", stateId, epoch: 3 });
  await loop.idle();
  return loop;
}

it("does nothing for an attempt before its ledger entry is on disk, and reports many changes once", async () => {
  const loop = await accepted();
  expect(acts).toEqual(["identity 3"]);
  sent.length = 0;
  const attempts = Array.from({ length: 30 }, (_, at) => wanted(`aaaaaaaa-${at}`));
  loop.dispatch({
    type: "desiredReceived",
    desired: { type: "desired", stateId, epoch: 3, seq: 1, wanted: attempts, ended: [] },
  });
  await loop.idle();
  expect(acts.slice(1, 31)).toEqual(attempts.map((one) => `save ${one.attempt} accepted`));
  expect(acts.slice(31)).toEqual(["ensure 1001"]);
  expect(sent.length).toBeLessThan(5);
  expect(sent.at(-1)).toMatchObject({ type: "report", seq: 1 });
});

it("starts nothing while the disk is full, goes on with the rest, and catches up", async () => {
  const loop = await accepted();
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  isDiskFull = true;
  const desired = { type: "desired" as const, stateId, epoch: 3, seq: 1, wanted: [wanted("aaaaaaaa-1")], ended: [] };
  loop.dispatch({ type: "desiredReceived", desired });
  await loop.idle();
  expect(acts).toEqual(["identity 3"]);
  loop.dispatch({ type: "inventoryChanged", inventory: loop.state.inventory, warnings: ["the disk is full"] });
  await loop.idle();
  expect(sent.at(-1)).toMatchObject({ type: "report", warnings: ["the disk is full"] });
  isDiskFull = false;
  await vi.advanceTimersByTimeAsync(1_000);
  vi.useRealTimers();
  await vi.waitFor(() => expect(acts).toEqual(["identity 3", "save aaaaaaaa-1 accepted", "ensure 1001"]));
});

it("sends no picture of an earlier connection on the next one", async () => {
  const loop = await accepted();
  sent.length = 0;
  loop.dispatch({ type: "inventoryChanged", inventory: loop.state.inventory, warnings: ["x"] });
  loop.dispatch({ type: "linkDown" });
  loop.dispatch({ type: "linkUp" });
  await loop.idle();
  expect(sent).toEqual([]);
});
