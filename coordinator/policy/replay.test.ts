/**
 * The replay of past jobs: what another set of policies would have refused or changed, from what the log keeps; what the
 * log leaves out is never a reason.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PlainValue } from "../../shared/policy/words.ts";
import { coordinatorConfigSchema } from "../config.ts";
import { initialState } from "../core/initial.ts";
import type { State } from "../core/state.ts";
import { type DecisionLine, keptWorkload } from "./decision-line.ts";
import { DecisionLog } from "./decision-log.ts";
import { PolicySet } from "./policy-set.ts";
import type { PolicyRevision } from "./policy-store.ts";
import { refusedNow, replay } from "./replay.ts";

const place = coordinatorConfigSchema.parse({
  ...{ cluster: "lab", host_key: "/k", redis: { socket: "/r" }, state_dir: "/s", nodes: [{ name: "n", key: "k" }] },
  policies: { projects: [{ name: "nlp" }] },
});
let folder: string;
let decisions: DecisionLog;
let state: State;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-replay-"));
  decisions = new DecisionLog(folder, 90, pino({ level: "silent" }));
  const recovered = { stateId: "s".repeat(16), epoch: 1, nonce: "n".repeat(8), jobs: [], setups: [] };
  state = initialState({ nodes: [], graceSeconds: 1 }, { ...recovered, uptime: 0, now: 0 });
});
afterEach(async () => {
  await decisions.flushed();
  rmSync(folder, { recursive: true, force: true });
});

function setOf(text: string | null): PolicySet {
  const revision: PolicyRevision = {
    ...{ format: 1, name: "p", revision: 1, at: 1, by: "root", what: "created", requestId: randomUUID(), text },
    ...{ given: { name: "p", scope: "cluster", workloads: ["training"] }, createdBy: "root", createdAt: 1 },
  };
  const set = new PolicySet(
    { newest: text === null ? [] : [revision], damaged: [], assets: [], exceptions: [] },
    place,
  );
  expect(set.fault).toBeNull();
  return set;
}

function submitted(jobId: number, workload: Record<string, PlainValue>, changes: Partial<DecisionLine> = {}): void {
  const time = Date.now();
  decisions.add({
    ...{ format: 1, time, at: time / 1000, uid: 1001, user: "ada", project: "nlp", kind: "training", request_id: "r" },
    ...{ request: "launch", job_id: jobId, job_name: null, outcome: "accepted", by: null, policies: [] },
    ...{ violations: [], changed: [], text: null },
    ways: [{ label: null, workload: keptWorkload(new Map(Object.entries(workload))) }],
    ...changes,
  });
}

async function after(text: string | null, before: string | null = null, jobs = 100) {
  return replay(decisions, state, { before: setOf(before), after: setOf(text), jobs });
}

test("tells what would be refused, what would be changed, and what would not; the newest first", async () => {
  submitted(1, { image: "ubuntu", "compute.gpuDevicesRequest": 4 });
  submitted(2, { image: "ubuntu", "compute.gpuDevicesRequest": 1 });
  submitted(3, { image: "debian", "compute.gpuDevicesRequest": 1 });
  const text =
    'defaults: {nodePools: [a]}\nrules: {compute: {gpuDevicesRequest: {max: 2}}, image: {options: ["ubuntu"]}}';
  const { looked, same, changed } = await after(text);
  expect([looked, same]).toEqual([3, 0]);
  expect(
    changed.map(({ job_id, after: then, fields, violations }) => [job_id, then, fields, violations.length]),
  ).toEqual([
    [3, "rejected", [], 1],
    [2, "accepted", ["nodePools"], 0],
    [1, "rejected", [], 1],
  ]);
  expect(await after(text, null, 2)).toMatchObject({ looked: 2 });
  expect(await after(text, text)).toMatchObject({ looked: 3, same: 3, changed: [] });
  // The other way round: what would pass again.
  expect((await after(null, text)).changed[0]).toMatchObject({ job_id: 3, before: "rejected", after: "accepted" });
});

test("values of variables and scripts are never a reason: they were not kept", async () => {
  submitted(1, { command: "rm -rf x", environmentVariables: [{ name: "A", value: "1" }] });
  const text =
    'rules:\n  command: {options: ["echo"]}\n  environmentVariables: {attributes: {value: {required: true, options: ["2"]}}}';
  expect(await after(text)).toMatchObject({ looked: 1, same: 1 });
  expect(await after("rules: {environmentVariables: {instances: {canAdd: false}}}")).toMatchObject({
    changed: [{ after: "rejected", violations: [{ rule: "canAdd" }] }],
  });
});

test("dry runs, refusals of an admin policy and lines without a workload are not looked at", async () => {
  submitted(1, { image: "x" }, { request: "validate" });
  submitted(2, { image: "x" }, { kind: null, ways: null, by: "admin policy", outcome: "rejected" });
  submitted(3, { image: "x" }, { ways: null });
  expect(await after("rules: {image: {blocked: true}}")).toEqual({ looked: 0, same: 0, changed: [] });
});

test("nothing is looked for when nothing is unfinished", async () => {
  submitted(1, { image: "x" });
  expect(await refusedNow(decisions, state, setOf("rules: {image: {blocked: true}}"))).toEqual([]);
});
