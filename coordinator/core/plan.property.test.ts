/**
 * What holds of the plan whatever happens: what it remembers changes nothing, quotas hold, a reserved start never moves
 * later, nobody starves, shares become fair, and after a restart it is the same plan.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { seed } from "../../test/help/seed.ts";
import { type JobWords, type NodeWords, Scenario } from "../../test/sim/scenario.ts";
import type { NodeWindow, Person, Quota } from "../../shared/scheduling.ts";
import type { ActiveJob } from "./state.ts";
import { planOn } from "./schedule.ts";

const users = [1001, 1002, 1003];
const people: Person[] = users.map((uid, at) => ({
  ...{ uid, user: `user${uid}`, groups: at < 2 ? ["lab"] : ["other"], use: 1000 * at, useAt: 1_000_000 },
}));

const jobWords: fc.Arbitrary<JobWords> = fc
  .record({
    uid: fc.constantFrom(...users),
    accelerators: fc.constantFrom(undefined, "V100:0.5", "V100:1", "V100:2", "H100:1", "16GB+:1", "H100:0.25"),
    nodes: fc.constantFrom(1, 1, 1, 2),
    cpus: fc.constantFrom(0.5, 1, 3),
    memoryGb: fc.constantFrom(0, 8),
    time: fc.constantFrom(undefined, 60, 600, 3600),
    priority: fc.constantFrom(undefined, undefined, 5),
    exclusive: fc.constantFrom(undefined, undefined, undefined, true),
    others: fc.constantFrom(undefined, undefined, ["H100:1"]),
    labels: fc.constantFrom(undefined, undefined, undefined, { rack: "a" }),
  })
  .map((words) => {
    const given = Object.entries(words).filter(([name, value]) => {
      return value !== undefined && (name !== "others" || words.accelerators !== undefined);
    });
    return { ...Object.fromEntries(given), user: `user${words.uid}` };
  });

const nodeWords: fc.Arbitrary<NodeWords> = fc.record({
  accelerators: fc.constantFrom("-", "V100:2", "V100:4", "H100:2"),
  cpus: fc.constantFrom(2, 6),
  memoryGb: fc.constantFrom(8, 32),
  labels: fc.constantFrom({}, { rack: "a" }),
});

type Step =
  | { do: "submit"; words: JobWords }
  | { do: "finish" | "cancel"; which: number }
  | { do: "pass"; seconds: number }
  | { do: "drain" | "resume" | "cut" | "back"; node: number }
  | { do: "quota"; quota: Quota | null }
  | { do: "window"; window: NodeWindow | null };

const windowsDrawn: fc.Arbitrary<NodeWindow | null> = fc.option(
  fc
    .record({ kind: fc.constantFrom("maintenance" as const, "reservation" as const), from: fc.nat(2_000_000) })
    .map(({ kind, from }) => ({
      ...{ id: "w1", kind, nodes: ["n0"], from: 1_000_000 + from, to: 1_900_000 + from, users: [], groups: ["lab"] },
      ...{ endJobs: false, reason: null, by: null },
    })),
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: jobWords.map((words): Step => ({ do: "submit", words })) },
    { weight: 4, arbitrary: fc.nat(30).map((which): Step => ({ do: "finish", which })) },
    { weight: 1, arbitrary: fc.nat(30).map((which): Step => ({ do: "cancel", which })) },
    { weight: 2, arbitrary: fc.constantFrom(5, 50, 2_000).map((seconds): Step => ({ do: "pass", seconds })) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom("drain" as const, "resume" as const, "cut" as const, "back" as const), fc.nat(2))
        .map(([what, node]): Step => ({ do: what, node })),
    },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom<Quota | null>(null, { running: 2 }, { accelerators: { "*": 2 } }, { cpus: 3 })
        .map((quota): Step => ({ do: "quota", quota })),
    },
    { weight: 1, arbitrary: windowsDrawn.map((window): Step => ({ do: "window", window })) },
  ),
  { maxLength: 40 },
);

function begun(scenario: Scenario): ActiveJob[] {
  return [...scenario.state.jobs.values()].filter(({ record }) => !["waiting", "ended"].includes(record.phase));
}

function waiting(scenario: Scenario): ActiveJob[] {
  return [...scenario.state.jobs.values()].filter(({ record }) => record.phase === "waiting");
}

function take(scenario: Scenario, step: Step): void {
  const names = [...scenario.state.nodes.keys()];
  const node = "node" in step ? (names[step.node % names.length] ?? "n0") : "n0";
  const wish = { reason: null, by: "admin", deadline: null };
  switch (step.do) {
    case "submit":
      scenario.submit(step.words);
      return;
    case "finish": {
      const job = begun(scenario)[step.which];
      if (job !== undefined && job.record.attempt?.ranks.every(({ grant }) => isUp(scenario, grant.node)) === true) {
        scenario.finish(job.id, job.uid);
      }
      return;
    }
    case "cancel": {
      const job = waiting(scenario)[step.which];
      if (job !== undefined) {
        scenario.dispatch({ type: "cancelRequested", uid: job.uid, ids: [job.id] });
      }
      return;
    }
    case "pass":
      scenario.pass(step.seconds);
      return;
    case "drain":
    case "resume":
      scenario.dispatch({
        type: "nodeAdminChanged",
        node,
        wish: { state: step.do === "drain" ? "draining" : "open", ...wish },
      });
      return;
    case "cut":
      scenario.dispatch({ type: "nodeDisconnected", node });
      return;
    case "back":
      scenario.connect(node).report(node, scenario.running(node));
      return;
    case "quota":
      scenario.dispatch({ type: "quotaChanged", subject: "each", quota: step.quota });
      return;
    case "window":
      scenario.dispatch({ type: "windowChanged", id: "w1", window: step.window });
      return;
    default:
  }
}

function isUp(scenario: Scenario, node: string): boolean {
  return scenario.state.nodes.get(node)?.heard === true;
}

/** The plan as it is and as it would be if nothing were remembered. */
function plans(scenario: Scenario): { remembered: object; anew: object } {
  const { state } = scenario;
  const partsOf = ({ plan }: ReturnType<typeof planOn>): object => ({ starts: plan.starts, kept: plan.reservations });
  const remembered = partsOf(planOn(state, scenario.now));
  const { blocked, planDue } = state;
  state.blocked = new Set();
  state.indexes.moments.clear();
  state.indexes.shares.step = -1;
  for (const room of state.indexes.rooms) {
    state.indexes.touched.add(room.node.name);
  }
  const anew = partsOf(planOn(state, scenario.now));
  Object.assign(state, { blocked, planDue });
  return { remembered, anew };
}

function quotaBroken(scenario: Scenario, before: ReadonlySet<string>): boolean {
  const quota = scenario.state.quotas.get("each");
  return users.some((uid) => {
    const own = begun(scenario).filter((job) => job.uid === uid);
    const grants = own.flatMap((job) => job.record.attempt?.ranks.map((rank) => rank.grant) ?? []);
    const devices = grants.reduce((sum, grant) => sum + grant.devices.length * grant.share, 0);
    const cpus = grants.reduce((sum, grant) => sum + grant.cpus, 0);
    const hasNew = own.some((job) => !before.has(`${uid}/${job.id}`));
    const over =
      own.length > (quota?.running ?? 99) ||
      devices > (quota?.accelerators?.["*"] ?? 99) + 1e-6 ||
      cpus > (quota?.cpus ?? 99) + 1e-6;
    return hasNew && over;
  });
}

test("what the plan remembers changes nothing, nothing that may start waits, quotas hold for all that starts", () => {
  fc.assert(
    fc.property(fc.array(nodeWords, { minLength: 1, maxLength: 3 }), steps, (nodes, all) => {
      const named = Object.fromEntries(nodes.map((words, at) => [`n${at}`, words]));
      const scenario = new Scenario(named, { people }).up();
      for (const step of all) {
        const before = new Set(begun(scenario).map((job) => `${job.uid}/${job.id}`));
        take(scenario, step);
        const { remembered, anew } = plans(scenario);
        expect(remembered).toEqual(anew);
        // What gave way to another order by the passing of time alone is started with the next event.
        scenario.pass(0);
        expect(planOn(scenario.state, scenario.now).plan.starts).toEqual([]);
        expect(quotaBroken(scenario, before)).toBe(false);
      }
    }),
    { numRuns: 150, seed },
  );
});

test("after a restart it is the same plan", () => {
  fc.assert(
    fc.property(
      fc.array(nodeWords, { minLength: 1, maxLength: 3 }),
      fc.array(jobWords, { maxLength: 25 }),
      (nodes, jobs) => {
        const named = Object.fromEntries(nodes.map((words, at) => [`n${at}`, words]));
        const quotas = { each: { running: 6 } };
        const scenario = new Scenario(named, { people, quotas }).up();
        for (const words of jobs) {
          scenario.submit(words);
          scenario.pass(1);
        }
        const again = new Scenario(named, {
          people: [...scenario.state.people.values()],
          // Nothing starts before all nodes are back.
          ...{ quotas: { each: { running: 0 } }, now: scenario.now },
          jobs: [...scenario.state.jobs.values()].map(({ id, record, grantedAt }) => ({
            id,
            record,
            takenAt: grantedAt,
          })),
        });
        const names = Object.keys(named);
        for (const name of names) {
          again.connect(name).report(name, again.running(name));
        }
        again.dispatch({ type: "quotaChanged", subject: "each", quota: quotas.each });
        // Something becomes free in both worlds at once.
        const first = begun(scenario)[0];
        if (first !== undefined) {
          scenario.finish(first.id, first.uid);
          again.finish(first.id, first.uid);
        }
        const placesOf = (one: Scenario): string[] =>
          [...one.state.jobs.values()].map((job) => `${job.uid}/${job.id} ${one.place(job.id, job.uid)}`).sort();
        const keptOf = (one: Scenario): object[] =>
          planOn(one.state, one.now).plan.reservations.map(({ start, ...rest }) => ({
            ...rest,
            in: start === null ? null : Math.round((start - one.uptime) / 1000),
          }));
        expect(placesOf(again)).toEqual(placesOf(scenario));
        expect(keptOf(again)).toEqual(keptOf(scenario));
      },
    ),
    { numRuns: 150, seed },
  );
});

/** Lets what runs end one after the other, each at most at its limit, until nobody is left; calls `look` at each moment. */
function playOut(scenario: Scenario, part: (job: ActiveJob) => number, look: () => void, until = 1e9): void {
  const ends = new Map<string, number>();
  for (let round = 0; round < 2_000; round += 1) {
    const running = begun(scenario);
    for (const job of running) {
      const key = `${job.uid}/${job.id}`;
      const limit = job.record.shape.timeLimitSeconds ?? 600;
      ends.set(key, ends.get(key) ?? scenario.now + Math.max(1, Math.floor(limit * part(job))) * 1000);
    }
    const next = running.toSorted(
      (a, b) =>
        (ends.get(`${a.uid}/${a.id}`) ?? 0) - (ends.get(`${b.uid}/${b.id}`) ?? 0) || a.uid - b.uid || a.id - b.id,
    )[0];
    if (next === undefined || scenario.now > until) {
      return;
    }
    const at = ends.get(`${next.uid}/${next.id}`) ?? scenario.now;
    scenario.now = Math.max(scenario.now, at - 1000);
    scenario.uptime = scenario.now;
    scenario.finish(next.id, next.uid);
    look();
  }
  throw new Error("it does not come to an end");
}

/** Of one user, equally urgent, all with a limit: only backfill can come before the head. */
const limited = jobWords.map((words) => ({ ...words, uid: 1001, priority: 0, time: words.time ?? 1800 }));

test("the head's reserved start never moves later, and everybody's turn comes", () => {
  fc.assert(
    fc.property(
      fc.array(nodeWords, { minLength: 1, maxLength: 3 }),
      fc.array(limited, { maxLength: 25 }),
      fc.double({ min: 0.05, max: 1, noNaN: true }),
      (nodes, jobs, part) => {
        const named = Object.fromEntries(nodes.map((words, at) => [`n${at}`, words]));
        const scenario = new Scenario(named).up();
        scenario.uptime = scenario.now;
        const promised = new Map<string, number>();
        const look = (): void => {
          const [head] = scenario.state.reservations;
          if (head !== undefined && head.start !== null) {
            const before = promised.get(head.key) ?? Number.POSITIVE_INFINITY;
            // A node cleans up in a moment, and what is overdue is as good as over.
            expect(head.start).toBeLessThanOrEqual(Math.max(before, scenario.uptime) + 1000);
            promised.set(head.key, Math.min(before, head.start));
          }
        };
        for (const words of jobs) {
          scenario.submit(words);
          look();
        }
        playOut(scenario, () => part, look);
        for (const job of waiting(scenario)) {
          // Only what no node could ever serve is left.
          const alone = new Scenario(named).up();
          const { record } = job;
          alone.dispatch({ type: "jobSubmitted", uid: job.uid, id: 1, record });
          expect(alone.place(1, job.uid)).toBe("waiting");
        }
      },
    ),
    { numRuns: 100, seed },
  );
});

test("a job that needs all nodes is not passed for ever by small ones", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:2" }, n2: { accelerators: "V100:2" } }).up();
  scenario.uptime = scenario.now;
  const small = { uid: 1002, accelerators: "V100:1" };
  for (let count = 0; count < 6; count += 1) {
    scenario.submit(small);
  }
  const big = scenario.submit({ accelerators: "V100:2", nodes: 2 });
  let sent = 0;
  let startedAfter = -1;
  playOut(
    scenario,
    (job) => 0.5 + (job.id % 5) / 10,
    () => {
      if (scenario.state.jobs.get(`1001/${big}`)?.record.phase !== "waiting") {
        startedAfter = startedAfter < 0 ? sent : startedAfter;
      } else {
        // Somebody new each time, who has had nothing of the cluster yet: nobody's turn is earlier.
        sent += 1;
        scenario.submit({ uid: 2_000 + sent, accelerators: "V100:1" });
      }
    },
    scenario.now + 40_000_000,
  );
  expect(startedAfter).toBeGreaterThan(0);
});

test("shares of the cluster go by weight in the long run", () => {
  fc.assert(
    fc.property(fc.constantFrom([1, 1], [1, 2], [1, 3]), fc.integer({ min: 1, max: 1000 }), (weights, seed) => {
      const userWeights = { user1001: weights[0] ?? 1, user1002: weights[1] ?? 1 };
      const fairShare = { halfLifeHours: 24, userWeights, groupWeights: {}, cpusPerAccelerator: 16 };
      const known = people.map((one) => ({ ...one, use: 0 }));
      const scenario = new Scenario(
        { n1: { accelerators: "V100:4" } },
        { people: known, scheduling: { fairShare } },
      ).up();
      scenario.checked = false;
      const had = new Map<number, number>();
      for (const uid of [1001, 1002]) {
        for (let count = 0; count < 220; count += 1) {
          scenario.submit({ uid, user: `user${uid}`, accelerators: "V100:1", time: 7200 });
        }
      }
      let last = new Map<string, number>();
      playOut(
        scenario,
        (job) => 0.2 + ((job.id * seed + job.uid) % 7) / 10,
        () => {
          const running = begun(scenario);
          const present = new Map(running.map((job) => [`${job.uid}/${job.id}`, job.grantedAt ?? 0]));
          for (const [key, from] of last) {
            if (!present.has(key)) {
              const uid = Number(key.split("/")[0]);
              had.set(uid, (had.get(uid) ?? 0) + scenario.now - from);
            }
          }
          last = present;
        },
        scenario.now + 18 * 3_600_000,
      );
      const ratio = (had.get(1002) ?? 0) / (had.get(1001) ?? 1);
      const wished = (weights[1] ?? 1) / (weights[0] ?? 1);
      expect(ratio / wished).toBeGreaterThan(0.75);
      expect(ratio / wished).toBeLessThan(1.33);
    }),
    { numRuns: 12, seed },
  );
});
