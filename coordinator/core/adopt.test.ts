/**
 * A state that was rolled back: it holds a job as waiting that nodes have begun. The job must go on as what it is, and
 * whatever happens never be started a second time.
 */
import { expect, test } from "vitest";
import type { AttemptReport } from "../../shared/agent-wire.ts";
import type { Job } from "../../shared/job.ts";
import { Scenario } from "../../test/sim/scenario.ts";
import { explain } from "./explain.ts";
import { unknownAttempts } from "./views.ts";

/** A job that ran on these nodes, as the rolled-back state remembers it, and what its nodes report. */
function rolledBack(nodes: string[], state: AttemptReport["state"]) {
  const words = Object.fromEntries(nodes.map((name) => [name, {}]));
  const before = new Scenario(words).up();
  const id = before.submit({ nodes: nodes.length });
  const reports = nodes.map((node) => before.rank(id, node, { state, pid: 7, runExit: state === "exited" ? 0 : null }));
  const attempt = before.job(id).record.attempt;
  const waiting: Job = { id, record: { ...before.job(id).record, phase: "waiting", attempt: null } };
  return { id, reports, attempt, after: new Scenario(words, { jobs: [waiting] }) };
}

const starts = (scenario: Scenario): unknown[] => scenario.effects.filter((one) => one.type === "commitStart");

test("a job that runs is taken over, on disk first, and ends as it ends", () => {
  const { id, reports, attempt, after } = rolledBack(["n1"], "running");
  after.connect("n1").report("n1", reports, 0);
  expect(after.job(id).record.attempt?.id).toBe(attempt?.id);
  expect(unknownAttempts(after.state)).toBe(0);
  expect(after.told("n1")?.wanted).toMatchObject([{ attempt: attempt?.id, started: true }]);
  expect(after.told("n1")?.ended).toEqual([]);
  after.report("n1", [{ ...(reports[0] as AttemptReport), state: "exited", runExit: 0 }]);
  expect(after.effects.find((one) => one.type === "commitEnd")).toMatchObject({ record: { end: "SUCCEEDED" } });
  expect(starts(after)).toHaveLength(1);
});

test("a job that was submitted in this life of the coordinator is nobody's but the plan's", () => {
  const { reports } = rolledBack(["n1"], "running");
  const fresh = new Scenario({ n1: {}, n2: {} });
  const id = fresh.submit();
  const { submittedAt } = fresh.job(id).record;
  const lie = { ...(reports[0] as AttemptReport), attempt: "liarliar-1", submittedAt };
  fresh.connect("n1").report("n1", [lie], 0);
  expect(fresh.job(id).record.attempt?.id).not.toBe(lie.attempt);
  fresh.report("n1", [], 0).connect("n2").report("n2", [], 0);
  expect(fresh.effects.filter((one) => one.type === "commitEnd")).toEqual([]);
  expect(fresh.place(id)).toMatch(/^n[12]$/);
});

test("a job that has ended meanwhile is taken over as well", () => {
  const { reports, after } = rolledBack(["n1"], "exited");
  after.connect("n1").report("n1", reports, 0).report("n1", reports);
  expect(after.effects.find((one) => one.type === "commitEnd")).toMatchObject({ record: { end: "SUCCEEDED" } });
  expect(starts(after)).toHaveLength(1);
});

test("of two ranks, one alone holds the job back with a reason; both are taken over", () => {
  const { id, reports, attempt, after } = rolledBack(["n1", "n2"], "running");
  after.connect("n1").report("n1", reports.slice(0, 1), 0);
  expect(after.place(id)).toBe("waiting");
  expect(explain(after.state, 1001, id, after.now).reason).toContain("n1");
  after.connect("n2").report("n2", reports.slice(1), 0);
  expect(after.place(id)).toBe("n1,n2");
  expect(after.job(id).record.attempt?.id).toBe(attempt?.id);
});

test("a rank that vanishes before the others are known ends the job; it is not started again", () => {
  const { reports, after } = rolledBack(["n1", "n2"], "running");
  after.connect("n1").report("n1", reports.slice(0, 1), 0).report("n1", [], 0);
  after.connect("n2").report("n2", [], 0);
  expect(after.effects.find((one) => one.type === "commitEnd")).toMatchObject({ record: { end: "FAILED_DRIVER" } });
  expect(starts(after)).toEqual([]);
});
