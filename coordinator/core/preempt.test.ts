/** Preemption: who gives way to whom, what becomes of both, and what is left alone. */
import { describe, expect, test } from "vitest";
import type { AttemptReport } from "../../shared/agent-wire.ts";
import type { SchedulingConfig } from "../../shared/scheduling.ts";
import { type JobWords, type NodeWords, Scenario } from "../../test/sim/scenario.ts";

const on: Partial<SchedulingConfig> = { preemption: true, preemptionWarningSeconds: 60 };

/** Every node reports all attempts that the coordinator has there, running, and nothing of what has ended. */
function settle(scene: Scenario): Scenario {
  for (const node of scene.state.nodes.values()) {
    if (!node.connected) {
      continue;
    }
    const reports: AttemptReport[] = [];
    for (const job of scene.state.jobs.values()) {
      const isThere = job.record.attempt?.ranks.some((rank) => rank.grant.node === node.name) === true;
      if (isThere && job.record.phase !== "waiting" && job.record.phase !== "ended") {
        reports.push(scene.rank(job.id, node.name, { state: "running", pid: 100 + job.id }, job.uid));
      }
    }
    scene.report(node.name, reports);
  }
  return scene;
}

/** Nodes with these running jobs, numbered from 1 in this order, all of one user. */
function cluster(nodes: Record<string, NodeWords>, jobs: JobWords[], scheduling = on): Scenario {
  const scene = new Scenario(nodes, { scheduling }).up();
  for (const words of jobs) {
    scene.submit(words);
    scene.uptime += 1000;
    scene.now += 1000;
  }
  return settle(scene);
}

/** The numbers of the jobs that are warned to give way. */
function leaving(scene: Scenario): number[] {
  return [...scene.state.jobs.values()].filter((job) => job.preempted !== null).map((job) => job.id);
}

const soft = { preemptible: true, priority: -10 };
const urgent = { uid: 1002, priority: 10 };

describe("who gives way", () => {
  const table: [string, Record<string, NodeWords>, JobWords[], JobWords, number[]][] = [
    [
      "the only one that may",
      { n1: { accelerators: "V100:2" } },
      [{ accelerators: "V100:1" }, { accelerators: "V100:1", ...soft }],
      { accelerators: "V100:1", ...urgent },
      [2],
    ],
    [
      "nobody whose priority is not lower",
      { n1: { accelerators: "V100:1" } },
      [{ accelerators: "V100:1", preemptible: true, priority: 10 }],
      { accelerators: "V100:1", ...urgent },
      [],
    ],
    [
      "nobody when that would not make the room",
      { n1: { accelerators: "V100:2" } },
      [{ accelerators: "V100:1" }, { accelerators: "V100:1", ...soft }],
      { accelerators: "V100:2", ...urgent },
      [],
    ],
    [
      "who holds the fewest devices over what is needed",
      { n1: { accelerators: "V100:4" }, n2: { accelerators: "V100:4" } },
      [
        { accelerators: "V100:4", ...soft },
        { accelerators: "V100:2", ...soft },
        { accelerators: "V100:2", ...soft, priority: -20 },
      ],
      { accelerators: "V100:2", ...urgent },
      [3],
    ],
    [
      "the lowest priority",
      { n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } },
      [
        { accelerators: "V100:1", ...soft, priority: -20 },
        { accelerators: "V100:1", ...soft },
      ],
      { accelerators: "V100:1", ...urgent },
      [1],
    ],
    [
      "the youngest",
      { n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } },
      [
        { accelerators: "V100:1", ...soft },
        { accelerators: "V100:1", ...soft },
      ],
      { accelerators: "V100:1", ...urgent },
      [2],
    ],
    [
      "as many as a gang needs",
      { n1: { accelerators: "V100:2" }, n2: { accelerators: "V100:2" }, n3: { accelerators: "V100:2" } },
      [
        { accelerators: "V100:2" },
        { accelerators: "V100:1", ...soft },
        { accelerators: "V100:1", ...soft },
        { accelerators: "V100:2", ...soft },
      ],
      { nodes: 2, accelerators: "V100:2", ...urgent },
      [2, 3, 4],
    ],
    [
      "a gang as a whole, once",
      { n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } },
      [{ nodes: 2, accelerators: "V100:1", ...soft }],
      { accelerators: "V100:1", ...urgent },
      [1],
    ],
    [
      "nobody when somebody ends by their own limit in time",
      { n1: { accelerators: "V100:1" }, n2: { accelerators: "V100:1" } },
      [
        { accelerators: "V100:1", ...soft },
        { accelerators: "V100:1", time: 30 },
      ],
      { accelerators: "V100:1", ...urgent },
      [],
    ],
    ["nobody for CPUs when there are some", { n1: { cpus: 2 } }, [{ cpus: 1, ...soft }], { cpus: 1, ...urgent }, []],
    ["for CPUs, too", { n1: { cpus: 2 } }, [{ cpus: 2, ...soft }], { cpus: 1, ...urgent }, [1]],
  ];
  test.each(table)("%s", (_, nodes, jobs, wanted, expected) => {
    const scene = cluster(nodes, jobs);
    scene.submit(wanted);
    expect(leaving(scene)).toEqual(expected);
  });

  test("nobody where it is not allowed", () => {
    const scene = cluster({ n1: { cpus: 2 } }, [{ cpus: 2, ...soft }], { ...on, preemption: false });
    scene.submit({ cpus: 1, ...urgent });
    expect(leaving(scene)).toEqual([]);
  });

  test("nobody on a machine that is silent", () => {
    const scene = cluster({ n1: { cpus: 2 }, n2: { cpus: 2 } }, [{ nodes: 2, cpus: 2, ...soft }]);
    scene.dispatch({ type: "nodeDisconnected", node: "n2" });
    scene.submit({ cpus: 1, ...urgent });
    expect(leaving(scene)).toEqual([]);
    scene.connect("n2");
    settle(scene);
    expect(leaving(scene)).toEqual([1]);
    scene.dispatch({ type: "nodeDisconnected", node: "n2" });
    scene.pass(60);
    expect(leaving(scene)).toEqual([]);
  });

  test("each urgent job has its own, and a second one of the same kind is not left out when the first is served", () => {
    const scene = cluster({ n1: { cpus: 2 }, n2: { cpus: 2 } }, [
      { cpus: 2, ...soft },
      { cpus: 2, ...soft },
    ]);
    scene.submit({ cpus: 2, ...urgent });
    scene.submit({ cpus: 2, memoryGb: 1, ...urgent });
    expect(leaving(scene)).toEqual([1, 2]);
    expect(new Set([1, 2].map((id) => scene.job(id).preempted?.by))).toEqual(new Set(["1002/1", "1002/2"]));
  });
});

test("warned, then stopped, then started again when there is room; it does not count as a failed start", () => {
  const scene = cluster({ n1: { cpus: 2 } }, [{ cpus: 2, ...soft }]);
  scene.submit({ cpus: 2, ...urgent });
  expect(scene.job(1).preempted).toEqual({ at: scene.uptime + 60_000, by: "1002/1" });
  expect(scene.told("n1")?.wanted[0]?.warned).toBe(true);
  scene.pass(59);
  expect(scene.place(1)).toBe("n1");
  scene.pass(1);
  expect(scene.job(1).record).toMatchObject({ phase: "waiting", end: null, preemptions: 1 });
  expect(scene.told("n1")?.ended).toHaveLength(1);
  // A job that comes in between does not get the room while it is being cleaned, nor the one that gave way.
  scene.submit({ uid: 1003, cpus: 0.5 });
  expect(scene.place(1, 1002)).toBe("waiting");
  settle(scene);
  expect([scene.place(1, 1002), scene.place(1, 1003), scene.place(1)]).toEqual(["n1", "waiting", "waiting"]);
  scene.dispatch({ type: "cancelRequested", uid: 1002, ids: [1] });
  scene.dispatch({ type: "cancelRequested", uid: 1003, ids: [1] });
  settle(scene);
  expect(scene.place(1)).toBe("n1");
  expect(scene.job(1)).toMatchObject({ preempted: null, warned: false, record: { attempt: { number: 2 } } });
});

test.each([
  [
    "the urgent job is cancelled",
    (scene: Scenario) => scene.dispatch({ type: "cancelRequested", uid: 1002, ids: [1] }),
  ],
  [
    "room comes elsewhere",
    (scene: Scenario) => {
      scene.dispatch({ type: "cancelRequested", uid: 1001, ids: [2] });
      settle(scene);
    },
  ],
])("%s: nobody is stopped, and a later warning is a new one", (_, change) => {
  const scene = cluster({ n1: { cpus: 2 }, n2: { cpus: 2 } }, [{ cpus: 2, ...soft }, { cpus: 2 }]);
  scene.submit({ cpus: 2, ...urgent });
  expect(leaving(scene)).toEqual([1]);
  change(scene);
  expect([leaving(scene), scene.job(1).warned]).toEqual([[], false]);
  expect(scene.told("n1")?.wanted[0]?.warned).toBeUndefined();
  scene.pass(120);
  expect(scene.place(1)).toBe("n1");
});

test("after a restart of the coordinator it is decided anew", () => {
  const before = cluster({ n1: { cpus: 2 } }, [{ cpus: 2, ...soft }]);
  before.submit({ cpus: 2, ...urgent });
  const jobs = [...before.state.jobs.values()].map(({ id, record }) => ({ id, record }));
  const scene = new Scenario({ n1: { cpus: 2 } }, { scheduling: on, jobs, now: before.now + 30_000 });
  scene.dispatch({ type: "ticked" });
  scene.connect("n1");
  expect(leaving(scene)).toEqual([]);
  settle(scene).report("n1", [scene.rank(1, "n1", { state: "running", pid: 7 })], 0);
  expect(scene.job(1).preempted).toEqual({ at: scene.uptime + 60_000, by: "1002/1" });
});

test("a job may give way a hundred times; what it has left behind is forgotten", () => {
  const scene = cluster({ n1: { cpus: 2 } }, [{ cpus: 2, ...soft }]);
  for (let round = 1; round <= 100; round += 1) {
    const id = scene.submit({ cpus: 2, ...urgent });
    scene.pass(60);
    settle(scene);
    expect(scene.place(id, 1002)).toBe("n1");
    scene.dispatch({ type: "cancelRequested", uid: 1002, ids: [id] });
    settle(scene);
    settle(scene);
    expect(scene.place(1)).toBe("n1");
  }
  expect(scene.job(1).record).toMatchObject({ preemptions: 100, attempt: { number: 101 } });
  expect(scene.job(1).record.givenUp).toHaveLength(1);
});
