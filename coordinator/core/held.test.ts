/**
 * Jobs that a restore has put back: what may have happened since the backup is not known, so none of them is started
 * until an admin says so, and one that the nodes do not have any more counts as started.
 */
import { expect, test } from "vitest";
import type { Job } from "../../shared/job.ts";
import { Scenario } from "../../test/sim/scenario.ts";
import { explain } from "./explain.ts";

const restoredFrom = "2026-02-03T04:05:06.000Z";

/** A job as an older copy has it, marked as the restore marks it. */
function putBack(phase: "waiting" | "starting") {
  const words = { n1: {} };
  const before = new Scenario(words).up();
  const id = before.submit({});
  const { record } = before.job(id);
  const attempt = phase === "waiting" ? null : record.attempt;
  const report = before.rank(id, "n1", { state: "running", pid: 7 });
  const job: Job = { id, record: { ...record, phase, attempt, restoredFrom } };
  return { id, report, after: new Scenario(words, { jobs: [job] }) };
}

const starts = (scenario: Scenario): unknown[] => scenario.effects.filter((one) => one.type === "commitStart");

test("a waiting one is held with a reason, later ones pass it, and its release starts it and is written", () => {
  const { id, after } = putBack("waiting");
  after.up();
  const later = after.submit({ uid: 1002 });
  expect(after.place(later, 1002)).toBe("n1");
  expect(after.place(id)).toBe("waiting");
  expect(explain(after.state, 1001, id, after.now).reason).toMatch(/held after a restore.*04:05.*sky admin release/);
  after.dispatch({ type: "jobsReleased", uid: 1001, ids: [id, 99] });
  expect(after.place(id)).toBe("n1");
  const [written, started] = after.effects.filter(
    (one) => "record" in one && one.record?.uid === 1001 && one.type !== "commitEnd",
  );
  expect(written).toMatchObject({ type: "commitUpdate", id });
  expect(written).not.toHaveProperty("record.restoredFrom");
  expect(started).toMatchObject({ type: "commitStart", id });
});

test("a held one can be cancelled, and is taken over when a node has it", () => {
  const cancelled = putBack("waiting");
  cancelled.after.up().dispatch({ type: "cancelRequested", uid: 1001, ids: [cancelled.id] });
  expect(cancelled.after.effects.find((one) => one.type === "commitEnd")).toMatchObject({
    record: { end: "CANCELLED" },
  });
  const { after, id, report } = putBack("waiting");
  after.connect("n1").report("n1", [report], 0);
  expect(after.job(id).record.attempt?.id).toBe(report.attempt);
  expect(after.job(id).record.phase).not.toBe("waiting");
  expect(starts(after)).toHaveLength(1);
});

test("one whose start was being made is never started by the node again, but goes on where it is", () => {
  const gone = putBack("starting").after.up();
  expect(gone.told("n1")?.wanted).toMatchObject([{ started: true }]);
  const { after, id, report } = putBack("starting");
  after.connect("n1").report("n1", [report], 0);
  expect(after.job(id).record.phase).toBe("running");
});
