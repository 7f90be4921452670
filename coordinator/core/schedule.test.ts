/** Which jobs start, where, and that nothing is ever granted twice. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type JobWords, type NodeWords, Scenario } from "../../test/sim/scenario.ts";
import { plan } from "./schedule.ts";

/** Nodes, then jobs in the order of submission, then where each is (`waiting` or its nodes). */
const placements: [string, Record<string, NodeWords>, JobWords[], string[]][] = [
  [
    "a later job that fits starts while an earlier one waits",
    { n1: { accelerators: "V100:2" } },
    [{ accelerators: "V100:1" }, { accelerators: "V100:2" }, { accelerators: "V100:1" }],
    ["n1", "waiting", "n1"],
  ],
  ["ranks lie on different nodes", { n1: {}, n2: {}, n3: {} }, [{ nodes: 2 }], ["n1,n2"]],
  [
    "all ranks start or none",
    { n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } },
    [{ accelerators: "V100:1" }, { accelerators: "V100:1", nodes: 2 }, { accelerators: "V100:1" }],
    ["n1", "waiting", "n2"],
  ],
  [
    "fractions share a device, and whole devices stay free for those who need them",
    { n1: { accelerators: "V100:2" } },
    [
      { accelerators: "V100:0.5" },
      { accelerators: "V100:0.5" },
      { accelerators: "V100:1" },
      { accelerators: "V100:0.5" },
    ],
    ["n1", "n1", "n1", "waiting"],
  ],
  [
    "ten tenths fill a device",
    { n1: { accelerators: "V100:1" } },
    Array.from({ length: 11 }, () => ({ accelerators: "V100:0.1" })),
    [...Array.from({ length: 10 }, () => "n1"), "waiting"],
  ],
  [
    "kinds are told apart, without regard to case",
    { n1: { accelerators: "V100:1" }, n2: { accelerators: "H100:1" } },
    [{ accelerators: "h100:1" }, { accelerators: "H100:1" }],
    ["n2", "waiting"],
  ],
  [
    "a node that mixes kinds takes no accelerator jobs, but others",
    { n1: { accelerators: "V100:1,H100:1" } },
    [{ accelerators: "V100:1" }, {}],
    ["waiting", "n1"],
  ],
  [
    "jobs without accelerators keep away from them",
    { n1: { accelerators: "V100:4" }, n2: { cpus: 0.5 } },
    [{}, {}],
    ["n2", "n1"],
  ],
  [
    "CPUs are counted: the seventeenth half does not fit on eight",
    { n1: { cpus: 8 } },
    Array.from({ length: 17 }, () => ({})),
    [...Array.from({ length: 16 }, () => "n1"), "waiting"],
  ],
  [
    "memory is counted",
    { n1: { memoryGb: 10 } },
    [{ memoryGb: 6 }, { memoryGb: 6 }, { memoryGb: 4 }],
    ["n1", "waiting", "n1"],
  ],
];

test.each(placements)("%s", (_, nodes, jobs, expected) => {
  const scenario = new Scenario(nodes).up();
  const ids = jobs.map((words) => scenario.submit(words));
  expect(ids.map((id) => scenario.place(id))).toEqual(expected);
});

/** The keys of all jobs in the order in which they start when there is room for one at a time. */
function startOrder(scenario: Scenario): string[] {
  const begun: string[] = [];
  scenario.up();
  for (;;) {
    const job = [...scenario.state.jobs.values()].find((one) => one.record.phase === "starting");
    if (job === undefined) {
      return begun;
    }
    begun.push(`${job.uid}/${job.id}`);
    scenario.report("n1", [scenario.rank(job.id, "n1", { state: "exited", runExit: 0 }, job.uid)]).report("n1", []);
  }
}

test("users take turns by the time of submission", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:1" } });
  for (const uid of [1002, 1001, 1002]) {
    scenario.submit({ uid, accelerators: "V100:1" });
  }
  expect(startOrder(scenario)).toEqual(["1002/1", "1001/1", "1002/2"]);
});

test("a user's own jobs start by number even when the clock was set back, also across different demands", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:1", cpus: 1 } });
  for (const accelerators of ["V100:1", "V100:0.75", "V100:1"]) {
    scenario.submit({ accelerators, cpus: 1 });
    scenario.now -= 1000;
  }
  expect(startOrder(scenario)).toEqual(["1001/1", "1001/2", "1001/3"]);
});

test("ten thousand waiting jobs of few shapes are tried once for each shape", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4", cpus: 1 } }).up();
  scenario.checked = false;
  for (let count = 0; count < 10_000; count += 1) {
    scenario.submit({ uid: 1000 + (count % 7), accelerators: `V100:${1 + (count % 4)}`, cpus: 1 });
  }
  scenario.state.blocked.clear();
  const decided = plan(scenario.state, scenario.now);
  expect(decided.starts).toEqual([]);
  expect(decided.blocked).toHaveLength(4);
  expect(scenario.state.jobs.size).toBe(10_000);
});

const jobWords = fc.record({
  uid: fc.constantFrom(1001, 1002),
  accelerators: fc.option(fc.constantFrom("V100:0.25", "V100:0.5", "V100:1", "V100:2", "H100:1", "h100:3"), {
    nil: undefined,
  }),
  nodes: fc.integer({ min: 1, max: 3 }),
  cpus: fc.constantFrom(0, 0.5, 1, 3),
  memoryGb: fc.constantFrom(0, 4, 16),
});
const nodeWords = fc.record({
  accelerators: fc.constantFrom("-", "V100:1", "V100:4", "H100:2", "V100:1,H100:1"),
  cpus: fc.constantFrom(1, 4),
  memoryGb: fc.constantFrom(8, 32),
});
const actions = fc.array(
  fc.oneof({ weight: 3, arbitrary: jobWords }, { weight: 1, arbitrary: fc.constant("finish" as const) }),
  {
    maxLength: 40,
  },
);

/** The first started job ends on all its nodes. */
function finishOne(scenario: Scenario): void {
  const job = [...scenario.state.jobs.values()].find((one) => one.record.phase === "starting");
  if (job === undefined) {
    return;
  }
  scenario.dispatch({ type: "cancelRequested", uid: job.uid, ids: [job.id] });
  for (const node of scenario.state.nodes.keys()) {
    const attempts = [...scenario.state.jobs.values()]
      .filter(
        (one) => one.record.phase === "starting" && one.record.attempt?.ranks.some((rank) => rank.grant.node === node),
      )
      .map((one) => scenario.rank(one.id, node, { state: "starting" }, one.uid));
    scenario.report(node, attempts);
  }
}

test("whatever is asked for, nothing is granted twice, and nothing that fits is left waiting", () => {
  fc.assert(
    fc.property(fc.array(nodeWords, { minLength: 1, maxLength: 3 }), actions, (nodes, steps) => {
      const scenario = new Scenario(Object.fromEntries(nodes.map((words, index) => [`n${index}`, words]))).up();
      for (const step of steps) {
        if (step === "finish") {
          finishOne(scenario);
        } else {
          const { accelerators, ...rest } = step;
          scenario.submit(accelerators === undefined ? rest : { ...rest, accelerators });
        }
      }
      scenario.state.blocked.clear();
      expect(plan(scenario.state, scenario.now).starts).toEqual([]);
    }),
    { numRuns: 150 },
  );
});
