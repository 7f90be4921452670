/**
 * An upgrade and a rollback, part by part, while jobs run: the programs of this version beside a build that speaks only
 * the protocol of the version before and calls itself by another version. In every mixture jobs run, are watched and are
 * cancelled; what ran before a part was exchanged runs on, once. That the version before really is what that build
 * pretends to be, test/wire/protocol-1 holds.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout, nodePathsOf, pathsOf } from "../../scripts/cluster/layout.ts";
import { must } from "../help/run.ts";
import { runAs, sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, type Site, startSite, statusOf, submit, tell, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { processesOf, type TestUser } from "../help/users.ts";
import { jobRecordSchema } from "../wire/protocol-1/job.ts";
import { entrySchema } from "../wire/protocol-1/ledger.ts";

const bundles = { coordinator: ["coordinator.mjs"], "agent:n1": ["agent.mjs", "skylet.mjs"] } as const;
type Part = keyof typeof bundles;
type Age = "old" | "new";
/** Both directions, in both orders: every mixture is reached by an upgrade and by a rollback. */
const steps: [Part, Age][] = [
  ["agent:n1", "old"],
  ["coordinator", "old"],
  ["coordinator", "new"],
  ["agent:n1", "new"],
  ["coordinator", "old"],
  ["agent:n1", "old"],
  ["agent:n1", "new"],
  ["coordinator", "new"],
];
const oldVersion = "0.1.77";
let builds = "";
let site: Site;
let user: TestUser;

beforeAll(async () => {
  builds = mkdtempSync(join(tmpdir(), "sky-builds-"));
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/root" };
  const flags = ["--out", join(builds, "old"), "--version", oldVersion, "--newest-protocol", "1"];
  await must([join(checkout, "scripts/build"), ...flags], { env, limitMs: 120_000 });
  site = await startSite({ accelerators: "-" });
  cpSync(pathsOf(site.cluster.dir).programsDir, join(builds, "new"), { recursive: true });
  user = site.users[0] as TestUser;
  await runAs(user, ["mkdir", join(user.home, "runs")]);
});
afterAll(async () => {
  await site?.stop();
  rmSync(builds, { recursive: true, force: true });
});

/** Begins, waits for its release, ends; one line each in ~/runs/ID. */
const script = [
  "f=~/runs/$SKYPILOT_INTERNAL_JOB_ID",
  'echo begin >> "$f"',
  "echo output of the job",
  'for i in $(seq 6000); do [ -e "$f.go" ] && break; sleep 0.05; done',
  'echo end >> "$f"',
].join("; ");

function ran(id: number): string {
  const file = join(user.home, "runs", String(id));
  return existsSync(file) ? readFileSync(file, "utf8").trim().replaceAll("\n", ",") : "";
}

const connected = "connected to the coordinator";

async function exchange(part: Part, age: Age): Promise<void> {
  const before = linesOf("agent:n1", connected).length;
  const { programsDir } = pathsOf(site.cluster.dir);
  await site.cluster.kill(part);
  mkdirSync(join(programsDir, "next"), { recursive: true });
  for (const file of bundles[part]) {
    cpSync(join(builds, age, file), join(programsDir, "next", file));
    renameSync(join(programsDir, "next", file), join(programsDir, file));
  }
  site.cluster.startPart(part);
  // The node counts as up until it is noticed that the part has gone: only a new connection says that both are there.
  await until(() => linesOf("agent:n1", connected).length > before, "the agent and the coordinator to meet", 60_000);
  await site.cluster.ready();
}

interface Line {
  msg?: string;
  version?: string;
  protocol?: number;
}

function linesOf(part: Part, text: string): Line[] {
  const lines = site.cluster.log(part).trim().split("\n");
  return lines
    .flatMap((line) => (line.startsWith("{") && line.endsWith("}") ? [JSON.parse(line) as Line] : []))
    .filter((line) => line.msg === text);
}

const lastLine = (part: Part, text: string): Line | undefined => linesOf(part, text).at(-1);

/** The versions of the user's skylets, as they are called. */
function skylets(): string[] {
  return processesOf(user.uid).flatMap((pid) => {
    try {
      return /skylet\.mjs\0.*--version\0([^\0]+)/.exec(readFileSync(`/proc/${pid}/cmdline`, "utf8"))?.[1] ?? [];
    } catch {
      return [];
    }
  });
}

test("upgrade and roll back coordinator and agent, one after the other, while jobs run", async ({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
  const ages: Record<Part, Age> = { coordinator: "new", "agent:n1": "new" };
  const long = await submit(user, ["--", script]);
  await untilStatus(user, long, "RUNNING");
  const finished: number[] = [];
  for (const [part, age] of steps) {
    const cancelled = await submit(user, ["--", script]);
    const ending = await submit(user, ["--", script]);
    await until(() => ran(cancelled) === "begin" && ran(ending) === "begin", "both jobs to begin");
    await exchange(part, age);
    ages[part] = age;
    const where = JSON.stringify(ages);
    const isMixed = Object.values(ages).includes("old");
    expect(lastLine("agent:n1", connected)?.protocol, where).toBe(isMixed ? 1 : 2);
    expect(lastLine("agent:n1", "agent starts")?.version?.startsWith(oldVersion), where).toBe(
      ages["agent:n1"] === "old",
    );
    expect(lastLine("coordinator", "coordinator starts")?.version?.startsWith(oldVersion), where).toBe(
      ages.coordinator === "old",
    );
    expect(await statusOf(user, long), where).toBe("RUNNING");
    await skyOk(user, ["cancel", clusterName, String(cancelled), "-y"]);
    await untilStatus(user, cancelled, "CANCELLED");
    await must(["touch", join(user.home, "runs", `${ending}.go`)]);
    await untilStatus(user, ending, "SUCCEEDED");
    const fresh = await submit(user, ["--", "echo fresh; exit 5"]);
    await untilStatus(user, fresh, "FAILED");
    expect(jobLines(await logsOf(fresh)), where).toContain("fresh");
    expect(jobLines(await logsOf(ending)), where).toEqual(["output of the job"]);
    expect([ran(cancelled), ran(ending)], where).toEqual(["begin", "begin,end"]);
    const [version, ...more] = skylets();
    expect([version?.startsWith(oldVersion), more], where).toEqual([ages["agent:n1"] === "old", []]);
    finished.push(cancelled, ending);
  }
  const { records, entries } = await stored();
  expect(records.length).toBeGreaterThan(finished.length);
  expect(records.map((record) => jobRecordSchema.parse(record))).toEqual(records);
  expect(entries.length).toBeGreaterThan(0);
  expect(entries.map((entry) => entrySchema.parse(entry))).toEqual(entries);
  await must(["touch", join(user.home, "runs", `${long}.go`)]);
  await untilStatus(user, long, "SUCCEEDED");
  expect(ran(long)).toBe("begin,end");
  expect(finished.map(ran)).toEqual(finished.map((_, at) => (at % 2 === 0 ? "begin" : "begin,end")));
});

/** What the version before would find in Redis and in the node's ledger after a rollback. */
async function stored(): Promise<{ records: unknown[]; entries: unknown[] }> {
  const redis = new Redis({ path: pathsOf(site.cluster.dir).redisSocket, lazyConnect: true });
  await redis.connect();
  try {
    const keys = (await redis.keys("*")).filter((key) => /:\d+$/.test(key));
    const texts = await Promise.all(keys.map(async (key) => await redis.hget(key, "data").catch(() => null)));
    const folder = join(nodePathsOf(site.cluster.dir, "n1").stateDir, "attempts");
    const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
    return {
      records: texts.flatMap((text) => (text === null ? [] : [JSON.parse(text) as unknown])),
      entries: files.map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as unknown),
    };
  } finally {
    redis.disconnect();
  }
}

async function logsOf(id: number): Promise<string> {
  return (await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout;
}
