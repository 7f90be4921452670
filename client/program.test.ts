/** `sky` as a person uses it: words in, texts and exit code out, against a real HTTP server on a socket. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { versionText } from "../shared/version.ts";
import { until } from "../test/help/until.ts";
import type { Context } from "./commands/context.ts";
import { commandLineOf } from "./output/command-line.ts";
import { createScreen } from "./output/screen.ts";
import { runSky } from "./program.ts";
import { type FakeHead, jobRow, startFakeHead } from "../test/help/stand-in-head.ts";

let head: FakeHead;
let home: string;
let interrupt: AbortController;
let out: string;

beforeEach(async () => {
  head = await startFakeHead();
  home = mkdtempSync(join(tmpdir(), "sky-home-"));
  interrupt = new AbortController();
  mkdirSync(join(home, ".sky", "local"), { recursive: true });
  head.pages.set("/onprem/whoami", whoami(null));
  head.pages.set("/onprem/nodes", {
    cluster: "lab",
    unknown_attempts: 0,
    nodes: [node("n1", { V100: 4 }), node("n2", { V100: 4 })],
  });
  const submitted = { value: { job_id: 1, handle: { cluster_name: "lab" } } };
  head.results.set("/launch", (call) =>
    (call.body as { task: string }).task.includes("run:") ? submitted : { value: { ...submitted.value, job_id: null } },
  );
  head.results.set("/exec", submitted);
  head.results.set("/queue", { value: [] });
  head.results.set("/down", { value: null });
});
afterEach(async () => {
  await head.close();
  rmSync(home, { recursive: true, force: true });
});

function whoami(refused: string | null) {
  return { uid: 1001, user: "alice", groups: [], cluster: "lab", version: "0", refused };
}

function node(name: string, accelerators: Record<string, number>) {
  return {
    name,
    label: "",
    state: "UP",
    address: null,
    cpus: 8,
    cpus_free: 8,
    memory_gb: 16,
    memory_gb_free: 16,
    accelerators,
    accelerators_free: accelerators,
    warnings: [],
    last_report_seconds_ago: 1,
  };
}

function register(name: string): void {
  const text = `cluster:\n  ips: [10.0.0.1, 10.0.0.2]\n  name: ${name}\nauth:\n  ssh_user: alice\n  ssh_private_key: ~/.ssh/id\n`;
  writeFileSync(join(home, ".sky", "local", `${name}.yml`), text);
}

interface Told {
  /** What the person types, line by line; null: standard input is no terminal. */
  answers?: string[];
  /** The person presses Ctrl-D after the answers. */
  closed?: boolean;
  env?: Record<string, string>;
}

/** `admin nodes`, `admin drain` and so on, as the help names them. */
async function adminVerbs(): Promise<string[][]> {
  const { out } = await sky(["admin", "--help"]);
  const verbs = [...out.matchAll(/^ {2}([a-z]+(?:-[a-z]+)*) {2,}\S/gm)].map((match) => match[1] ?? "");
  expect(verbs.length).toBeGreaterThan(10);
  return verbs.filter((verb) => verb !== "help").map((verb) => ["admin", verb]);
}

async function sky(words: string[], told: Told = {}): Promise<{ code: number; out: string; err: string }> {
  const stdin = Object.assign(new PassThrough(), { isTTY: told.answers !== undefined });
  stdin.write((told.answers ?? []).map((answer) => `${answer}\n`).join(""));
  if (told.closed === true) {
    stdin.end();
  }
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  out = "";
  let err = "";
  stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString("utf8");
  });
  stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString("utf8");
  });
  const env = { COLUMNS: "80", ...told.env };
  const context: Context = {
    screen: createScreen({ stdin, stdout, stderr, env }),
    env,
    home,
    cwd: home,
    commandLine: commandLineOf(words),
    now: () => 2000,
    connect: () => head.connect(),
    interrupted: () => ({ signal: interrupt.signal, done: () => undefined }),
  };
  const code = await runSky(words, context);
  await new Promise((resolve) => setImmediate(resolve));
  return { code, out, err };
}

async function initialize(name = "lab"): Promise<void> {
  register(name);
  expect((await sky(["launch", "-c", name, "-y", ""])).code).toBe(0);
  head.calls.length = 0;
}

const jobText = [
  "├── Waiting for task resources on 1 node.\n",
  "└── Job started. Streaming logs... (Ctrl-C to exit log streaming; job will not be killed)\n",
  "\u001b[36m(setup pid=12)\u001b[0m installing\n",
  "\u001b[36m(min, pid=12)\u001b[0m hello\n",
  "✓ Job finished (status: SUCCEEDED).\n",
].join("");

describe("launch", () => {
  it("asks before it initializes a cluster, then shows it in status", async () => {
    register("lab");
    const refusal = await sky(["launch", "-c", "lab", ""], { answers: ["n"] });
    expect(refusal.err).toContain("Initializing local cluster 'lab'. Proceed? [Y/n]: ");
    expect(refusal.code).toBe(1);
    expect(head.calls).toEqual([]);

    const { code, out } = await sky(["launch", "-c", "lab", ""], { answers: [""] });
    expect(code).toBe(0);
    expect(out).toMatchInlineSnapshot(`
      "Connecting to local cluster: 'lab' [Username: alice].
      ⚙︎ Launching on Local (lab).
      └── Cluster lab is up.
      ✓ Cluster launched: lab.

      📋 Useful Commands
      Cluster name: lab
      ├── To submit a job:         sky exec lab yaml_file
      └── To teardown the cluster: sky down lab
      "
    `);
    expect((await sky(["status"])).out).toMatchInlineSnapshot(`
      "Local clusters:
      NAME  USER   HEAD_IP   RESOURCES                   COMMAND
      lab   alice  10.0.0.1  [{'V100': 4}, {'V100': 4}]  sky launch -c lab ''
      "
    `);
  });

  it("stops when the person closes the prompt", async () => {
    register("lab");
    const { code, err } = await sky(["launch", "-c", "lab", ""], { answers: [], closed: true });
    expect(code).toBe(1);
    expect(err).toContain("The question was not answered");
    expect(head.calls).toEqual([]);
  });

  it("renews what status shows when it is launched without a task again", async () => {
    await initialize();
    head.pages.set("/onprem/nodes", { cluster: "lab", unknown_attempts: 0, nodes: [node("n1", {})] });
    await sky(["launch", "-c", "lab", ""]);
    expect((await sky(["status"])).out).toContain("[(no GPUs)]");
  });

  it("says how to answer where nobody can", async () => {
    register("lab");
    const { code, err } = await sky(["launch", "-c", "lab", ""]);
    expect(code).toBe(1);
    expect(err).toContain("Initializing local cluster 'lab'. Proceed?");
    expect(err).toContain("Add -y");
  });

  it("prints what scripts grep for, in order, and ends with the job's code", async () => {
    await initialize();
    writeFileSync(join(home, "min.yaml"), "name: min\nsetup: echo installing\nrun: echo hello\n");
    head.logs = async (_call, reply) => void reply.write(jobText);
    head.results.set("/logs", { value: 0 });
    const { code, out, err } = await sky(["launch", "-c", "lab", "min.yaml"]);
    expect(out).toMatchInlineSnapshot(`
      "Connecting to local cluster: 'lab' [Username: alice].
      ⚙︎ Launching on Local (lab).
      └── Cluster lab is up.
      ✓ Cluster launched: lab.
      ✓ Setup detached.
      ⚙︎ Job submitted, ID: 1
      ├── Waiting for task resources on 1 node.
      └── Job started. Streaming logs... (Ctrl-C to exit log streaming; job will not be killed)
      [36m(setup pid=12)[0m installing
      [36m(min, pid=12)[0m hello
      ✓ Job finished (status: SUCCEEDED).

      📋 Useful Commands
      Job ID: 1
      ├── To cancel the job:       sky cancel lab 1
      ├── To stream job logs:      sky logs lab 1
      └── To view job queue:       sky queue lab
      Cluster name: lab
      ├── To submit a job:         sky exec lab yaml_file
      └── To teardown the cluster: sky down lab
      "
    `);
    expect(err).toBe("");
    expect(code).toBe(0);
    expect(head.calls.map((call) => call.path)).toEqual(["/launch", "/api/get", "/logs", "/api/get"]);
    expect(head.connections).toBeLessThanOrEqual(3);
  });

  it("ends with 100 when the job failed, and still says what can be done", async () => {
    await initialize();
    head.results.set("/logs", { value: 100 });
    const { code, out } = await sky(["launch", "-c", "lab", "--", "exit", "1"]);
    expect(code).toBe(100);
    expect(out).toContain("📋 Useful Commands");
    expect(out).not.toContain("Setup detached");
  });

  it("takes a command, flags and variables into the task", async () => {
    await initialize();
    writeFileSync(join(home, "vars"), "# comment\nexport A='from file'\nB=b # more\n");
    const flags = ["-d", "--gpus", "V100:2", "--cpus", "4+", "--memory", "16", "--num-nodes", "2", "-n", "mine"];
    const words = [
      "launch",
      "-c",
      "lab",
      ...flags,
      "--env",
      "A=hello world",
      "--env",
      "C",
      "--env-file",
      "vars",
      "--",
      "echo",
      "$A",
    ];
    const { code } = await sky(words, { env: { C: "from caller" } });
    expect(code).toBe(0);
    const body = head.calls[0]?.body as { task: string; no_setup: boolean };
    const task = body.task;
    expect(task).toContain('name: "mine"');
    expect(task).toContain("num_nodes: 2");
    expect(task).toContain("V100:2");
    expect(task).toContain("hello world");
    expect(task).toContain("from caller");
    expect(task).toContain("echo $A");
    expect(body.no_setup).toBe(false);
    expect(head.calls.some((call) => call.path === "/logs")).toBe(false);
  });

  it("takes what a job may and may not do from flags", async () => {
    await initialize();
    const flags = ["--gpus", "80GB+:2", "--time", "90m", "--priority", "-5", "--exclusive", "--preemptible"];
    const labels = ["--label", "disk=ssd", "--label", "rack=2"];
    expect((await sky(["exec", "lab", "-d", ...flags, ...labels, "--", "true"])).code).toBe(0);
    const body = head.calls[0]?.body as { task: string };
    expect(JSON.parse(/^resources: (.*)$/m.exec(body.task)?.[1] ?? "")).toEqual({
      accelerators: "80GB+:2",
      labels: { disk: "ssd", rack: "2" },
      job_recovery: "EAGER_NEXT_REGION",
      priority: -5,
      time: "1h30m",
      exclusive: true,
      preemptible: true,
    });
  });

  it.each([
    [["launch", "x.yaml"], 2, "Specify -c [local_cluster] to launch on a local cluster."],
    [["launch", "-c", "lib", ""], 1, "Local cluster 'lib' does not exist.\nDid you mean 'lab'? See `sky status`"],
    [["launch", "-c", "lab", "--cloud", "aws", ""], 2, "Local cluster lab is not part of cloud: aws."],
    [["launch", "-c", "lab", "none.yaml"], 1, "there is no such file"],
    [["launch", "-c", "lab", "--env", "NOT_THERE", "x"], 1, "NOT_THERE is not set in your environment"],
    [["launch", "-c", "lab", "--env", "1=2", "x"], 1, "cannot be the name of an environment variable"],
    [["launch", "-c", "lab", "--num-nodes", "0", "x"], 2, "whole number of at least 1"],
    [["launch", "-c", "lab", "--gpus", "[A100,H100]", "x"], 1, "should be <name> or <name>:<cnt>"],
    [["launch", "-c", "lab", "--time", "soon", "x"], 1, 'The "time" field should be like 2h'],
    [["launch", "-c", "lab", "--label", "disk", "x"], 1, "--label disk: expected NAME=VALUE."],
    [
      ["exec", "lab"],
      1,
      "Found uninitialized local cluster lab. Run this command to initialize it locally: sky launch -c lab ''",
    ],
    [["logs", "lab"], 1, "Found uninitialized local cluster lab."],
    [["cancel", "lab", "1", "-y"], 1, "Found uninitialized local cluster lab."],
    [["down", "lab", "-y"], 1, "Found uninitialized local cluster lab."],
  ])("%j is refused without a connection", async (words, expected, text) => {
    register("lab");
    const { code, err } = await sky(words);
    expect(err.startsWith("Error: ")).toBe(true);
    expect(err).toContain(text);
    expect(code).toBe(expected);
    expect(head.connections).toBe(0);
  });

  it("does not initialize where the caller may not run jobs", async () => {
    register("lab");
    head.pages.set("/onprem/whoami", whoami("root may not run jobs"));
    const { code, err } = await sky(["launch", "-c", "lab", "-y", ""]);
    expect(code).toBe(1);
    expect(err).toContain("does not run jobs of alice: root may not run jobs");
    expect((await sky(["status"])).out).toContain("lab   -     -        -          -");
  });

  it("shows the coordinator's refusal and its hint", async () => {
    await initialize();
    const error = { type: "ResourcesMismatchError", message: "No node has 256 V100.", hint: "Largest: 4." };
    head.results.set("/exec", { error });
    const { code, err } = await sky(["exec", "lab", "--gpus", "V100:256", "--", "true"]);
    expect(err).toBe("Error: No node has 256 V100.\nLargest: 4.\n");
    expect(code).toBe(1);
  });
});

describe("following", () => {
  it("Ctrl-C leaves the job alone and says how to come back", async () => {
    await initialize();
    head.logs = (_call, reply) =>
      new Promise<void>((resolve) => {
        reply.write("working\n");
        reply.on("close", () => resolve());
      });
    const running = sky(["exec", "lab", "sleep 1000"]);
    await until(() => out.includes("working"), "output");
    interrupt.abort();
    const { code, out: shown } = await running;
    expect(code).toBe(130);
    expect(shown).toContain("Job 1 was not killed.");
    expect(shown).toContain("sky logs lab 1");
    expect(shown).toContain("sky cancel lab 1");
    expect(head.calls.some((call) => call.path === "/cancel")).toBe(false);
  });

  it("several ids: each in turn, the first bad code counts", async () => {
    await initialize();
    head.logs = async (call, reply) => void reply.write(`job ${(call.body as { job_id: number }).job_id}\n`);
    head.results.set("/logs", (call) => ({ value: (call.body as { job_id: number }).job_id === 2 ? 103 : 0 }));
    const { code, out } = await sky(["logs", "lab", "1", "2", "3", "--no-follow", "--tail", "5"]);
    expect(out).toBe("job 1\njob 2\njob 3\n");
    expect(code).toBe(103);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", job_id: 1, colors: false, follow: false, tail: 5 });
  });

  it("no id: the latest", async () => {
    await initialize();
    head.results.set("/job_status", { value: { "7": "RUNNING" } });
    head.results.set("/logs", { value: 0 });
    await sky(["logs", "lab"]);
    expect(head.calls.find((call) => call.path === "/logs")?.body).toMatchObject({ job_id: 7, follow: true });
    head.results.set("/job_status", { value: {} });
    expect((await sky(["logs", "lab"])).code).toBe(102);
  });

  it.each([
    ["SUCCEEDED", 0],
    ["FAILED", 100],
    ["FAILED_SETUP", 100],
    ["FAILED_DRIVER", 100],
    ["RUNNING", 101],
    ["PENDING", 101],
    [null, 102],
    ["CANCELLED", 103],
  ])("--status %s ends with %i", async (status, expected) => {
    await initialize();
    head.results.set("/job_status", { value: { "1": status } });
    const { code, out } = await sky(["logs", "lab", "1", "--status"]);
    expect(out).toBe(`Job 1: ${status ?? "not found"}\n`);
    expect(code).toBe(expected);
  });
});

describe("lists", () => {
  it("queue without names: every initialized cluster, the others in words", async () => {
    await initialize();
    register("other");
    head.results.set("/queue", { value: [jobRow(1, { reason: "Needs 4 V100; 1 is free.", position: 1 })] });
    const { code, out, err } = await sky(["queue", "-s"]);
    expect(code).toBe(0);
    expect(err).toBe("Local cluster other is uninitialized; skipped.\n");
    expect(out).toMatchInlineSnapshot(`
      "Job queue of current user on cluster lab
      ID  NAME   SUBMITTED    STARTED  DURATION  RESOURCES   STATUS   LOG
      1   train  16 mins ago  1st      -         1x[V100:4]  PENDING  …ky_logs/1-train

      Reasons:
        Job 1 (PENDING, 1 in line): Needs 4 V100; 1 is free.
      When it starts, and what would make it start: sky explain lab 1
      "
    `);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", skip_finished: true, all_users: false });
    expect(JSON.parse((await sky(["queue", "-o", "json"])).out)).toMatchObject({ lab: [{ job_id: 1 }] });
  });

  it("status without clusters says how to register one", async () => {
    const { code, out } = await sky(["status"]);
    expect(code).toBe(0);
    expect(out).toContain("save the file that its admin gave you as ~/.sky/local/NAME.yml");
    expect((await sky(["status", "-o", "json"])).out).toBe("[]\n");
  });

  it("status shows what it can when one file is damaged, and forgets clusters whose file has gone", async () => {
    await initialize("lab");
    await initialize("gone");
    writeFileSync(join(home, ".sky", "local", "bad.yml"), "cluster: [\n");
    const damaged = await sky(["status"]);
    expect(damaged.out).toContain("alice");
    expect(damaged.err).toContain("bad.yml");
    rmSync(join(home, ".sky", "local", "bad.yml"));
    rmSync(join(home, ".sky", "local", "gone.yml"));
    const { err } = await sky(["status"]);
    expect(err.replaceAll("\n", " ")).toContain(
      "Removing local cluster gone from `sky status`. No config found in ~/.sky/local.",
    );
    expect((await sky(["status", "nope"])).code).toBe(1);
  });

  it("gpus list, with a kind, a cluster, or as show-gpus", async () => {
    await initialize();
    const { out } = await sky(["gpus", "list"]);
    expect(out).toContain("V100  1, 2, 4                   8 of 8 free");
    expect((await sky(["show-gpus", "V100", "--infra", "local/lab"])).out).toContain("8 of 8 free");
    expect((await sky(["gpus", "list", "lab"])).out).toContain("8 of 8 free");
    expect((await sky(["gpus", "list", "H100"])).out).toContain("No H100 on this cluster.");
    expect(JSON.parse((await sky(["gpus", "list", "-o", "json"])).out)).toMatchObject({
      lab: { nodes: [{ name: "n1" }, {}] },
    });
  });

  it("check names what is wrong and is content with one cluster", async () => {
    register("lab");
    const good = await sky(["check"]);
    expect(good.out).toContain("  lab: enabled\n    User: alice. Nodes: 2 of 2 up.");
    expect(good.code).toBe(0);
    head.pages.set("/onprem/whoami", whoami("not in group gpu"));
    const bad = await sky(["check"]);
    expect(bad.out).toContain("  lab: disabled\n    Reason: alice may not run jobs there: not in group gpu");
    expect(bad.code).toBe(1);
  });
});

describe("cancel and down", () => {
  it("cancel says what was cancelled and what had ended", async () => {
    await initialize();
    head.results.set("/cancel", { value: [1] });
    const { code, out, err } = await sky(["cancel", "lab", "1", "2"], { answers: ["y"] });
    expect(err).toContain("Cancelling jobs 1, 2 on cluster 'lab'. Proceed? [Y/n]: ");
    expect(out).toBe("✓ Job 1 is being cancelled.\nYou have no unfinished job 2.\n");
    expect(code).toBe(0);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", job_ids: [1, 2], all: false });
    expect((await sky(["cancel", "lab", "-a", "1", "-y"])).code).toBe(2);
  });

  it("down forgets the cluster, the file stays", async () => {
    await initialize();
    const { code, out } = await sky(["down", "lab"], { answers: ["y"] });
    expect(out).toBe("Terminating cluster lab...done.\n");
    expect(code).toBe(0);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", purge: false });
    expect((await sky(["status"])).out).toContain("lab   -     -        -          -");
    expect(readFileSync(join(home, ".sky", "local", "lab.yml"), "utf8")).toContain("alice");
  });

  it("down forgets a cluster whose coordinator knows of nothing to take down", async () => {
    await initialize();
    head.results.set("/down", { error: { type: "ClusterDoesNotExist", message: "Nothing of yours.", hint: null } });
    expect((await sky(["down", "lab", "-y"])).code).toBe(0);
    expect((await sky(["status"])).out).not.toContain("alice");
  });

  it("down of a cluster that refuses keeps it; --purge forgets it here only", async () => {
    await initialize();
    head.results.set("/down", { error: { type: "PermissionDeniedError", message: "Not you.", hint: null } });
    const failed = await sky(["down", "-a", "-y"]);
    expect(failed.code).toBe(1);
    expect(failed.err).toContain("sky down --purge lab");
    expect((await sky(["status"])).out).toContain("alice");
    head.calls.length = 0;
    expect((await sky(["down", "--purge", "-y", "lab"])).code).toBe(0);
    expect(head.calls).toEqual([]);
    expect((await sky(["status"])).out).not.toContain("alice");
  });
});

describe("the command line", () => {
  it.each([
    ["start", "start"],
    ["stop", "stop/autostop"],
    ["autostop", "stop/autostop"],
  ])("%s skips local clusters and goes on", async (command, verb) => {
    register("lab");
    const { code, out, err } = await sky([command, "nope", "lab", "-y"]);
    expect(out).toBe(`Skipping local cluster lab, as it does not support \`sky ${verb}\`.\n`);
    expect(err).toBe("Cluster 'nope' not found.\n");
    expect(code).toBe(1);
    expect((await sky([command, "lab"])).code).toBe(0);
  });

  it("every command has help with examples", async () => {
    const names = ["launch", "exec", "queue", "logs", "cancel", "down", "status", "check", "start", "stop", "autostop"];
    for (const words of [...names.map((name) => [name]), ["gpus", "list"], ["completion"], ...(await adminVerbs())]) {
      const { code, out } = await sky([...words, "--help"]);
      expect(code).toBe(0);
      expect(out).toMatch(/Usage: sky [^]*Examples:\n {2}(sudo )?sky /);
    }
  });

  it("a verb of sky admin that is typed wrongly says where its examples are", async () => {
    const { code, err } = await sky(["admin", "drain", "n1"]);
    expect([code, err]).toEqual([2, expect.stringContaining("Examples: sky admin drain --help")]);
  });

  it("no help is wider than 80 columns", async () => {
    const program = (await sky([])).out;
    const names = [...program.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map((match) => match[1] ?? "");
    expect(names.length).toBeGreaterThan(10);
    for (const words of [[], ...names.map((name) => [name]), ["gpus", "list"], ...(await adminVerbs())]) {
      const { out } = await sky([...words, "--help"]);
      expect(out.split("\n").filter((line) => line.length > 80)).toEqual([]);
    }
  });

  it("mistyped words get a near match and exit 2", async () => {
    const command = await sky(["lanch"]);
    expect(command).toMatchObject({ code: 2, out: "" });
    expect(command.err).toContain("Error: unknown command 'lanch'");
    expect(command.err).toContain("Did you mean launch?");
    const option = await sky(["queue", "--skip-finishd"]);
    expect(option.code).toBe(2);
    expect(option.err).toContain("Did you mean --skip-finished?");
    expect((await sky(["logs", "lab", "x1"])).code).toBe(2);
    const bare = await sky(["exec", "lab", "nvidia-smi", "-L"]);
    expect(bare.code).toBe(2);
    expect(bare.err).toContain("goes after --");
    expect((await sky(["queue", "-o", "yaml"])).code).toBe(2);
  });

  it("version, help, completion", async () => {
    expect((await sky(["--version"])).out).toBe(`${versionText("sky")}\n`);
    expect((await sky([])).out).toContain("Usage: sky");
    expect((await sky(["completion", "bash"])).out).toContain("complete -o filenames -F _sky sky");
    expect((await sky(["completion", "zsh"])).out).toMatch(/^#compdef sky/);
    expect((await sky(["completion", "fish"])).out).toContain("complete -c sky -n __fish_use_subcommand -a launch");
  });
});

describe("explain", () => {
  it("takes the only cluster, and says what it needs", async () => {
    register("lab");
    await sky(["launch", "-c", "lab", "", "-y"]);
    const wrong = await sky(["explain", "lab", "twelve"]);
    expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining("'twelve' is not a job's number.")]);
    const unknown = await sky(["explain", "12"]);
    expect(unknown.code).toBe(1);
    expect(head.calls.at(-1)).toMatchObject({ method: "GET", path: "/onprem/explain" });
  });
});
