/** The queue's rows: how much of the coordinator's time one answer may take. */
import { expect, test } from "vitest";
import { Scenario } from "../../test/sim/scenario.ts";
import { queueRows } from "./views.ts";

test("whoever has very many different demands waiting is told of some, and where to ask for the others", () => {
  const nodes = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`n${at}`, { cpus: 1 }]));
  const scenario = new Scenario(nodes);
  for (let at = 0; at < 300; at += 1) {
    scenario.submit({ cpus: 2 + at / 1000 });
    scenario.submit({ cpus: 2 });
  }
  const { uid } = [...scenario.state.jobs.values()][0] ?? { uid: 0 };
  const rows = queueRows(scenario.state, uid, { uid, isAdmin: false }, scenario.now);
  const later = rows.filter(({ reason }) => reason?.startsWith("see `sky explain "));
  expect(rows).toHaveLength(600);
  expect(later).toHaveLength(300 - 201);
  expect(later[0]?.reason).toBe(`see \`sky explain ${later[0]?.job_id}\``);
  expect(rows.filter(({ reason }) => reason === "no node has reported yet")).toHaveLength(501);
});
