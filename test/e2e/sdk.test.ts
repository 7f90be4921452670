/**
 * The package `sky-onprem` as programs of an ordinary user use it, on a real cluster through a real sshd: what functions
 * give, what they raise, that connections are shared and programs end by themselves; and every program of examples/sdk.
 */
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import type { Result } from "../help/run.ts";
import { clusterName, jobLines, queueOf, type Site, startSite } from "../help/site.ts";
import { runAs } from "../help/sky.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
let stranger: TestUser;

beforeAll(async () => {
  site = await startSite({ users: 2, initialized: false });
  [user, stranger] = site.users as [TestUser, TestUser];
  for (const one of [user, stranger]) {
    mkdirSync(join(one.home, "node_modules"));
    symlinkSync(checkout, join(one.home, "node_modules/sky-onprem"));
  }
});
afterAll(async () => await site?.stop());

let programs = 0;

/** Runs a program of this user; `lines` follow the import. */
async function program(who: TestUser, lines: string): Promise<Result> {
  programs += 1;
  const file = join(who.home, `program-${programs}.mjs`);
  writeFileSync(file, `import * as sky from "sky-onprem";\nconst lab = "${clusterName}";\n${lines}\n`);
  return runAs(who, [process.execPath, file]);
}

/** What a program gives when it calls `say(value)`. */
async function said(who: TestUser, lines: string): Promise<unknown> {
  const result = await program(who, `const say = (value) => console.log(JSON.stringify(value));\n${lines}`);
  expect(result).toMatchObject({ code: 0, stderr: "" });
  return JSON.parse(result.stdout);
}

/** The class, text and hint of what `expression` raises. */
async function raisedBy(who: TestUser, expression: string): Promise<unknown> {
  return said(
    who,
    `const silent = { write: () => true };
    const error = await (async () => ${expression})().then(() => null, (thrown) => thrown);
    const kinds = Object.entries(sky.exceptions).filter(([, kind]) => error instanceof kind).map(([name]) => name);
    say({ name: error?.name, message: error?.message, hint: error?.hint, kinds });`,
  );
}

describe("before the first launch", () => {
  test("a cluster is registered, not initialized: exec says what to do, status leaves it out", async () => {
    expect(await raisedBy(user, `sky.exec(new sky.Task({ run: "true" }), { clusterName: lab })`)).toMatchObject({
      name: "ClusterNotUpError",
      message: expect.stringContaining(`Found uninitialized local cluster ${clusterName}`),
      kinds: expect.arrayContaining(["ClusterNotUpError", "SkyException"]),
    });
    expect(await said(user, "say(await sky.get(await sky.status()));")).toEqual([]);
  });
});

describe("a launched cluster", () => {
  beforeAll(async () => {
    for (const who of [user, stranger]) {
      const launched = `const request = await sky.launch(new sky.Task(), { clusterName: lab });
        say([request, await sky.get(request)]);`;
      expect(await said(who, launched)).toEqual([
        expect.stringMatching(/^[0-9a-f-]{36}$/),
        { jobId: null, handle: { clusterName, headIp: "127.0.0.1", user: who.name }, dryrun: null },
      ]);
    }
  });

  test("is in status, which can ask the cluster itself", async () => {
    const records = (await said(
      user,
      "say([await sky.get(await sky.status()), await sky.get(await sky.status({ clusterNames: lab, refresh: 'FORCE' }))]);",
    )) as unknown[][];
    for (const [record] of records) {
      expect(record).toMatchObject({
        name: clusterName,
        status: "UP",
        autostop: -1,
        userName: user.name,
        resourcesStr: expect.stringContaining("V100"),
        lastUse: expect.stringMatching(/^node program-\d+\.mjs$/),
      });
    }
  });

  test("runs jobs: launch with setup, exec without, queue, statuses, exit codes", async () => {
    const result = (await said(
      user,
      `const task = new sky.Task({ name: "both", setup: "echo set up", run: "echo $WORD; exit $CODE", envs: { WORD: "a b", CODE: "0" } });
      const first = await sky.get(await sky.launch(task, { clusterName: lab }));
      const second = await sky.get(await sky.exec(task.updateEnvs({ CODE: "3" }), { clusterName: lab }));
      const texts = ["", ""];
      const codes = await Promise.all([first, second].map(({ jobId }, index) =>
        sky.tailLogs(lab, jobId, { outputStream: { write: (chunk) => (texts[index] += Buffer.from(chunk)) } })));
      const latest = await sky.tailLogs(lab, null, { follow: false, tail: 1, outputStream: { write: () => true } });
      const rows = await sky.get(await sky.queue(lab));
      const statuses = await sky.get(await sky.jobStatus(lab, [first.jobId, second.jobId, 999]));
      say({ ids: [first.jobId, second.jobId], codes, latest, texts, rows, statuses: [...statuses] });`,
    )) as { ids: [number, number]; codes: number[]; texts: [string, string]; rows: object[]; statuses: unknown };
    const [first, second] = result.ids;
    expect(result).toMatchObject({ codes: [0, 100], latest: 100 });
    expect(jobLines(result.texts[0])).toEqual(expect.arrayContaining(["set up", "a b"]));
    expect(jobLines(result.texts[1])).not.toContain("set up");
    expect(result.statuses).toEqual([
      [first, "SUCCEEDED"],
      [second, "FAILED"],
      [999, null],
    ]);
    expect(result.rows[0]).toMatchObject({ jobId: second, jobName: "both", status: "FAILED", username: user.name });
    expect(Object.keys(result.rows[0] ?? {})).toEqual(
      expect.arrayContaining(["submittedAt", "startAt", "endAt", "logPath", "positionOverAll", "userHash"]),
    );
  });

  test("cancels jobs, and tells jobs of others from one's own", async () => {
    const result = await said(
      user,
      `const task = new sky.Task({ run: "sleep 1000" });
      const { jobId } = await sky.get(await sky.exec(task, { clusterName: lab }));
      const following = sky.tailLogs(lab, jobId, { outputStream: { write: () => true } });
      const cancelled = await sky.get(await sky.cancel(lab, { jobIds: [jobId] }));
      const skipped = await sky.get(await sky.queue(lab, { skipFinished: true }));
      say({ same: cancelled[0] === jobId, count: cancelled.length, code: await following, left: skipped.length <= 1 });`,
    );
    expect(result).toEqual({ same: true, count: 1, code: 103, left: true });
    expect(await said(stranger, "say([...(await sky.get(await sky.jobStatus(lab)))]);")).toEqual([[null, null]]);
    expect(await said(stranger, "say(await sky.tailLogs(lab, null));")).toBe(102);
    expect(await raisedBy(stranger, "sky.get(await sky.queue(lab, { allUsers: true }))")).toMatchObject({
      name: "PermissionDeniedError",
    });
  });

  test("says where a task would start, and starts nothing", async () => {
    const before = (await queueOf(user)).size;
    expect(
      await said(
        user,
        `const task = new sky.Task({ run: "true" }).setResources(new sky.Resources({ accelerators: "V100:4" }));
        say(await sky.get(await sky.exec(task, { clusterName: lab, dryrun: true })));`,
      ),
    ).toEqual({
      jobId: null,
      handle: null,
      dryrun: {
        startsNow: true,
        reason: null,
        earliestStart: expect.anything(),
        nodes: [expect.stringMatching(/^n\d$/)],
      },
    });
    expect((await queueOf(user)).size).toBe(before);
  });

  test.each<[string, string, object]>([
    [
      "an unknown cluster",
      `sky.queue("nowhere")`,
      { name: "ClusterDoesNotExist", hint: expect.stringContaining("sky status") },
    ],
    ["no name of a cluster", `sky.queue("-x")`, { name: "InvalidClusterNameError" }],
    ["a launch without a cluster", "sky.launch(new sky.Task())", { name: "ValueError" }],
    [
      "a misspelt option",
      "sky.queue(lab, { skipFinish: true })",
      { name: "ValueError", hint: expect.stringContaining("skipFinished") },
    ],
    ["no job id", `sky.jobStatus(lab, ["one"])`, { name: "ValueError" }],
    ["both ways of cancelling", "sky.cancel(lab, { all: true, jobIds: [1] })", { name: "ValueError" }],
    ["stop", "sky.stop(lab)", { name: "NotSupportedError", message: expect.stringContaining("machines stay on") }],
    ["autostop", "sky.autostop(lab, 5)", { name: "NotSupportedError" }],
    [
      "autostop at launch",
      "sky.launch(new sky.Task(), { clusterName: lab, idleMinutesToAutostop: 5 })",
      { name: "NotSupportedError" },
    ],
    [
      "down after the job",
      "sky.launch(new sky.Task(), { clusterName: lab, down: true })",
      { name: "NotSupportedError" },
    ],
    [
      "what fits nowhere",
      `sky.get(await sky.exec(new sky.Task({ run: "true" }).setResources(new sky.Resources({ cpus: 5000 })), { clusterName: lab }))`,
      { name: "ResourcesMismatchError" },
    ],
    ["logs of no job", "sky.get(await sky.downloadLogs(lab, [999]))", { name: "JobNotFoundError" }],
  ])("raises for %s", async (_what, expression, expected) => {
    expect(await raisedBy(user, expression)).toMatchObject(expected);
  });

  test("start and taking an autostop back have no effect", async () => {
    expect(
      await said(user, "say([await sky.get(await sky.start(lab)), await sky.get(await sky.autostop(lab, -1))]);"),
    ).toEqual([null, null]);
  });

  test("takes many calls at once over one connection, and the program ends by itself", async () => {
    const result = (await said(
      user,
      `const requests = await Promise.all(Array.from({ length: 20 }, () => sky.queue(lab)));
      const open = process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
      const rows = await Promise.all(requests.map((request) => sky.get(request)));
      say({ open, distinct: new Set(requests).size, lengths: [...new Set(rows.map((row) => row.length))].length });`,
    )) as object;
    expect(result).toEqual({ open: 1, distinct: 20, lengths: 1 });
  });

  test("programs of one user at the same time get jobs of their own", async () => {
    const lines = `const requests = await Promise.all([1, 2, 3].map(() => sky.exec(new sky.Task({ run: "true" }), { clusterName: lab })));
      say((await Promise.all(requests.map((request) => sky.get(request)))).map(({ jobId }) => jobId));`;
    const ids = (await Promise.all([said(user, lines), said(user, lines), said(user, lines)])).flat();
    expect(new Set(ids).size).toBe(9);
  });

  test("a failure that nobody asks for ends no program", async () => {
    const result = await program(
      user,
      `await sky.exec(new sky.Task({ run: "true" }).setResources(new sky.Resources({ cpus: 5000 })), { clusterName: lab });
      await sky.get(await sky.queue(lab));
      console.log("still here");`,
    );
    expect(result).toMatchObject({ code: 0, stdout: "still here\n", stderr: "" });
  });
});

describe("requests of another program", () => {
  test("are got by their ids or the beginnings of them, in the form of the function that made them", async () => {
    const made = (await said(
      user,
      `const request = await sky.exec(new sky.Task({ run: "true" }), { clusterName: lab });
      say([request, await sky.get(request)]);`,
    )) as [string, unknown];
    const [id, result] = made;
    expect(await said(user, `say([await sky.get("${id}"), await sky.get("${id.slice(0, 13)}")]);`)).toEqual([
      result,
      result,
    ]);
    const text = await program(user, `await sky.streamAndGet("${id}"); console.log("end");`);
    expect(text).toMatchObject({ code: 0, stderr: "", stdout: expect.stringMatching(/end\n$/) });
    const listed = `say(await sky.apiStatus({ requestIds: "${id}" }));`;
    expect(await said(user, listed)).toMatchObject([
      { requestId: id, name: "sky.exec", status: "SUCCEEDED", userName: user.name, clusterName },
    ]);
    // It has ended: there is nothing to cancel, and its job goes on.
    const cancelling = `sky.apiCancel("${id.slice(0, 13)}")`;
    expect(await said(user, `say(await sky.get(await ${cancelling}));`)).toEqual([]);
    expect(await raisedBy(stranger, cancelling)).toMatchObject({ name: "ValueError" });
    for (const [who, name] of [
      [stranger, id],
      [user, "0123abcd"],
    ] as const) {
      expect(await raisedBy(who, `sky.get("${name}")`)).toMatchObject({ name: "ValueError" });
    }
    expect(await raisedBy(user, 'sky.get("ab")')).toMatchObject({
      name: "ValueError",
      message: expect.stringContaining("too short"),
    });
  });

  test("who answers", async () => {
    expect(await said(user, "say([await sky.apiStart(), await sky.apiInfo()]);")).toEqual([
      null,
      [{ clusterName, status: "healthy", apiVersion: 56, version: expect.stringMatching(/\d/), user: user.name }],
    ]);
    expect(await raisedBy(user, "sky.apiStart({ deploy: true })")).toMatchObject({ name: "NotSupportedError" });
  });
});

describe("examples/sdk", () => {
  const folder = join(checkout, "examples/sdk");
  const expected: Record<string, (RegExp | number)[]> = {
    "hello.mjs": [/Hello from skytest\S*, rank 0$/m, 0],
    "many.mjs": [/^11 of 12 succeeded\njob \d+: FAILED$/m, 0],
    "two-nodes.mjs": [/the head serves 1 worker$/m, /worker 1 turns to 127\.0\.0\.\d+$/m, 0],
    "files.mjs": [/there are 3 words$/m, 0],
    "errors.mjs": [/^not supported: 'useSpot'/m, /^no cluster: Local cluster 'nowhere'/m, /^too much: \S/m, 0],
    "requests.mjs": [/^request [0-9a-f]{8} gave job \d+$/m, /^sky\.exec SUCCEEDED$/m, /^cancelled: \d+$/m, 0],
  };

  test("each has a test", () => {
    expect(
      readdirSync(folder)
        .filter((name) => name.endsWith(".mjs"))
        .sort(),
    ).toEqual(Object.keys(expected).sort());
  });

  test.each(Object.entries(expected))("%s does what its first lines say", async (name, checks) => {
    const result = await runAs(user, [process.execPath, join(folder, name), clusterName]);
    expect(result.stderr).toBe("");
    for (const check of checks) {
      if (typeof check === "number") {
        expect(result.code, result.stdout).toBe(check);
      } else {
        expect(result.stdout).toMatch(check);
      }
    }
  });
});

test("down ends the caller's jobs and forgets the cluster; another's jobs stay", async () => {
  const running = `const { jobId } = await sky.get(await sky.exec(new sky.Task({ run: "sleep 1000" }), { clusterName: lab }));`;
  expect(await said(stranger, `${running} say(jobId > 0);`)).toBe(true);
  const result = await said(
    user,
    `${running} const answer = await sky.get(await sky.down(lab)); say([answer, await sky.get(await sky.status())]);`,
  );
  expect(result).toEqual([null, []]);
  expect(await raisedBy(user, "sky.down(lab)")).toMatchObject({ name: "ClusterNotUpError" });
  const left = await said(stranger, "say((await sky.get(await sky.queue(lab, { skipFinished: true }))).length);");
  expect(left).toBe(1);
});
