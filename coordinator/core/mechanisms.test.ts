/** Jobs that are held to limits: where they may run, what is said when nowhere, and that none runs without its limits. */
import { describe, expect, test } from "vitest";
import { Scenario, shapeOf } from "../../test/sim/scenario.ts";
import { blockersOf } from "./blockers.ts";
import { explain } from "./explain.ts";
import { factsOf } from "./facts.ts";
import { neverFits } from "./never-fits.ts";

const memory = { mechanisms: ["cgroup-memory" as const] };
const both = { mechanisms: ["no-new-privileges" as const, "cgroup-memory" as const] };
const reasonOf = (scene: Scenario, id: number): string | null => explain(scene.state, 1001, id, scene.now).reason;

describe("a job that needs a mechanism", () => {
  test("goes to the nodes that have it, in any of its ways, and others go anywhere", () => {
    const scene = new Scenario({
      n1: { cpus: 1, accelerators: "V100:1" },
      n2: { cpus: 1, accelerators: "H100:1", ...memory },
    }).up();
    const any = scene.submit({ accelerators: "V100:1", others: ["H100:1"], memoryLimit: 1e9 });
    const plain = scene.submit({ accelerators: "V100:1" });
    expect([scene.place(any), scene.place(plain)]).toEqual(["n2", "n1"]);
  });

  test("is told which node cannot do what, and waits for one that can", () => {
    const scene = new Scenario({ n1: { cpus: 1 }, n2: { cpus: 1, ...memory } }).up();
    const first = scene.submit({ cpus: 1, memoryLimit: 1e9 });
    const id = scene.submit({ cpus: 1, memoryLimit: 1e9 });
    expect(reasonOf(scene, id)).toBe(
      "needs 1 CPUs on 1 node that can limit memory (cgroup v2): n1 cannot limit memory (cgroup v2), " +
        "n2 has 0 of 1 CPUs free (in use by your job 1)",
    );
    scene.finish(first);
    expect(scene.place(id)).toBe("n2");
  });

  test("is refused, or waits with the reason, where no node has it", () => {
    const scene = new Scenario({ n1: both, n2: { labels: { zone: "a" } } }).up();
    const cpu = shapeOf({ mechanisms: ["cgroup-cpu", "cgroup-memory"], labels: { zone: "a" } });
    expect(neverFits(scene.state, cpu)).toContain("cluster: no node of this cluster can limit CPU time (cgroup v2).\n");
    const spread = neverFits(scene.state, shapeOf({ nodes: 2, memoryLimit: 1e9 }));
    expect(spread).toContain("only 1 of 2 nodes can limit memory (cgroup v2)");
    expect(spread).toContain("n2: 8 CPUs, 64 GiB, cannot limit memory (cgroup v2)");
    expect(neverFits(scene.state, shapeOf({ memoryLimit: 1e9 }))).toBeNull();
    expect(neverFits(scene.state, shapeOf({ memoryLimit: 1e9, labels: { zone: "a" } }))).toContain(
      "n2: 8 CPUs, 64 GiB, cannot limit memory (cgroup v2)",
    );
    const id = scene.submit({ mechanisms: ["cgroup-cpu"] });
    expect(scene.place(id)).toBe("waiting");
    expect(reasonOf(scene, id)).toContain("n1 cannot limit CPU time (cgroup v2)");
    const facts = factsOf(scene.state, { uid: 1001, isAdmin: false }, scene.now);
    expect(blockersOf(facts, scene.job(id)).constraints.map(({ type, text }) => [type, text])).toEqual([
      ["fit", "no node of this cluster can limit CPU time (cgroup v2)"],
      ["mechanism", "n1 cannot limit CPU time (cgroup v2)"],
      ["mechanism", "n2 cannot limit CPU time (cgroup v2)"],
    ]);
  });

  test("finds one that has never reported possible, and one of the wire before impossible", () => {
    const scene = new Scenario({ n1: both, n2: {} });
    scene.connect("n1", { protocol: 1 }).report("n1", [], 0);
    expect(neverFits(scene.state, shapeOf({ nodes: 2, memoryLimit: 1e9 }))).toBeNull();
    const id = scene.submit({ memoryLimit: 1e9 });
    expect(scene.place(id)).toBe("waiting");
    expect(reasonOf(scene, id)).toContain("n1 runs an older version, which cannot bring what such a job needs");
  });

  test("starts when a node learns it by a restart of its agent", () => {
    const scene = new Scenario({ n1: {} }).up();
    const id = scene.submit({ memoryLimit: 1e9 });
    expect(scene.place(id)).toBe("waiting");
    const { stateId, epoch } = scene.state;
    const inventory = { address: "a", cpus: 8, memoryGb: 64, accelerators: [], source: "test", mixedAllowed: false };
    const report = { type: "report" as const, stateId, epoch, seq: 0, attempts: [], warnings: [] };
    const able = { ...report, inventory: { ...inventory, ...memory } };
    scene.dispatch({ type: "nodeReported", node: "n1", report: able });
    expect(scene.place(id)).toBe("n1");
  });
});

describe("limits", () => {
  test("are in the order, and what runs within them goes on", () => {
    const scene = new Scenario({ n1: memory }).up();
    const id = scene.submit({ memoryLimit: 10_000 });
    expect(scene.told("n1")?.wanted[0]?.limits).toEqual({ memoryBytes: 10_000 });
    // The kernel counts pages.
    scene.report("n1", [scene.rank(id, "n1", { state: "running", limits: { memoryBytes: 8192 } })]);
    expect(scene.job(id).record).toMatchObject({ phase: "running", end: null });
  });

  test("that the node does not report end the job at once", () => {
    for (const limits of [undefined, { cpuCores: 1 }, { memoryBytes: 10_001 }]) {
      const scene = new Scenario({ n1: memory }).up();
      const id = scene.submit({ memoryLimit: 10_000 });
      const { limits: _, ...rank } = scene.rank(id, "n1", { state: "running" });
      scene.report("n1", [{ ...rank, state: "starting" }]);
      expect(scene.job(id).record.phase).toBe("starting");
      scene.report("n1", [limits === undefined ? rank : { ...rank, limits }]);
      expect(scene.job(id).record).toMatchObject({
        end: "FAILED_DRIVER",
        reason: "n1: it ran without its limit of memory, and so was stopped.",
      });
      expect(scene.told("n1")?.ended).toContain(rank.attempt);
    }
  });
});

test("the job's own grace time is the order's and the lease's; the cluster's holds for others", () => {
  const scene = new Scenario({ n1: {} }).up();
  scene.submit({ cpus: 0.5, grace: 90 });
  scene.submit({ cpus: 0.5, grace: 0, recovers: true });
  scene.submit({ cpus: 0.5, recovers: true });
  expect(scene.told("n1")?.wanted.map((one) => one.graceSeconds)).toEqual([90, 0, 5]);
  expect(scene.job(2).record.attempt?.lease?.graceSeconds).toBe(0);
});

test("a job that ends when it is preempted ends as cancelled, says why, and is not started again", () => {
  const scheduling = { preemption: true, preemptionWarningSeconds: 10 };
  const scene = new Scenario({ n1: { accelerators: "V100:1" } }, { scheduling }).up();
  const soft = scene.submit({ accelerators: "V100:1", preemptible: true, priority: -10, terminates: true });
  scene.report("n1", [scene.rank(soft, "n1", { state: "running" })]);
  const { record } = scene.job(soft);
  const urgent = scene.submit({ uid: 1002, accelerators: "V100:1", priority: 10 });
  expect(scene.told("n1")?.wanted[0]?.warned).toBe(true);
  scene.pass(11);
  expect(scene.job(soft).record).toMatchObject({
    phase: "ended",
    end: "CANCELLED",
    reason: `It was stopped for job ${urgent} of higher priority. It is not started again (terminateAfterPreemption).`,
  });
  expect(scene.told("n1")?.ended).toEqual([record.attempt?.id]);
  scene.report("n1", []);
  expect(scene.place(urgent, 1002)).toBe("n1");
  scene.finish(urgent, 1002);
  expect(scene.told("n1")?.wanted).toEqual([]);
});
