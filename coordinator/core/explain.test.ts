/** The reasons that users read, and that they are true: what they say is missing is what starts the job. */
import { expect, test } from "vitest";
import { type JobWords, type NodeWords, Scenario, shapeOf } from "../../test/sim/scenario.ts";
import { explain } from "./explain.ts";
import { explainJob } from "./explain-result.ts";
import { neverFits } from "./never-fits.ts";
import { jobsToCancel, nodeRows, queueRows, unknownAttempts } from "./views.ts";

function reason(scenario: Scenario, id: number, uid = 1001): string | null {
  return explain(scenario.state, uid, id, scenario.now).reason;
}

test("who holds what, one's own jobs by number, others' not", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" }, n2: {} }).up();
  scenario.submit({ accelerators: "V100:2" });
  scenario.submit({ accelerators: "V100:1", uid: 1002 });
  const id = scenario.submit({ accelerators: "V100:4", cpus: 0 });
  expect(reason(scenario, id)).toBe(
    "needs 4 x V100 on 1 node: n1 has 1 of 4 V100 free (2 held by your job 1, 1 held by another user's job), n2 has no V100",
  );
});

test.each<[string, Record<string, NodeWords>, JobWords, string]>([
  [
    "CPUs",
    { n1: { cpus: 2 } },
    { cpus: 2 },
    "needs 2 CPUs on 1 node: n1 has 1.5 of 2 CPUs free (in use by your job 1)",
  ],
  ["memory", { n1: { memoryGb: 8 } }, { cpus: 0, memoryGb: 9 }, "needs 9 GiB on 1 node: n1 has 8 of 8 GiB free"],
  [
    "one node of two",
    { n1: {}, n2: { cpus: 0.25 } },
    { nodes: 2 },
    "needs 0.5 CPUs on each of 2 nodes: n1 has room, n2 has 0.25 of 0.25 CPUs free",
  ],
  [
    "containers",
    { n1: { containers: true, cpus: 1 }, n2: {} },
    { cpus: 1, container: true },
    "needs 1 CPUs on 1 node with podman or docker: n1 has 0.5 of 1 CPUs free (in use by your job 1), " +
      "n2 has neither podman nor docker to run its image",
  ],
  [
    "mixed kinds",
    { n1: { accelerators: "V100:1,H100:1" } },
    { accelerators: "V100:1", cpus: 0 },
    "needs 1 x V100 on 1 node: n1 has accelerators of several kinds and so takes no accelerator jobs",
  ],
])("what is missing: %s", (_, nodes, words, expected) => {
  const scenario = new Scenario(nodes).up();
  scenario.submit();
  expect(reason(scenario, scenario.submit(words))).toBe(expected);
});

test("a start that a node tries again says what went wrong so far", () => {
  const scenario = new Scenario({ n1: {} }).up();
  const id = scenario.submit();
  scenario.report("n1", [scenario.rank(id, "n1", { state: "starting", fault: "the login was late." })]);
  expect(reason(scenario, id)).toBe("it is being tried again: the login was late.");
  expect(scenario.job(id).record.phase).toBe("starting");
  scenario.report("n1", [scenario.rank(id, "n1", { state: "running" })]);
  expect(reason(scenario, id)).toBeNull();
});

test("nodes that are silent, refuse or were never seen are named as such", () => {
  const scenario = new Scenario({ n1: {}, n2: {}, n3: {} });
  const id = scenario.submit();
  expect(reason(scenario, id)).toBe("no node has reported yet");
  scenario.connect("n1").report("n1");
  expect(scenario.place(id)).toBe("n1");
  scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
  scenario.connect("n2");
  scenario.dispatch({ type: "nodeRefused", node: "n2", reason: "another state" });
  scenario.now += 42_000;
  const next = scenario.submit();
  expect(reason(scenario, next)).toBe(
    "needs 0.5 CPUs on 1 node: n1 is unreachable (last report 42 s ago), " +
      "n2 refuses this coordinator until an admin confirms it, n3 has not reported yet",
  );
  expect(reason(scenario, id)).toBe("n1 is unreachable (last report 42 s ago); what the job does there is not known");
  expect(nodeRows(scenario.state, scenario.now).map((row) => row.state)).toEqual([
    "UNREACHABLE",
    "REFUSED",
    "NEVER_SEEN",
  ]);
});

test("what can never fit is said with what there is, also while nodes are unreachable", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" }, n2: {} });
  const shape = shapeOf({ accelerators: "V100:8", cpus: 0 });
  expect(neverFits(scenario.state, shape)).toBeNull();
  scenario.connect("n1").report("n1");
  expect(neverFits(scenario.state, shape)).toBeNull();
  scenario.connect("n2").report("n2");
  scenario.dispatch({ type: "nodeDisconnected", node: "n1" });
  expect(neverFits(scenario.state, shapeOf({ accelerators: "v100:4" }))).toBeNull();
  expect(neverFits(scenario.state, shape)).toBe(
    "Requested resources do not match the existing cluster.\n" +
      "  Requested:\t8 x V100 on 1 node\n" +
      "  Existing:\tn1: 4 x V100, 8 CPUs, 64 GiB\n\t\tn2: 8 CPUs, 64 GiB",
  );
  expect(neverFits(scenario.state, shapeOf({ nodes: 3 }))).toContain("on each of 3 nodes");
  const inContainer = neverFits(scenario.state, shapeOf({ container: true }));
  expect(inContainer).toContain("Requested:\t0.5 CPUs on 1 node with podman or docker");
  expect(inContainer).toContain("64 GiB, neither podman nor docker");
});

const me = { uid: 1001, isAdmin: false };

test("rows of the queue have positions per user, and a cancel without ids means the latest running job", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:1" } }).up();
  const running = scenario.submit({ accelerators: "V100:1" });
  scenario.report("n1", [scenario.rank(running, "n1", { state: "running", pid: 1 })]);
  scenario.submit({ accelerators: "V100:1", uid: 1002 });
  scenario.submit({ accelerators: "V100:1" });
  scenario.submit({ accelerators: "V100:1" });
  const rows = queueRows(scenario.state, 1001, me, scenario.now).map((row) => [row.job_id, row.status, row.position]);
  expect(rows).toEqual([
    [3, "PENDING", 2],
    [2, "PENDING", 1],
    [1, "RUNNING", null],
  ]);
  expect(queueRows(scenario.state, null, me, scenario.now)).toHaveLength(4);
  expect(jobsToCancel(scenario.state, 1001, { ids: null, all: false })).toEqual([1]);
  expect(jobsToCancel(scenario.state, 1001, { ids: [3, 9], all: false })).toEqual([3]);
  expect(jobsToCancel(scenario.state, 1001, { ids: null, all: true })).toEqual([1, 2, 3]);
  expect(jobsToCancel(scenario.state, 1002, { ids: null, all: false })).toEqual([1]);
  expect(nodeRows(scenario.state, scenario.now)[0]).toMatchObject({
    accelerators: { V100: 1 },
    accelerators_free: { V100: 0 },
  });
});

test("unknown attempts are counted once, and hold back no other job of the same number", () => {
  const source = new Scenario({ n1: {}, n2: {} }).up();
  const id = source.submit({ nodes: 2 });
  const scenario = new Scenario({ n1: {}, n2: {} });
  for (const node of ["n1", "n2"]) {
    scenario.connect(node).report(node, [source.rank(id, node, { state: "running", pid: 1 })], 0);
  }
  expect(unknownAttempts(scenario.state)).toBe(1);
  scenario.now += 5;
  expect(scenario.place(scenario.submit())).toBe("n1");
});

test("a window says when it begins and what the job asked for; a shorter limit is offered", () => {
  const scenario = new Scenario({ n1: {} }).up();
  const set = { kind: "maintenance" as const, nodes: ["n1"], users: [], groups: [], endJobs: false, by: null };
  const [from, to] = [scenario.now + 1_800_000, scenario.now + 5_400_000];
  const window = { id: "w1", from, to, reason: "new disks", ...set };
  scenario.dispatch({ type: "windowChanged", id: "w1", window });
  const id = scenario.submit({ time: 7200 });
  scenario.now = from - 1_200_000;
  expect(reason(scenario, id)).toBe(
    "needs 0.5 CPUs on 1 node: n1 will be under maintenance in 20m, and the job may take 2h: new disks",
  );
  const answer = explainJob(scenario.state, scenario.job(id), { viewer: me, cluster: "lab", now: scenario.now });
  expect(answer.actions[0]).toBe("give --time 20m or less: it would be over in time and start now on n1");
  expect(answer).toMatchObject({ earliest_start: to / 1000, constraints: [{ type: "window", until: to / 1000 }] });
});

test("room that is kept for a job ahead is said, with its start", () => {
  const scenario = new Scenario({ n1: { accelerators: "V100:4" } }).up();
  scenario.submit({ accelerators: "V100:3", time: 3600, uid: 1002 });
  const large = scenario.submit({ accelerators: "V100:4", time: 3600, priority: 5 });
  const small = scenario.submit({ accelerators: "V100:1", time: 7200 });
  expect(reason(scenario, small)).toBe(
    "needs 1 x V100, 0.5 CPUs on 1 node: " +
      `n1 has room, but keeps it for your job ${large}, whose turn comes first in 1h`,
  );
  const reader = { viewer: me, cluster: "lab", now: scenario.now };
  const ahead = explainJob(scenario.state, scenario.job(large), reader);
  expect(ahead).toMatchObject({
    is_reserved: true,
    position_over_all: 1,
    places: [{ node: "n1", devices: [0, 1, 2, 3] }],
  });
  const behind = explainJob(scenario.state, scenario.job(small), reader);
  expect(behind.constraints.map((one) => one.type)).toEqual(["reservation", "order"]);
  expect(behind.actions[0]).toMatch(/^give --time (1h|59m) or less/);
});

test("a job that wants a node for itself, and one that is shut out by it", () => {
  const scenario = new Scenario({ n1: {} }).up();
  scenario.submit();
  const alone = scenario.submit({ exclusive: true, uid: 1002 });
  expect(reason(scenario, alone, 1002)).toBe(
    "needs 0.5 CPUs on 1 node that nobody else uses: n1 is not empty (in use by another user's job)",
  );
});

test("names are shown as the config says, and to admins always", () => {
  const shown = (showHolders: "own" | "group" | "all", isAdmin = false): string => {
    const scenario = new Scenario({ n1: { accelerators: "V100:1" } }, { scheduling: { showHolders } }).up();
    for (const [uid, user, groups] of [
      [1001, "alice", ["lab"]],
      [1002, "bob", ["lab"]],
      [1003, "carol", ["other"]],
    ] as const) {
      scenario.dispatch({ type: "personSeen", uid, user, groups: [...groups] });
    }
    scenario.submit({ accelerators: "V100:0.5", uid: 1002 });
    scenario.submit({ accelerators: "V100:0.5", uid: 1003 });
    const job = scenario.job(scenario.submit({ accelerators: "V100:1" }));
    const viewer = { uid: isAdmin ? 0 : 1001, isAdmin };
    return explainJob(scenario.state, job, { viewer, cluster: "lab", now: scenario.now }).reason ?? "";
  };
  expect(shown("own")).toContain("1 held by another user's job (2 jobs)");
  expect(shown("group")).toContain("0.5 held by bob's job 1, 0.5 held by another user's job");
  expect(shown("all")).toContain("0.5 held by bob's job 1, 0.5 held by carol's job 1");
  expect(shown("own", true)).toContain("0.5 held by bob's job 1, 0.5 held by carol's job 1");
});
