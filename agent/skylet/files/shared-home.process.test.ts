/** One home on several machines, and several jobs with one destination: who writes, who waits, and what is said. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StandInAgent } from "../../../test/help/stand-in-agent.ts";
import { until } from "../../../test/help/until.ts";
import { takeClaim } from "./claim.ts";
import { recordName, recordsFolder } from "./record.ts";

let agents: StandInAgent[] = [];
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-claims-"));
});

afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.close()));
  agents = [];
  rmSync(folder, { recursive: true });
});

/** Machines whose users' homes are the first one's. */
async function machines(count: number): Promise<[StandInAgent, StandInAgent]> {
  for (let index = 0; index < count; index += 1) {
    const agent = new StandInAgent();
    agents.push(agent);
    // oxlint-disable-next-line no-await-in-loop -- one after another
    await agent.open();
    if (index > 0) {
      rmdirSync(agent.home);
      symlinkSync((agents[0] as StandInAgent).home, agent.home);
    }
    // oxlint-disable-next-line no-await-in-loop -- one after another
    await agent.start();
  }
  return agents as [StandInAgent, StandInAgent];
}

const tree = (mark: string): Record<string, { text: string }> =>
  Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`d/f${index}`, { text: `${mark} ${index}` }]));

test("two ranks that share a home write once, and both find everything there", async () => {
  const [one, two] = await machines(2);
  const attempt = "sharedab-1";
  const ids = [one, two].map((agent) => agent.files.add(tree("x"), 1000));
  await Promise.all(
    [one, two].map(async (agent, rank) => {
      const wanted = agent.wanted({ attempt, rank, setup: true, addresses: ["10.0.0.1", "10.0.0.2"], jobId: 7 });
      const files = [{ kind: "upload" as const, destination: "~/sky_workdir", manifest: ids[rank] ?? "" }];
      await agent.launch(wanted, { files, run: "cat d/* | wc -l" });
      expect(await agent.state(attempt, "exited")).toMatchObject({ setupExit: 0, runExit: 0 });
    }),
  );
  expect(one.files.askedChunks + two.files.askedChunks).toBe(50);
  expect(readFileSync(join(one.home, "sky_workdir", "d", "f49"), "utf8")).toBe("x 49");
});

test("another job with other files waits for the first; the last one wins, and its log names the other", async () => {
  const [one, two] = await machines(2);
  const first = one.wanted({ setup: true, jobId: 11 });
  let held = true;
  one.files.disturb = (_hash, sent) => (held && sent === 3 ? "hang" : null);
  const files = (manifest: string) => [{ kind: "upload" as const, destination: "~/sky_workdir", manifest }];
  await one.launch(first, { files: files(one.files.add(tree("one"), 1000)), run: "sleep 1000" });
  await until(() => one.files.sent === 3, "the first job to be at it");
  const second = two.wanted({ setup: true, jobId: 12 });
  const logDir = await two.launch(second, { files: files(two.files.add(tree("two"), 1000)), run: "true" });
  const log = (): string => readFileSync(join(logDir, "setup.log"), "utf8");
  await until(() => log().includes("job 11 on"), "the second job to wait");
  expect(two.files.asked).toEqual([]);
  held = false;
  one.files.cut();
  expect((await two.state(second.attempt, "exited")).setupExit).toBe(0);
  expect((await one.state(first.attempt, "running")).setupExit).toBe(0);
  expect(readFileSync(join(two.home, "sky_workdir", "d", "f0"), "utf8")).toBe("two 0");
  expect(log()).toMatch(/job 11 put other files here \d+ s ago/u);
});

test("what a killed job left behind is taken over and cleared", async () => {
  const [one] = await machines(1);
  const destination = join(one.home, "data");
  mkdirSync(join(destination, "d"), { recursive: true });
  writeFileSync(join(destination, "d", ".sky-part-dead-1"), "half");
  mkdirSync(recordsFolder(one.home), { recursive: true });
  const claim = join(recordsFolder(one.home), `${recordName(destination)}.claim`);
  // No process has this number.
  writeFileSync(
    claim,
    JSON.stringify({ owner: "x", attempt: "dead-1", job: 1, host: hostname(), pid: 4_194_305, beat: 3 }),
  );
  const wanted = one.wanted({ setup: true });
  const manifest = one.files.add(tree("x"), 1000);
  await one.launch(wanted, { files: [{ kind: "upload", destination: "~/data", manifest }], run: null });
  expect((await one.state(wanted.attempt, "exited")).setupExit).toBe(0);
  expect(readdirSync(join(destination, "d"))).toHaveLength(50);
  expect(existsSync(claim)).toBe(false);
});

test("a claim of another machine is waited for while it is renewed, and taken over when it is not", async () => {
  const path = join(folder, "claim");
  const text = (beat: number): string =>
    JSON.stringify({ owner: "x", attempt: "a-1", job: 3, host: "elsewhere", pid: 1, beat });
  writeFileSync(path, text(0));
  let beat = 0;
  const beating = setInterval(() => writeFileSync(path, text((beat += 1))), 50);
  const lines: string[] = [];
  const taking = takeClaim(path, { attempt: "b-1", job: 4 }, (line) => lines.push(line), {
    staleMs: 4000,
    waitLimitMs: 60_000,
  });
  let taken = false;
  void taking.then(() => (taken = true));
  await until(() => beat > 40, "two seconds of beats");
  expect([taken, lines]).toEqual([false, ["job 3 on elsewhere is writing there; waiting for it"]]);
  clearInterval(beating);
  const claim = await taking;
  expect(claim.abandoned).toEqual(["a-1"]);
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ attempt: "b-1" });
  writeFileSync(path, text(1));
  claim.release();
  expect(existsSync(path)).toBe(true);
});

test("a limit on waiting, and a place where no claim can be made: both go on without", async () => {
  const path = join(folder, "claim");
  const first = await takeClaim(path, { attempt: "a-1", job: 1 }, () => undefined);
  await takeClaim(path, { attempt: "b-1", job: 2 }, () => undefined, { staleMs: 60_000, waitLimitMs: 1 });
  first.release();
  writeFileSync(join(folder, "file"), "");
  const claim = await takeClaim(join(folder, "file", "claim"), { attempt: "a-1", job: 1 }, () => undefined);
  claim.release();
});
