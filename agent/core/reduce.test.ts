/** The agent's decisions, event by event: what is asked for, in which order, and what is never asked for. */
import { expect, test } from "vitest";
import type { Desired, WantedAttempt } from "../../shared/agent-wire.ts";
import type { SkyletAttempt } from "../../shared/skylet-wire.ts";
import { initialAgentState, reduceAgent } from "./reduce.ts";
import type { AgentEffect, AgentEvent, AgentState, LedgerEntry } from "./state.ts";

const stateId = "s".repeat(16);
const attempt = "noncenon-1";
const inventory = { address: "10.0.0.1", cpus: 4, memoryGb: 8, accelerators: [], source: "none", mixedAllowed: false };

function wanted(parts: Partial<WantedAttempt> = {}): WantedAttempt {
  const grant = { node: "n1", devices: [], share: 1, cpus: 0.5, memoryGb: 0 };
  const who = { attempt, uid: 1001, user: "alice", jobId: 1, jobName: null, cluster: "local", rank: 0 };
  const how = { grant, setup: false, hasRun: true, mayRun: true, started: false, addresses: ["10.0.0.1"] };
  return { ...who, ...how, nodeLabel: "head", singleNodeCluster: true, graceSeconds: 5, submittedAt: 1, ...parts };
}

function view(parts: Partial<SkyletAttempt>): SkyletAttempt {
  const nothing = { pid: null, startTime: null, setupExit: null, runExit: null, logDir: null, fault: null };
  return { attempt, state: "starting", ...nothing, ...parts };
}

/** An agent driven by hand; ledger writes are answered at once unless `holdsLedger`. */
class Hand {
  state: AgentState;
  ledger = new Map<string, LedgerEntry>();
  holdsLedger = false;
  done: AgentEffect[] = [];

  constructor(entries: LedgerEntry[] = [], identity: AgentState["welcome"] = null, bootId = "boot-1") {
    this.state = initialAgentState({ node: "n1", bootId, inventory, warnings: [], identity, entries });
  }

  /** Gives the event and returns in one word each what was asked for, reports aside. */
  give(event: AgentEvent): string[] {
    const effects = reduceAgent(this.state, event);
    this.done.push(...effects);
    const words = effects.filter((effect) => effect.type !== "sendReport" && effect.type !== "log").map(wordOf);
    for (const effect of effects) {
      if (effect.type === "saveLedger" && !this.holdsLedger) {
        this.ledger.set(effect.entry.wanted.attempt, effect.entry);
        words.push(...this.give({ type: "ledgerSaved", attempt: effect.entry.wanted.attempt }));
      }
    }
    return words;
  }

  join(epoch = 1): this {
    this.give({ type: "linkUp" });
    this.give({ type: "welcomed", stateId, epoch });
    this.give({ type: "identitySaved", stateId, epoch });
    return this;
  }

  desire(seq: number, list: WantedAttempt[], ended: string[] = [], parts: Partial<Desired> = {}): string[] {
    return this.give({
      type: "desiredReceived",
      desired: { type: "desired", stateId, epoch: 1, seq, wanted: list, ended, ...parts },
    });
  }

  /** As the last report says; `null`: nothing was reported. */
  reported(): string[] | null {
    const last = this.done.findLast((effect) => effect.type === "sendReport");
    return last?.type === "sendReport" ? last.report.attempts.map((one) => `${one.attempt} ${one.state}`) : null;
  }

  run(): this {
    this.desire(1, [wanted()]);
    this.give({ type: "skyletReady", uid: 1001, attempts: [] });
    this.give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
    this.give({ type: "runnerChanged", uid: 1001, attempt: view({ state: "running", pid: 7, startTime: "5" }) });
    return this;
  }
}

function wordOf(effect: AgentEffect): string {
  if (effect.type === "sendSkylet") {
    return effect.message.type;
  }
  return effect.type === "saveLedger" ? `save ${effect.entry.phase}` : effect.type;
}

test("a start goes through the ledger before each act", () => {
  const hand = new Hand().join();
  expect(hand.desire(1, [wanted()])).toEqual(["save accepted", "ensureSkylet"]);
  expect(hand.give({ type: "skyletReady", uid: 1001, attempts: [] })).toEqual(["start"]);
  hand.holdsLedger = true;
  const prepared = {
    type: "runnerPrepared",
    uid: 1001,
    attempt,
    pid: 7,
    startTime: "5",
    logDir: "sky_logs/1",
  } as const;
  expect(hand.give(prepared)).toEqual(["save go"]);
  expect(hand.give({ type: "ledgerSaved", attempt })).toEqual(["go"]);
});

test("a new node follows the first state it meets and refuses every other, and every earlier epoch", () => {
  const hand = new Hand();
  hand.give({ type: "linkUp" });
  expect(hand.give({ type: "welcomed", stateId, epoch: 4 })).toEqual(["saveIdentity"]);
  expect(hand.reported()).toBeNull();
  hand.give({ type: "identitySaved", stateId, epoch: 4 });
  expect(hand.reported()).toEqual([]);
  expect(hand.give({ type: "welcomed", stateId, epoch: 3 })).toEqual(["refuse"]);
  expect(hand.give({ type: "welcomed", stateId: "x".repeat(16), epoch: 9 })).toEqual(["refuse"]);
  expect(hand.desire(1, [wanted()], [], { stateId: "x".repeat(16), epoch: 9 })).toEqual([]);
});

test("pictures of another epoch or with an old number are not obeyed", () => {
  const hand = new Hand().join();
  hand.desire(5, []);
  expect(hand.desire(5, [wanted()])).toEqual([]);
  expect(hand.desire(6, [wanted()], [], { epoch: 2 })).toEqual([]);
  expect(hand.state.attempts.size).toBe(0);
});

test("news that the ledger has already is reported and not written again", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  hand.give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
  const running = view({ state: "running", pid: 7, startTime: "5", logDir: "sky_logs/1" });
  expect(hand.give({ type: "runnerChanged", uid: 1001, attempt: running })).toEqual([]);
  expect(hand.reported()).toEqual([`${attempt} running`]);
  const exited = view({ ...running, state: "exited", runExit: 0 });
  expect(hand.give({ type: "runnerChanged", uid: 1001, attempt: exited })).toEqual(["save exited"]);
});

test("only what is named as ended is stopped; it is forgotten when nothing of it is left", () => {
  const hand = new Hand().join().run();
  expect(hand.desire(2, [])).toEqual([]);
  expect(hand.reported()).toEqual([`${attempt} running`]);
  expect(hand.desire(3, [], [attempt])).toEqual(["stop", "clearLater"]);
  expect(hand.reported()).toEqual([`${attempt} running`]);
  expect(hand.give({ type: "attemptGone", uid: 1001, attempt })).toEqual(["dropLedger", "forget"]);
  expect(hand.reported()).toEqual([]);
});

test("an attempt that ended before any skylet was asked is dropped without one", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  expect(hand.desire(2, [], [attempt])).toEqual(["dropLedger"]);
});

test("an attempt that was seen started and is not in the ledger is reported lost, never started", () => {
  const hand = new Hand().join();
  expect(hand.desire(1, [wanted({ started: true })])).toEqual(["save exited"]);
  expect(hand.reported()).toEqual([`${attempt} exited`]);
});

test("after a restart of the agent what was accepted is started again, what ran is found again", () => {
  const accepted = new Hand().join();
  accepted.desire(1, [wanted()]);
  const first = new Hand([...accepted.ledger.values()]);
  expect(first.give({ type: "resumed" })).toEqual(["ensureSkylet"]);
  expect(first.give({ type: "skyletReady", uid: 1001, attempts: [view({ pid: 9 })] })).toEqual(["start"]);
  const running = new Hand().join().run();
  const second = new Hand([...running.ledger.values()], { stateId, epoch: 1 });
  second.give({ type: "resumed" });
  const seen = view({ state: "exited", pid: 7, runExit: 3 });
  expect(second.give({ type: "skyletReady", uid: 1001, attempts: [seen] })).toEqual(["save exited"]);
  expect(second.state.attempts.get(attempt)?.report).toMatchObject({ state: "exited", runExit: 3, fault: null });
});

test("go is repeated for a living blocked runner; one that is gone is prepared and checked anew", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  hand.give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
  expect(hand.give({ type: "skyletGone", uid: 1001 })).toEqual(["ensureSkylet"]);
  expect(hand.give({ type: "skyletReady", uid: 1001, attempts: [view({ pid: 7 })] })).toEqual(["go", "mayRun"]);
  hand.give({ type: "skyletGone", uid: 1001 });
  expect(hand.give({ type: "skyletReady", uid: 1001, attempts: [view({ pid: null })] })).toEqual([
    "save accepted",
    "start",
  ]);
  const again = { type: "runnerPrepared", uid: 1001, attempt, pid: 8, startTime: "6", logDir: "sky_logs/1" } as const;
  expect(hand.give(again)).toEqual(["save go", "go"]);
});

test("what ran when the machine restarted is over; its runner cannot be there, so it is dropped without a skylet", () => {
  const running = new Hand().join().run();
  const hand = new Hand([...running.ledger.values()], { stateId, epoch: 1 }, "boot-2");
  hand.give({ type: "resumed" });
  hand.join();
  expect(hand.reported()).toEqual([`${attempt} exited`]);
  expect(hand.desire(1, [], [attempt])).toEqual(["dropLedger"]);
});

test("a runner that vanished without an exit code is a fault", () => {
  const running = new Hand().join().run();
  const hand = new Hand([...running.ledger.values()], { stateId, epoch: 1 });
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  expect(hand.state.attempts.get(attempt)?.report).toMatchObject({
    state: "exited",
    fault: expect.stringContaining("vanished"),
  });
});

test("mayRun is passed on when it comes", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted({ mayRun: false, setup: true })]);
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  hand.give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
  hand.give({ type: "runnerChanged", uid: 1001, attempt: view({ state: "setupDone", pid: 7, setupExit: 0 }) });
  expect(hand.desire(2, [wanted({ mayRun: true, setup: true })])).toEqual(["mayRun"]);
  expect(hand.desire(3, [wanted({ mayRun: true, setup: true })])).toEqual([]);
});

test("a warning is passed on once to what runs, again to another skylet, and taken back when it holds no more", () => {
  const hand = new Hand().join().run();
  expect(hand.desire(2, [wanted({ warned: true })])).toEqual(["warn"]);
  expect(hand.desire(3, [wanted({ warned: true })])).toEqual([]);
  hand.give({ type: "skyletGone", uid: 1001 });
  expect(hand.give({ type: "skyletReady", uid: 1001, attempts: [view({ state: "running", pid: 7 })] })).toEqual([
    "mayRun",
    "warn",
  ]);
  expect(hand.desire(4, [wanted()])).toEqual(["unwarn"]);
  expect(hand.desire(5, [wanted({ warned: true })])).toEqual(["warn"]);
  // It may be taken back, so a restart goes by the next picture; and an agent of the version before can read the ledger.
  expect([...hand.ledger.values()].map((entry) => "warned" in entry.wanted)).toEqual([false]);
});

test("what does not run yet is not warned before it does", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  hand.give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
  expect(hand.desire(2, [wanted({ warned: true })])).toEqual([]);
  expect(hand.give({ type: "runnerChanged", uid: 1001, attempt: view({ state: "running", pid: 7 }) })).toContain(
    "warn",
  );
});

test("a restart in the middle of a second preparation does not take the attempt for one that had run", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  hand.give({ type: "runnerPrepared", uid: 1001, attempt, pid: 7, startTime: "5", logDir: "sky_logs/1" });
  hand.give({ type: "skyletGone", uid: 1001 });
  hand.give({ type: "skyletReady", uid: 1001, attempts: [view({ pid: null })] });
  // The skylet has no folder of it while it prepares.
  const restarted = new Hand([...hand.ledger.values()], { stateId, epoch: 1 });
  restarted.give({ type: "resumed" });
  expect(restarted.give({ type: "skyletReady", uid: 1001, attempts: [] })).toEqual(["start"]);
});

test("a runner that ends at its gate is asked for again, a bounded number of times", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  hand.give({ type: "skyletReady", uid: 1001, attempts: [] });
  for (let pid = 11; pid <= 20; pid += 1) {
    hand.give({ type: "runnerPrepared", uid: 1001, attempt, pid, startTime: "5", logDir: "sky_logs/1" });
    const lost = { type: "runnerChanged", uid: 1001, attempt: view({ pid: null }) } as const;
    expect(hand.give(lost)).toEqual(["save accepted", "start"]);
  }
  // It ended before its pid could be recorded.
  hand.give({ type: "runnerChanged", uid: 1001, attempt: view({ pid: null }) });
  expect(hand.state.attempts.get(attempt)?.report).toMatchObject({
    state: "exited",
    fault: expect.stringContaining("before it could begin"),
  });
});

test("a login that is late is tried again and says so; one that is refused fails the job", () => {
  const hand = new Hand().join();
  hand.desire(1, [wanted()]);
  for (let round = 0; round < 5; round += 1) {
    expect(hand.give({ type: "skyletFailed", uid: 1001, error: "late", fault: "passing" })).toEqual(["retryLater"]);
    expect(hand.state.attempts.get(attempt)?.report).toMatchObject({ state: "starting", fault: "late" });
    expect(hand.give({ type: "retryDue", uid: 1001 })).toEqual(["ensureSkylet"]);
  }
  expect(hand.give({ type: "skyletReady", uid: 1001, attempts: [] })).toEqual(["start"]);
  expect(hand.state.attempts.get(attempt)?.report.fault).toBeNull();
  hand.give({ type: "skyletGone", uid: 1001 });
  hand.give({ type: "skyletFailed", uid: 1001, error: "exit code 1", fault: "failed" });
  hand.give({ type: "skyletFailed", uid: 1001, error: "exit code 1", fault: "failed" });
  expect(hand.give({ type: "skyletFailed", uid: 1001, error: "exit code 1", fault: "failed" })).toEqual([
    "save exited",
  ]);
});

test("a skylet that cannot be had fails what has not begun, and is tried again for what runs", () => {
  const fresh = new Hand().join();
  fresh.desire(1, [wanted()]);
  const refused = { type: "skyletFailed", uid: 1001, error: "no such user", fault: "refused" } as const;
  expect(fresh.give(refused)).toEqual(["save exited"]);
  expect(fresh.state.attempts.get(attempt)?.report.fault).toBe("no such user");
  const running = new Hand().join().run();
  expect(running.give({ type: "skyletGone", uid: 1001 })).toEqual(["ensureSkylet"]);
  expect(running.give({ type: "skyletFailed", uid: 1001, error: "su did not answer", fault: "refused" })).toEqual([
    "retryLater",
  ]);
  expect(running.reported()).toEqual([`${attempt} running`]);
  expect(running.give({ type: "retryDue", uid: 1001 })).toEqual(["ensureSkylet"]);
});

test("a skylet speaks of its own user's attempts only", () => {
  const hand = new Hand().join().run();
  hand.give({ type: "runnerChanged", uid: 1002, attempt: view({ state: "exited", runExit: 0 }) });
  hand.give({ type: "attemptGone", uid: 1002, attempt });
  expect(hand.reported()).toEqual([`${attempt} running`]);
});

test("devices that another attempt still holds are waited for", () => {
  const hand = new Hand().join().run();
  const grant = { node: "n1", devices: [0], share: 1, cpus: 0, memoryGb: 0 };
  hand.desire(2, [wanted(), wanted({ attempt: "noncenon-2", grant }), wanted({ attempt: "noncenon-3", grant })]);
  const started = hand.done.filter((effect) => effect.type === "sendSkylet" && effect.message.type === "start");
  expect(started).toHaveLength(2);
  expect(hand.desire(3, [wanted(), wanted({ attempt: "noncenon-3", grant })], ["noncenon-2"])).toEqual([
    "stop",
    "clearLater",
  ]);
  expect(hand.give({ type: "attemptGone", uid: 1001, attempt: "noncenon-2" })).toEqual([
    "dropLedger",
    "forget",
    "start",
  ]);
});

test("a skylet that was to retire stays when its user has a new job", () => {
  const hand = new Hand().join().run();
  hand.give({ type: "retireRequested", uid: 1001 });
  hand.desire(2, [wanted({ attempt: "noncenon-2" })], [attempt]);
  expect(hand.give({ type: "attemptGone", uid: 1001, attempt })).toEqual(["dropLedger", "forget"]);
});

test("a skylet retires once the user has no attempts", () => {
  const hand = new Hand().join().run();
  expect(hand.give({ type: "retireRequested", uid: 1001 })).toEqual([]);
  hand.desire(2, [], [attempt]);
  expect(hand.give({ type: "attemptGone", uid: 1001, attempt })).toEqual(["dropLedger", "forget", "retire"]);
});
