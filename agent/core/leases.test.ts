/** Leases on a node: when it asks for renewals, what an answer gives to whom, and what never begins without one. */
import { expect, test } from "vitest";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { initialAgentState, reduceAgent } from "./reduce.ts";
import type { AgentEffect, AgentEvent } from "./state.ts";

const stateId = "s".repeat(16);
const attempt = "noncenon-1";
const inventory = { address: "10.0.0.1", cpus: 4, memoryGb: 8, accelerators: [], source: "none", mixedAllowed: false };

function wanted(parts: Partial<WantedAttempt> = {}): WantedAttempt {
  const grant = { node: "n1", devices: [], share: 1, cpus: 0.5, memoryGb: 0 };
  const who = { attempt, uid: 1001, user: "alice", jobId: 1, jobName: null, cluster: "local", rank: 0 };
  const how = { grant, setup: false, hasRun: true, mayRun: true, started: false, addresses: ["10.0.0.1"] };
  const rest = { nodeLabel: "head", singleNodeCluster: true, graceSeconds: 5, submittedAt: 1, leaseSeconds: 120 };
  return { ...who, ...how, ...rest, ...parts };
}

/** An agent whose ledger writes are answered at once; `give` returns what concerns leases and the skylet, in words. */
function agent() {
  const entries: Parameters<typeof initialAgentState>[0]["entries"] = [];
  const start = { node: "n1", bootId: "b", inventory, warnings: [], identity: { stateId, epoch: 1 }, entries };
  const state = initialAgentState(start);
  const wordOf = (effect: AgentEffect): string[] => {
    switch (effect.type) {
      case "sendRenew":
        return [`renew ${effect.id}`];
      case "renewAfter":
        return [`in ${effect.ms}`];
      case "sendSkylet":
        return [effect.message.type === "lease" ? `lease ${effect.message.untilUptimeMs}` : effect.message.type];
      default:
        return [];
    }
  };
  const give = (event: AgentEvent): string[] => {
    const effects = reduceAgent(state, event);
    const saved = effects.flatMap((one) => (one.type === "saveLedger" ? [one.entry.wanted.attempt] : []));
    const after = saved.flatMap((id) => give({ type: "ledgerSaved", attempt: id }));
    return [...effects.flatMap(wordOf), ...after];
  };
  const join = (): void => {
    give({ type: "linkUp" });
    give({ type: "welcomed", stateId, epoch: 1 });
  };
  const desire = (list: WantedAttempt[], ended: string[] = []): string[] => {
    const seq = state.seq + 1;
    return give({ type: "desiredReceived", desired: { type: "desired", stateId, epoch: 1, seq, wanted: list, ended } });
  };
  const prepared = (): string[] =>
    give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
  const running = (): string[] => {
    const exits = { setupExit: null, runExit: null, logDir: null, fault: null };
    const view = { attempt, state: "running" as const, pid: 7, startTime: "5", ...exits };
    return give({ type: "runnerChanged", uid: 1001, attempt: view });
  };
  join();
  return { state, give, join, desire, prepared, running };
}

const due = (uptimeMs: number): AgentEvent => ({ type: "renewDue", uptimeMs });
const ready: AgentEvent = { type: "skyletReady", uid: 1001, attempts: [] };

test("no go before a first renewal, which counts from the moment of asking; then four times a lease", () => {
  const { give, desire, prepared } = agent();
  expect(desire([wanted()])).toEqual(["in 0"]);
  expect(give(ready)).toEqual(["start", "in 0"]);
  expect(prepared()).toEqual([]);
  expect(give(due(50_000))).toEqual(["renew 1", "in 30000"]);
  expect(give({ type: "renewed", id: 1 })).toEqual(["lease 170000", "go"]);
});

test("a renewal that was asked for before the attempt was known, or on another connection, gives it nothing", () => {
  const { give, desire, prepared, join } = agent();
  const other = wanted({ attempt: "noncenon-9", jobId: 9 });
  desire([other]);
  give(ready);
  give(due(1_000));
  desire([other, wanted()]);
  prepared();
  expect(give({ type: "renewed", id: 1 })).toEqual([]);
  give(due(2_000));
  give({ type: "linkDown" });
  expect(give({ type: "renewed", id: 2 })).toEqual([]);
  join();
  expect(give({ type: "renewed", id: 7 })).toEqual([]);
});

test("what has not begun and is not wanted by this coordinator is not renewed; what runs is", () => {
  const { give, desire, prepared, running, join } = agent();
  desire([wanted()]);
  give(ready);
  prepared();
  give({ type: "linkDown" });
  join();
  expect(give(due(1_000))).toEqual([]);
  desire([wanted()]);
  give(due(2_000));
  give({ type: "renewed", id: 1 });
  running();
  give({ type: "linkDown" });
  join();
  desire([]);
  expect(give(due(9_000))).toEqual(["renew 2", "in 30000"]);
  expect(give({ type: "renewed", id: 2 })).toEqual(["lease 129000"]);
});

test("what was named as ended is not renewed, and an older answer takes nothing back", () => {
  const { give, desire, prepared, running } = agent();
  desire([wanted()]);
  give(ready);
  prepared();
  give(due(1_000));
  give(due(2_000));
  expect(give({ type: "renewed", id: 2 })).toEqual(["lease 122000", "go"]);
  running();
  expect(give({ type: "renewed", id: 1 })).toEqual([]);
  give(due(3_000));
  expect(desire([], [attempt])).toEqual(["stop"]);
  expect(give({ type: "renewed", id: 3 })).toEqual([]);
  expect(give(due(4_000))).toEqual([]);
});

test("another skylet of the user is told the lease again, and jobs without one cause no traffic", () => {
  const { give, desire, prepared, running } = agent();
  desire([wanted()]);
  give(ready);
  prepared();
  give(due(1_000));
  give({ type: "renewed", id: 1 });
  running();
  give({ type: "skyletGone", uid: 1001 });
  const exits = { setupExit: null, runExit: null, logDir: null, fault: null };
  const listed = [{ attempt, state: "running" as const, pid: 7, startTime: "5", ...exits }];
  expect(give({ type: "skyletReady", uid: 1001, attempts: listed })).toContain("lease 121000");
  const plain = agent();
  const { leaseSeconds: _, ...without } = wanted();
  expect(plain.desire([without])).toEqual([]);
  plain.give(ready);
  expect(plain.prepared()).toEqual(["go"]);
  expect(plain.give(due(1_000))).toEqual([]);
});
