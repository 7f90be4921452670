/** The plan as tables: nodes, what runs, who waits, and then what starts where. */
import { describe, expect, test } from "vitest";
import { type JobWords, type NodeWords, Scenario } from "../../test/sim/scenario.ts";
import type { NodeWindow, Person, Quota } from "../../shared/scheduling.ts";
import { planOn } from "./schedule.ts";

const hour = 3_600_000;
const hourSeconds = 3_600;
const v100 = "V100:1";

/** Nodes, then jobs in the order of submission, then where each is (`waiting` or its nodes). */
const placements: [string, Record<string, NodeWords>, JobWords[], string[]][] = [
  [
    "of ways in order the first that has room, later ones when it has none",
    { n1: { accelerators: "V100:1" }, n2: { accelerators: "H100:1" } },
    [1, 2, 3].map(() => ({ accelerators: "H100:1", others: ["V100:1"] })),
    ["n2", "n1", "waiting"],
  ],
  [
    "of ways that are equally good the kind of which there is most",
    { n1: { accelerators: "H100:1" }, n2: { accelerators: "V100:4" } },
    [{ accelerators: "H100:1", others: ["V100:1"], any: true }],
    ["n2"],
  ],
  [
    "memory at least: the scarcest sufficient kind last, an insufficient one never",
    { n1: { accelerators: "H100:1" }, n2: { accelerators: "T4:4" }, n3: { accelerators: "V100:2" } },
    [1, 2, 3, 4]
      .map(() => ({ accelerators: "16GB+:1" }))
      .concat([{ accelerators: "80GB+:1" }, { accelerators: "80GB+:1" }]),
    ["n2", "n2", "n2", "n2", "n1", "waiting"],
  ],
  [
    "memory exactly",
    { n1: { accelerators: "A100-80GB:1" }, n2: { accelerators: "A100:1" } },
    [{ accelerators: "40GB:1" }, { accelerators: "40GB:1" }],
    ["n2", "waiting"],
  ],
  [
    "labels choose nodes, the node's own name among them",
    { n1: {}, n2: { labels: { rack: "b" } }, n3: {} },
    [{ labels: { rack: "b" } }, { labels: { node: "n3" } }, { labels: { rack: "c" } }],
    ["n2", "n3", "waiting"],
  ],
  [
    "a node for itself: an empty one, and nobody after it",
    { n1: {}, n2: {} },
    [{}, { exclusive: true }, { exclusive: true }, { cpus: 7 }, { cpus: 1 }],
    ["n1", "n2", "waiting", "n1", "waiting"],
  ],
  [
    "jobs with an image only where there is a program for containers",
    { n1: {}, n2: { containers: true, cpus: 1 } },
    [{ container: true }, { container: true }, { container: true }, { cpus: 8 }],
    ["n2", "n2", "waiting", "n1"],
  ],
  [
    "a device in quarantine is never granted, the others of its node are",
    { n1: { accelerators: "V100:3", faulty: [1] } },
    [{ accelerators: "V100:2" }, { accelerators: "V100:1" }],
    ["n1", "waiting"],
  ],
  [
    "on a node that may mix kinds each job gets the kind it names, all of a rank of one kind",
    { n1: { accelerators: "V100:1,H100:2", mixed: true } },
    [{ accelerators: "32GB+:3" }, { accelerators: "16GB+:2" }, { accelerators: "V100:1" }, { accelerators: "V100:1" }],
    ["waiting", "n1", "n1", "waiting"],
  ],
  [
    "a job without accelerators leaves the scarcest kind's node alone while another has room",
    { n1: { accelerators: "H100:1" }, n2: { accelerators: "V100:8" } },
    [{ cpus: 8 }, { cpus: 8 }],
    ["n2", "n1"],
  ],
  [
    "a fraction goes where a device is begun already, also on a later node",
    { n1: { accelerators: "V100:2" }, n2: { accelerators: "V100:1" } },
    [{ accelerators: "V100:0.5", labels: { node: "n2" } }, { accelerators: "V100:0.5" }],
    ["n2", "n2"],
  ],
  [
    "single jobs fill the fullest node, so that whole nodes stay for those who need them",
    { n1: { accelerators: "V100:4" }, n2: { accelerators: "V100:4" } },
    [{ accelerators: "V100:1" }, { accelerators: "V100:2" }, { accelerators: "V100:4" }],
    ["n1", "n1", "n2"],
  ],
  [
    "gangs of one kind of node where one kind has enough",
    { n1: { accelerators: "V100:2" }, n2: { accelerators: "V100:2", cpus: 16 }, n3: { accelerators: "V100:2" } },
    [{ accelerators: "V100:2", nodes: 2 }],
    ["n1,n3"],
  ],
];

test.each(placements)("%s", (_, nodes, jobs, expected) => {
  const scenario = new Scenario(nodes).up();
  const ids = jobs.map((words) => scenario.submit(words));
  expect(ids.map((id) => scenario.place(id))).toEqual(expected);
});

function person(uid: number, user: string, groups: string[] = [], use = 0): Person {
  return { uid, user, groups, use, useAt: 1_000_000 };
}

/** Submits while one job holds the only place, then gives the place to one after the other: the order of their starts. */
function orderOf(scenario: Scenario, jobs: JobWords[], heldSeconds = 0): string[] {
  scenario.up();
  const blocker = scenario.submit({ uid: 999, accelerators: v100 });
  for (const words of jobs) {
    scenario.submit({ accelerators: v100, ...words });
  }
  scenario.finish(blocker, 999);
  const begun: string[] = [];
  for (;;) {
    const job = [...scenario.state.jobs.values()].find(({ record }) => record.phase === "starting");
    if (job === undefined) {
      return begun;
    }
    begun.push(`${job.uid}/${job.id}`);
    scenario.pass(heldSeconds);
    scenario.finish(job.id, job.uid);
  }
}

const [ann, bob] = [1001, 1002];
const one = { n1: { accelerators: v100 } };

describe("the order", () => {
  const cases: [string, Person[], object, JobWords[], string[]][] = [
    [
      "urgent jobs first, across users",
      [],
      {},
      [{}, { uid: bob, priority: 5 }, { priority: 9 }],
      ["1001/2", "1002/1", "1001/1"],
    ],
    ["less urgent ones last", [], {}, [{ priority: -5 }, {}], ["1001/2", "1001/1"]],
    [
      "who has had less comes first",
      [person(ann, "ann", [], 500_000), person(bob, "bob", [], 400_000)],
      {},
      [{}, {}, { uid: bob }],
      ["1002/1", "1001/1", "1001/2"],
    ],
    [
      "a weight lets its user have more",
      [person(ann, "ann", [], 500_000), person(bob, "bob", [], 400_000)],
      { userWeights: { ann: 2 } },
      [{}, { uid: bob }],
      ["1001/1", "1002/1"],
    ],
    [
      "the largest weight of one's groups counts where there is none of one's own",
      [person(ann, "ann", ["a", "b"], 500_000), person(bob, "bob", [], 400_000)],
      { groupWeights: { a: 0.5, b: 2 } },
      [{}, { uid: bob }],
      ["1001/1", "1002/1"],
    ],
    [
      "what is used up counts at once",
      [],
      {},
      [{}, {}, { uid: bob }, { uid: bob }],
      ["1001/1", "1002/1", "1001/2", "1002/2"],
    ],
  ];

  test.each(cases)("%s", (_, people, shares, jobs, expected) => {
    const fairShare = { halfLifeHours: 168, userWeights: {}, groupWeights: {}, cpusPerAccelerator: 16, ...shares };
    const scenario = new Scenario(one, { people, scheduling: { fairShare } });
    expect(orderOf(scenario, jobs, hourSeconds)).toEqual(expected);
  });

  test("a use of long ago is forgotten", () => {
    const before = person(ann, "ann", [], 500_000);
    const scenario = new Scenario(one, { people: [before, person(bob, "bob", [], 400_000)] });
    // Ann's use is of eight half-lives earlier.
    scenario.state.people.set(ann, { ...before, useAt: scenario.now - 8 * 168 * hour });
    expect(orderOf(scenario, [{ uid: bob }, {}])).toEqual(["1001/1", "1002/1"]);
  });

  test("jobs that start in one plan are shared out in turns", () => {
    const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
    const blocker = scenario.submit({ uid: 999, accelerators: "V100:4" });
    const ids = [1, 2, 3, 4].map(() => scenario.submit({ accelerators: v100 }));
    const others = [1, 2, 3, 4].map(() => scenario.submit({ uid: bob, accelerators: v100 }));
    scenario.finish(blocker, 999);
    expect(ids.map((id) => scenario.place(id))).toEqual(["n1", "n1", "waiting", "waiting"]);
    expect(others.map((id) => scenario.place(id, bob))).toEqual(["n1", "n1", "waiting", "waiting"]);
  });
});

describe("backfill", () => {
  /** Two V100; one runs for an hour; the head of the line needs both. Then what comes later. */
  const cases: [string, JobWords[], string[]][] = [
    ["one that ends before the reserved start passes", [{ accelerators: v100, time: hourSeconds - 1 }], ["n1"]],
    ["one that ends after it does not", [{ accelerators: v100, time: hourSeconds + 1 }], ["waiting"]],
    ["one without a limit does not", [{ accelerators: v100 }], ["waiting"]],
    ["one that leaves the reserved room does, limit or not", [{ cpus: 2 }], ["n1"]],
    ["nor may it take CPUs that the head needs then", [{ cpus: 5 }], ["waiting"]],
  ];
  const setUp = (): Scenario => {
    const scenario = new Scenario({ n1: { accelerators: "V100:2" } }).up();
    scenario.submit({ accelerators: v100, cpus: 1, time: hourSeconds });
    scenario.submit({ accelerators: "V100:2", cpus: 4 });
    return scenario;
  };

  test.each(cases)("%s", (_, jobs, expected) => {
    const scenario = setUp();
    const ids = jobs.map((words) => scenario.submit(words));
    expect(ids.map((id) => scenario.place(id))).toEqual(expected);
  });

  test("the reservation names the moment and the room", () => {
    const scenario = setUp();
    const [first] = scenario.state.reservations;
    expect(first).toMatchObject({ key: "1001/2", start: scenario.uptime + hour, isHeld: true });
    expect(first?.ranks).toMatchObject([{ node: "n1", devices: [0, 1], cpus: 4 }]);
    expect(scenario.place(2)).toBe("waiting");
  });

  test("a head whose start nobody can foresee is passed for a while, and then has its room kept", () => {
    const scenario = new Scenario({ n1: { accelerators: "V100:2" } }).up();
    const endless = scenario.submit({ accelerators: v100 });
    const head = scenario.submit({ accelerators: "V100:2" });
    const early = scenario.submit({ accelerators: v100, time: 60 });
    expect(scenario.place(early)).toBe("n1");
    expect(scenario.state.reservations).toMatchObject([{ key: "1001/2", start: null, isHeld: false, ranks: [] }]);
    scenario.pass(1_800).finish(early);
    const late = scenario.submit({ accelerators: v100, time: 60 });
    const beside = scenario.submit({ cpus: 1 });
    expect([scenario.place(late), scenario.place(beside)]).toEqual(["waiting", "n1"]);
    expect(scenario.state.reservations[0]).toMatchObject({ key: "1001/2", start: null, isHeld: true });
    scenario.finish(endless);
    expect(scenario.place(head)).toBe("n1");
  });

  test("what was passed over starts when what is in its way ends, whoever else waits", () => {
    const scenario = setUp();
    const others = [1, 2, 3].map(() => scenario.submit({ accelerators: v100 }));
    scenario.finish(1);
    expect([scenario.place(2), ...others.map((id) => scenario.place(id))]).toEqual([
      "n1",
      "waiting",
      "waiting",
      "waiting",
    ]);
  });
});

describe("windows", () => {
  const window = (words: Partial<NodeWindow>): NodeWindow => ({
    ...{ id: "w1", kind: "maintenance", nodes: ["n1"], from: 1_000_000 + hour, to: 1_000_000 + 2 * hour },
    ...{ users: [], groups: [], endJobs: false, reason: null, by: null },
    ...words,
  });
  const cases: [string, Partial<NodeWindow>, JobWords, string][] = [
    ["what ends before maintenance starts", {}, { time: hourSeconds - 60 }, "n1"],
    ["what could still run when it begins does not", {}, { time: hourSeconds + 60 }, "waiting"],
    ["nor what has no limit", {}, {}, "waiting"],
    ["a reservation is open to its users", { kind: "reservation", users: ["ann"] }, { user: "ann" }, "n1"],
    ["and to members of its groups", { kind: "reservation", groups: ["lab"] }, { user: "ann" }, "n1"],
    ["but not to others", { kind: "reservation", groups: ["lab"] }, { user: "bob", uid: bob }, "waiting"],
    ["other nodes are not concerned", { nodes: ["n2"] }, {}, "n1"],
  ];

  test.each(cases)("%s", (_, words, job, expected) => {
    const people = [person(ann, "ann", ["lab"]), person(bob, "bob", ["other"])];
    const scenario = new Scenario({ n1: {} }, { people, windows: [window(words)] }).up();
    expect(scenario.place(scenario.submit(job), job.uid ?? ann)).toBe(expected);
  });

  test("one that is kept off by a reservation does not keep others of its class off", () => {
    const people = [person(ann, "ann", ["lab"]), person(bob, "bob", ["other"])];
    const windows = [window({ kind: "reservation", groups: ["lab"] })];
    const scenario = new Scenario({ n1: {} }, { people, windows }).up();
    const [first, second] = [scenario.submit({ uid: bob, user: "bob" }), scenario.submit({ user: "ann" })];
    expect([scenario.place(first, bob), scenario.place(second)]).toEqual(["waiting", "n1"]);
    scenario.pass(2 * hourSeconds);
    expect(scenario.place(first, bob)).toBe("n1");
  });
});

describe("quotas", () => {
  const cases: [string, Record<string, Quota>, JobWords[], string[]][] = [
    [
      "of all accelerators",
      { each: { accelerators: { "*": 2 } } },
      [{ accelerators: "V100:2" }, { accelerators: v100 }, {}],
      ["n1", "waiting", "n1"],
    ],
    [
      "of a kind, whatever its spelling",
      { each: { accelerators: { v100: 1 } } },
      [{ accelerators: v100 }, { accelerators: v100 }],
      ["n1", "waiting"],
    ],
    [
      "of a kind, also for who asks by memory",
      { each: { accelerators: { V100: 1 } } },
      [{ accelerators: "16GB+:1" }, { accelerators: "16GB+:1" }],
      ["n1", "waiting"],
    ],
    ["of CPUs", { each: { cpus: 1.5 } }, [{ cpus: 1 }, { cpus: 1 }, { cpus: 0.5 }], ["n1", "waiting", "n1"]],
    ["of memory", { each: { memoryGb: 8 } }, [{ memoryGb: 8 }, { memoryGb: 1 }], ["n1", "waiting"]],
    ["of running jobs", { each: { running: 1 } }, [{}, {}], ["n1", "waiting"]],
    [
      "one's own stands instead of that for each",
      { each: { running: 0 }, "user:ann": { running: 1 } },
      [{}, {}],
      ["n1", "waiting"],
    ],
    ["a group's members count together", { "group:lab": { running: 1 } }, [{}, { uid: bob }], ["n1", "waiting"]],
    ["of some other group's is not one's own", { "group:other": { running: 0 } }, [{}], ["n1"]],
    ["holds for what starts in one plan", { each: { running: 2 } }, [{}, {}, {}], ["n1", "n1", "waiting"]],
  ];

  test.each(cases)("%s", (_, quotas, jobs, expected) => {
    const people = [person(ann, "ann", ["lab"]), person(bob, "bob", ["lab"])];
    const scenario = new Scenario({ n1: { accelerators: "V100:4" } }, { people, quotas });
    const ids = jobs.map((words) => [scenario.submit(words), words.uid ?? ann] as const);
    scenario.up();
    expect(ids.map(([id, uid]) => scenario.place(id, uid))).toEqual(expected);
  });

  test("who is at a quota blocks nobody, has nothing reserved, and goes on when something of theirs ends", () => {
    const people = [person(ann, "ann"), person(bob, "bob")];
    const scenario = new Scenario(
      { n1: { accelerators: "V100:4" } },
      { people, quotas: { "user:ann": { running: 1 } } },
    ).up();
    const [first, second] = [scenario.submit({ accelerators: v100 }), scenario.submit({ accelerators: v100 })];
    const other = scenario.submit({ uid: bob, accelerators: v100 });
    expect([scenario.place(second), scenario.place(other, bob)]).toEqual(["waiting", "n1"]);
    expect(scenario.state.reservations).toEqual([]);
    scenario.finish(first);
    expect(scenario.place(second)).toBe("n1");
  });

  test("a quota that is raised lets in who waited", () => {
    const scenario = new Scenario({ n1: {} }, { quotas: { each: { running: 0 } } }).up();
    const id = scenario.submit();
    expect(scenario.place(id)).toBe("waiting");
    scenario.dispatch({ type: "quotaChanged", subject: "each", quota: { running: 1 } });
    expect(scenario.place(id)).toBe("n1");
  });
});

test("jobs that bring something run only where the node's version knows of it", () => {
  const scenario = new Scenario({ n1: {} }).up();
  scenario.connect("n1", { protocol: 1 }).report("n1");
  const ids = [{ brings: true }, {}].map((words) => scenario.submit(words));
  expect(ids.map((id) => scenario.place(id))).toEqual(["waiting", "n1"]);
  scenario.connect("n1").report("n1", scenario.running("n1"));
  expect(ids.map((id) => scenario.place(id))).toEqual(["n1", "n1"]);
});

test("jobs with a limit or that give way run only where the node's version can warn them", () => {
  const scenario = new Scenario({ n1: {} }).up();
  scenario.connect("n1", { protocol: 1 }).report("n1");
  const ids = [{ time: 60 }, { preemptible: true }, {}].map((words) => scenario.submit(words));
  expect(ids.map((id) => scenario.place(id))).toEqual(["waiting", "waiting", "n1"]);
  scenario.connect("n1").report("n1", scenario.running("n1"));
  expect(ids.map((id) => scenario.place(id))).toEqual(["n1", "n1", "n1"]);
});

test("asking for a plan changes nothing that a later one decides", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:2" } }).up();
  const blocker = scenario.submit({ accelerators: "V100:2" });
  scenario.submit({ accelerators: v100 });
  scenario.state.planDue = false;
  const [first, second] = [planOn(scenario.state, scenario.now), planOn(scenario.state, scenario.now)];
  expect(second.plan).toEqual(first.plan);
  scenario.finish(blocker);
  expect(scenario.place(2)).toBe("n1");
});
