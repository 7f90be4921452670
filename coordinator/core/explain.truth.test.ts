/**
 * Reasons are true: for random clusters, whatever the answer names is taken out of the way, nothing else, and the job
 * starts. What starts now has no reason, every reason has a cause, and no name is in it that the config does not show.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Shape } from "../../shared/job.ts";
import { seed } from "../../test/help/seed.ts";
import { type JobWords, Scenario } from "../../test/sim/scenario.ts";
import { allBlockersOf } from "./blockers.ts";
import { explainDryrun, explainJob } from "./explain-result.ts";
import { factsOf } from "./facts.ts";
import { plan } from "./schedule.ts";
import { type ActiveJob, jobKey } from "./state.ts";

const names: Record<number, string> = { 1001: "abelard", 1002: "zoe", 1003: "yannick" };

const jobWords = fc.record(
  {
    uid: fc.constantFrom(1001, 1002, 1003),
    accelerators: fc.constantFrom("V100:0.5", "V100:1", "V100:2", "V100:4", "H100:1", "H100:2"),
    nodes: fc.constantFrom(1, 1, 1, 2),
    cpus: fc.constantFrom(0, 0.5, 2),
    memoryGb: fc.constantFrom(0, 8),
    time: fc.constantFrom(600, 3600, 36_000),
    priority: fc.constantFrom(0, 0, 5),
    exclusive: fc.constantFrom(false, false, false, true),
    others: fc.constantFrom([], [], ["H100:1"], ["V100:1", "H100:2"]),
  },
  { requiredKeys: ["uid"] },
);
/** A mutable copy, as the scenario takes it. */
function wordsOf({ others, ...rest }: typeof jobWords extends fc.Arbitrary<infer T> ? T : never): JobWords {
  return others === undefined || rest.accelerators === undefined ? rest : { ...rest, others: [...others] };
}

const clusterWords = fc.record({
  nodes: fc.array(
    fc.record({
      accelerators: fc.constantFrom("V100:2", "V100:4", "H100:2", "-"),
      cpus: fc.constantFrom(2, 8),
      memoryGb: fc.constantFrom(8, 64),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  jobs: fc.array(jobWords, { minLength: 2, maxLength: 14 }),
  quota: fc.option(fc.constantFrom({ running: 1 }, { running: 0 }, { accelerators: { V100: 2 } }, { cpus: 2 })),
  window: fc.option(fc.constantFrom("now", "soon")),
  drained: fc.boolean(),
  waitsSeconds: fc.constantFrom(0, 60, 7200),
});
type ClusterWords = typeof clusterWords extends fc.Arbitrary<infer T> ? T : never;

function build(words: ClusterWords): Scenario {
  const scenario = new Scenario(Object.fromEntries(words.nodes.map((node, at) => [`n${at + 1}`, node]))).up();
  for (const [uid, user] of Object.entries(names)) {
    scenario.dispatch({ type: "personSeen", uid: Number(uid), user, groups: [`g${uid}`] });
  }
  if (words.quota !== null) {
    scenario.dispatch({ type: "quotaChanged", subject: "each", quota: words.quota });
  }
  const half = Math.ceil(words.jobs.length / 2);
  const submit = (job: ClusterWords["jobs"][number]): void => void scenario.submit(wordsOf(job));
  words.jobs.slice(0, half).forEach(submit);
  if (words.window !== null) {
    const from = scenario.now + (words.window === "now" ? -1000 : 1_800_000);
    const set = { kind: "maintenance" as const, nodes: ["n1"], users: [], groups: [], endJobs: false, reason: null };
    scenario.dispatch({
      type: "windowChanged",
      id: "w1",
      window: { id: "w1", from, to: scenario.now + 7_200_000, by: null, ...set },
    });
  }
  if (words.drained) {
    const wish = { state: "draining" as const, reason: null, by: "root", deadline: null };
    scenario.dispatch({ type: "nodeAdminChanged", node: "n1", wish });
  }
  words.jobs.slice(half).forEach(submit);
  scenario.now += words.waitsSeconds * 1000;
  scenario.uptime += words.waitsSeconds * 1000;
  scenario.dispatch({ type: "ticked" });
  return scenario;
}

function waitingOf(scenario: Scenario): ActiveJob[] {
  return [...scenario.state.jobs.values()].filter((job) => job.record.phase === "waiting");
}

/** The jobs end at once, and nothing of them is left on any node. */
function end(scenario: Scenario, jobs: readonly { uid: number; id: number }[]): void {
  for (const { uid, id } of jobs) {
    scenario.dispatch({ type: "cancelRequested", uid, ids: [id] });
  }
  for (const node of scenario.state.nodes.keys()) {
    const there = [...scenario.state.jobs.values()].filter(
      (one) =>
        one.record.phase === "starting" && one.record.attempt?.ranks.some((rank) => rank.grant.node === node) === true,
    );
    scenario.report(
      node,
      there.map((one) => scenario.rank(one.id, node, { state: "starting" }, one.uid)),
    );
  }
}

/** Takes away what the answer names, whom it names, on the machines that it names, and nothing else. */
function grant(scenario: Scenario, job: ActiveJob): void {
  const admin = { uid: 0, isAdmin: true };
  const { constraints } = allBlockersOf(factsOf(scenario.state, admin, scenario.now), job);
  const uidOf = (user: string | null): number => Number(Object.keys(names).find((uid) => names[Number(uid)] === user));
  const named = (type: string) => constraints.filter((one) => one.type === type);
  const holders = [...named("order"), ...named("reservation")].flatMap((one) => one.holders);
  end(
    scenario,
    holders.map((one) => ({ uid: uidOf(one.user), id: one.job_id ?? 0 })),
  );
  if (named("quota").length > 0) {
    scenario.dispatch({ type: "quotaChanged", subject: `user:${names[job.uid] ?? ""}`, quota: {} });
  }
  const text = constraints.map((one) => one.text).join();
  if (/maintenance/.test(text)) {
    scenario.dispatch({ type: "windowChanged", id: "w1", window: null });
  }
  if (named("node").length > 0) {
    scenario.dispatch({
      type: "nodeAdminChanged",
      node: "n1",
      wish: { state: "open", reason: null, by: "root", deadline: null },
    });
  }
  const rooms = constraints.filter((one) => ["accelerators", "cpus", "memory", "exclusive"].includes(one.type));
  const inWay = rooms.flatMap((one) => one.holders).map((one) => ({ uid: uidOf(one.user), id: one.job_id ?? 0 }));
  end(scenario, inWay);
}

test("whatever an answer names is taken out of the way, and the job starts", () => {
  let granted = 0;
  let atOnce = 0;
  fc.assert(
    fc.property(clusterWords, fc.nat(), (words, pick) => {
      const scenario = build(words);
      const waiting = waitingOf(scenario);
      const job = waiting[pick % Math.max(1, waiting.length)];
      if (job === undefined) {
        return;
      }
      const key = jobKey(job.uid, job.id);
      // What is ended for the job changes whose turn it is, so now and then another one comes first and is named then.
      let rounds = 0;
      for (; rounds < 20 && job.record.phase === "waiting"; rounds += 1) {
        const { constraints } = allBlockersOf(factsOf(scenario.state, { uid: 0, isAdmin: true }, scenario.now), job);
        expect([key, constraints.length > 0]).toEqual([key, true]);
        if (constraints.some((one) => one.type === "fit")) {
          return;
        }
        grant(scenario, job);
      }
      expect([key, job.record.phase]).toEqual([key, "starting"]);
      granted += 1;
      atOnce += rounds === 1 ? 1 : 0;
    }),
    { numRuns: 300, seed },
  );
  expect(granted).toBeGreaterThan(50);
  expect(atOnce / granted).toBeGreaterThan(0.5);
});

test("every answer has a cause, reads well, and names nobody whom the config hides", () => {
  fc.assert(
    fc.property(clusterWords, (words) => {
      const scenario = build(words);
      expect(plan(scenario.state, scenario.now).starts).toEqual([]);
      for (const job of waitingOf(scenario)) {
        const reader = { viewer: { uid: job.uid, isAdmin: false }, cluster: "lab", now: scenario.now };
        const answer = explainJob(scenario.state, job, reader);
        expect(answer.starts_now).toBe(false);
        expect(answer.reason).toBeTruthy();
        expect(answer.constraints.length).toBeGreaterThan(0);
        const text = JSON.stringify({ ...answer, user: "", resources: "" });
        const words = [answer.reason, answer.needs, ...answer.constraints.map((one) => one.text), ...answer.actions];
        expect(words.join("\n")).not.toMatch(/\bnull\b|undefined|NaN|Infinity|\[object|\b0 CPUs on/);
        for (const [uid, name] of Object.entries(names)) {
          expect(Number(uid) !== job.uid && text.includes(name) ? `${name} in ${text}` : null).toBeNull();
        }
        if (answer.earliest_start !== null) {
          expect(answer.earliest_start * 1000).toBeGreaterThanOrEqual(scenario.now - 1000);
        }
      }
    }),
    { numRuns: 200, seed },
  );
});

test("a dry run tells what then happens", () => {
  fc.assert(
    fc.property(clusterWords, jobWords, (words, next) => {
      const scenario = build(words);
      const record = scenario.recordFor(wordsOf(next));
      const reader = { viewer: { uid: record.uid, isAdmin: false }, cluster: "lab", now: scenario.now };
      const answer = explainDryrun(scenario.state, record, reader);
      const id = scenario.submit(wordsOf(next));
      const where = scenario.place(id, record.uid);
      expect(answer.starts_now ? answer.places.map((place) => place.node).join() : "waiting").toBe(where);
    }),
    { numRuns: 200, seed },
  );
});

const unitSeconds: Record<string, number> = { d: 86_400, h: 3_600, m: 60, s: 1 };

/** The shape that an offer asks for; null: the text is no offer to change the job. */
function offered(text: string, shape: Shape): Shape | null {
  const fewer = /^ask for (\d+) instead of \d+:/.exec(text);
  const nodes = /^ask for (\d+) nodes? instead of \d+:/.exec(text);
  const time = /^give --time (\S+) or less:/.exec(text);
  const kind = /^ask for ([\d.]+) x (\S+): that/.exec(text);
  const { accelerators } = shape;
  if (fewer !== null && accelerators !== null && shape.others === undefined) {
    return { ...shape, accelerators: { ...accelerators, count: Number(fewer[1]) } };
  }
  if (nodes !== null) {
    return { ...shape, nodes: Number(nodes[1]) };
  }
  if (time !== null) {
    const parts = [...(time[1] ?? "").matchAll(/(\d+)([dhms])/g)];
    const seconds = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (unitSeconds[unit ?? ""] ?? 0), 0);
    return { ...shape, timeLimitSeconds: seconds };
  }
  if (kind !== null) {
    const { others: _others, ...rest } = shape;
    return { ...rest, accelerators: { kind: kind[2] ?? "", count: Number(kind[1]) } };
  }
  return null;
}

test("changes that are offered help: the job so changed starts at once", () => {
  let helped = 0;
  fc.assert(
    fc.property(clusterWords, fc.nat(), (words, pick) => {
      const scenario = build(words);
      const waiting = waitingOf(scenario);
      const job = waiting[pick % Math.max(1, waiting.length)];
      if (job === undefined) {
        return;
      }
      const reader = { viewer: { uid: job.uid, isAdmin: false }, cluster: "lab", now: scenario.now };
      const { actions } = explainJob(scenario.state, job, reader);
      scenario.dispatch({ type: "cancelRequested", uid: job.uid, ids: [job.id] });
      if (waitingOf(scenario).length < waiting.length - 1) {
        // Others took the chance.
        return;
      }
      for (const text of actions) {
        const shape = offered(text, job.record.shape);
        if (shape !== null) {
          const answer = explainDryrun(scenario.state, { ...job.record, shape }, reader);
          expect([text, answer.starts_now]).toEqual([text, true]);
          helped += 1;
        }
      }
    }),
    { numRuns: 300, seed },
  );
  expect(helped).toBeGreaterThan(10);
});
