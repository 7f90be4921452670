/**
 * `sky admin doctor` and `sky admin logs` on a cluster of real programs: everything answers, one machine hangs, and those
 * who are no admins are refused.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DoctorResult } from "../../shared/inspect-api.ts";
import { dist } from "../../scripts/cluster/layout.ts";
import { run } from "../help/run.ts";
import { plain, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { sky } from "../help/sky.ts";

let site: Site;

beforeAll(async () => {
  site = await startSite({ accelerators: "V100:4,-" });
});
afterAll(async () => {
  await site?.stop();
});

/** `sky admin …` as root on the head. */
function asRoot(...words: string[]): ReturnType<typeof run> {
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", LANG: "C.UTF-8" };
  const argv = [`${dist}/sky`, "admin", ...words, "--socket", site.cluster.socket];
  return run(argv, { env, limitMs: 120_000 });
}

test("every machine answers with a word of every check", async () => {
  const result = await asRoot("doctor", "-o", "json");
  expect([0, 1], result.stderr).toContain(result.code);
  const { nodes, coordinator } = JSON.parse(result.stdout) as DoctorResult;
  expect(nodes.map(({ name }) => name)).toEqual(["n1", "n2"]);
  for (const { findings } of nodes) {
    const checks = new Set(findings.map(({ check }) => check));
    for (const check of ["own-name", "users", "home", "disk", "cgroup", "accelerators", "redis", "coordinator"]) {
      expect(checks).toContain(check);
    }
    expect(findings.filter(({ check }) => check === "doctor")).toEqual([]);
  }
  expect(coordinator.filter(({ level }) => level === "error")).toEqual([]);
  const again = await asRoot("doctor", "n1");
  expect(again.stdout).toMatch(/^n1: /m);
  expect(again.stdout.split("\n").filter((line) => line.length > 80 && !line.includes("mend: "))).toEqual([]);
});

test("a machine that hangs is unknown, and the other one is not", async () => {
  process.kill(site.cluster.pid("agent:n2"), "SIGSTOP");
  try {
    const { nodes } = JSON.parse((await asRoot("doctor", "-o", "json")).stdout) as DoctorResult;
    const doubts = nodes.map(({ findings }) => findings.filter(({ check }) => check === "doctor"));
    expect(doubts[0]).toEqual([]);
    expect(doubts[1]).toEqual([expect.objectContaining({ level: "unknown" })]);
  } finally {
    process.kill(site.cluster.pid("agent:n2"), "SIGCONT");
  }
});

test("who is no admin is refused, by the name of the group", async () => {
  const [user] = site.users;
  for (const words of [["doctor"], ["logs", "root/1"]]) {
    const refused = await sky(user as never, ["admin", ...words]);
    expect(refused.code).toBe(1);
    expect(plain(refused.stderr)).toMatch(/sky-admin/);
  }
});

test("a job's lines are in the daemons' output, each with user, job and attempt; without a journal that is said", async () => {
  const user = site.users[0] as Site["users"][number];
  const id = await submit(user, ["--", "echo done"]);
  await untilStatus(user, id, "SUCCEEDED");
  const lines = (part: string): Record<string, unknown>[] =>
    site.cluster
      .log(part)
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line["uid"] === user.uid && line["job"] === id);
  const said = lines("coordinator").map((line) => line["msg"]);
  expect(said).toEqual(
    expect.arrayContaining([
      "job queued",
      "job starts; its nodes are told",
      "job has ended; its nodes are told to clean up",
    ]),
  );
  const attempt = lines("coordinator").find((line) => line["msg"] === "job starts; its nodes are told")?.["attempt"];
  const ofAgents = [...lines("agent:n1"), ...lines("agent:n2")];
  expect(ofAgents.length).toBeGreaterThan(2);
  expect(new Set(ofAgents.map((line) => line["attempt"]))).toEqual(new Set([attempt]));
  const result = await asRoot("logs", `${user.name}/${id}`);
  expect(result.code, result.stderr).toBe(0);
  const wrong = await asRoot("logs", `${user.name}/77`);
  expect(wrong.code).toBe(1);
  expect(plain(wrong.stderr)).toMatch(/has no job 77/);
  expect((await asRoot("logs", "--", "-x/1")).code).toBe(2);
});
