/** Launching, following and refusing, as a person sees them: words in, texts and exit code out, against a real HTTP server. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { node, type Person, startPerson, whoami } from "../test/help/person.ts";
import { until } from "../test/help/until.ts";

let person: Person;
let head: Person["head"];
let home: string;
let sky: Person["sky"];
let register: Person["register"];
let initialize: Person["initialize"];

beforeEach(async () => {
  person = await startPerson();
  ({ head, home, sky, register, initialize } = person);
});
afterEach(() => person.close());

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

      Useful Commands
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

      Useful Commands
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
    expect(out).toContain("Useful Commands");
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

  it("leaves setup out with --no-setup, and with --fast from the second launch on", async () => {
    const sentBy = async (flag: string): Promise<unknown> => {
      head.calls.length = 0;
      expect((await sky(["launch", "-c", "lab", "-y", "-d", flag, "--", "true"])).code).toBe(0);
      return head.calls.find((call) => call.path === "/launch")?.body;
    };
    register("lab");
    expect(await sentBy("--fast")).toMatchObject({ fast: false, no_setup: false });
    expect(await sentBy("--fast")).toMatchObject({ fast: true });
    expect(await sentBy("--no-setup")).toMatchObject({ fast: false, no_setup: true });
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

  it.each([
    [["-i", "10"], "--idle-minutes-to-autostop cannot be used here. The machines are never stopped;"],
    [["--down"], "--down cannot be used here. The machines are never stopped;"],
    [["--use-spot"], "--use-spot cannot be used here. Nobody takes"],
    [["-t", "p3.2xlarge"], "--instance-type cannot be used here. Machines of one's own have no types to rent;"],
    [["--infra", "aws/us-east-1"], "Local cluster lab is not part of cloud: aws."],
  ])("says why SkyPilot's %j has no meaning here", async (flags, text) => {
    await initialize();
    const { code, err } = await sky(["launch", "-c", "lab", ...flags, "--", "true"]);
    expect([code, err]).toEqual([2, expect.stringContaining(text)]);
    expect((await sky(["exec", "lab", "-d", "--infra", "local/lab", "--", "true"])).code).toBe(0);
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
    await until(() => person.printed().includes("working"), "output");
    person.interrupt.abort();
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
