/**
 * What a job prints reaches the reader whole, in order and while it runs; and what a job finds around itself.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../test/help/until.ts";
import { insideHome } from "./output.ts";
import { type Received, StandInAgent } from "../../test/help/stand-in-agent.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
});

afterEach(async () => {
  await agent.close();
});

async function outputOf(run: string, envs: Record<string, string> = {}): Promise<string> {
  const wanted = agent.wanted();
  await agent.launch(wanted, { run, envs });
  const stream = agent.stream({ attempt: wanted.attempt });
  await until(() => stream.end !== null, "end of stream");
  expect(stream.end).toBe("");
  return stream.run;
}

async function finished(received: Received): Promise<Received> {
  await until(() => received.end !== null, "end of stream");
  return received;
}

test("each piece is sent before the job may go on: following does not wait for more", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const logs = await agent.launch(wanted, {
    run: `for i in 1 2 3; do printf "tick $i\\r"; until [ -e ${agent.root}/seen$i ]; do sleep 0.01; done; done; echo end`,
  });
  const stream = agent.stream({ attempt: wanted.attempt });
  for (const i of [1, 2, 3]) {
    await until(() => stream.run.endsWith(`tick ${i}\r`), `tick ${i}`);
    writeFileSync(join(agent.root, `seen${i}`), "");
  }
  await finished(stream);
  expect(stream.run).toBe("tick 1\rtick 2\rtick 3\rend\n");
  expect(agent.read(logs, "tasks/run.log")).toBe(stream.run);
});

test("a line of 300,000 characters and megabytes of output arrive whole, also to a slow reader", async () => {
  await agent.start();
  const long = await outputOf(`echo START; head -c 300000 /dev/zero | tr '\\0' x; echo; echo END`);
  expect(long).toBe(`START\n${"x".repeat(300_000)}\nEND\n`);
  const wanted = agent.wanted();
  const logs = await agent.launch(wanted, { run: "seq 1 1000000" });
  const stream = agent.stream({ attempt: wanted.attempt });
  await until(() => stream.socket !== null, "the stream");
  stream.socket?.pause();
  await agent.state(wanted.attempt, "exited");
  stream.socket?.resume();
  await finished(stream);
  expect(stream.run === agent.read(logs, "tasks/run.log")).toBe(true);
  expect(stream.run.endsWith("\n999999\n1000000\n")).toBe(true);
});

test("the last lines, an offset, and no following", async () => {
  await agent.start();
  const wanted = agent.wanted({ setup: true });
  await agent.launch(wanted, { setup: "seq 1 5", run: `seq 1 30000; printf unfinished` });
  await agent.state(wanted.attempt, "exited");
  const { attempt } = wanted;
  expect(await finished(agent.stream({ attempt, tailLines: 3 }))).toMatchObject({
    setup: "",
    run: "29999\n30000\nunfinished",
  });
  const all = await finished(agent.stream({ attempt, tailLines: 30_003, follow: false }));
  expect(all.setup).toBe("4\n5\n");
  expect(all.run.startsWith("1\n2\n")).toBe(true);
  expect(await finished(agent.stream({ attempt, tailLines: 0 }))).toMatchObject({ setup: "", run: "", end: "" });
  const rest = await finished(agent.stream({ attempt, setupOffset: 4, runOffset: all.run.length - 4 }));
  expect(rest).toMatchObject({ setup: "3\n4\n5\n", run: "shed" });
});

test("without following, a running job's log ends where it is", async () => {
  await agent.start();
  const wanted = agent.wanted();
  await agent.launch(wanted, { run: "echo one; sleep 1000" });
  const follower = agent.stream({ attempt: wanted.attempt });
  await until(() => follower.run === "one\n", "first output");
  expect(await finished(agent.stream({ attempt: wanted.attempt, follow: false }))).toMatchObject({
    run: "one\n",
    end: "",
  });
  expect(follower.end).toBe(null);
});

test("a log that was moved away is said, not waited for", async () => {
  await agent.start();
  const stream = await finished(agent.stream({ attempt: agent.wanted().attempt, logDir: "sky_logs/9-train" }));
  expect(stream.end).toMatch(/machine '.+': no log of rank 0 in ~\/sky_logs\/9-train/);
});

test("paths of requests stay in the home", () => {
  for (const bad of ["/etc", "..", "../x", "a/../../x", "", ".", "a\0b"]) {
    expect([bad, insideHome("/home/a", bad)]).toEqual([bad, null]);
  }
  expect(insideHome("/home/a", "sky_logs/1-x")).toBe("/home/a/sky_logs/1-x");
});

test("scripts of 200,000 lines for setup and run", async () => {
  await agent.start();
  const wanted = agent.wanted({ setup: true });
  const lines = `${":\n".repeat(200_000)}echo "line $LINENO"`;
  const logs = await agent.launch(wanted, { setup: lines, run: lines });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ setupExit: 0, runExit: 0 });
  // One more than the user's own: the preamble is line 1.
  expect(agent.read(logs, "setup.log")).toBe("line 200002\n");
  expect(agent.read(logs, "tasks/run.log")).toBe("line 200002\n");
});

test("limits, umask, login environment and open files are the login's", async () => {
  writeFileSync(join(agent.home, ".bashrc"), "export FROM_BASHRC=yes; alias ll=ls; echo noise >&2\n");
  await agent.start("ulimit -Sn 777; umask 027;", { FROM_LOGIN: "a b", NODE_EXTRA: "kept", NODE_CHANNEL_FD: "" });
  const text = await outputOf(
    [
      'echo "$(ulimit -Sn) $(umask) $FROM_LOGIN $FROM_BASHRC $NODE_EXTRA [${NODE_CHANNEL_FD-unset}] $TERM"',
      "alias ll",
      "for fd in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ ! -e /proc/self/fd/$fd ] || readlink /proc/$$/fd/$fd; done",
      "readlink /proc/self/fd/0; grep SigIgn /proc/self/status",
      "tty; python3 -c 'import os; print(os.environ[\"PYTHONUNBUFFERED\"])' 2>/dev/null || echo 1",
    ].join("\n"),
  );
  expect(text.split("\n").slice(0, 2)).toEqual(["777 0027 a b yes kept [unset] dumb", "alias ll='ls'"]);
  expect(text).toContain("/dev/null\nSigIgn:\t0000000000000000\nnot a tty\n1\n");
  expect(text).not.toContain("noise");
  expect(text).not.toMatch(/socket:|pipe:/);
});

test("env_check: setup sees no devices, run sees them all in one place, ~/.bashrc counts", async () => {
  await agent.start("", { CUDA_VISIBLE_DEVICES: "7" });
  const setup = `[[ -z \${CUDA_VISIBLE_DEVICES+x} ]] || exit 1
echo 'export TEST_VAR="from bashrc"' >> ~/.bashrc
[ "$SKYPILOT_SETUP_NODE_RANK" = 1 ] && [ "$(echo "$SKYPILOT_SETUP_NODE_IPS" | wc -l)" = 2 ] || exit 2
echo "$SKYPILOT_TASK_ID"`;
  const run = `[ "$TEST_VAR" = "from bashrc" ] || exit 1
[ "$(echo "$SKYPILOT_NODE_IPS" | wc -l)" = 2 ] || exit 2
[ "$SKYPILOT_NODE_IPS" = "$SKY_NODE_IPS" ] || exit 3
"${process.execPath}" -e 'const i = JSON.parse(process.env.SKYPILOT_CLUSTER_INFO); process.exit(i.cluster_name === "lab" && i.zone === null ? 0 : 1)' || exit 4
echo "$SKYPILOT_NODE_RANK $SKYPILOT_NUM_NODES $SKYPILOT_NUM_GPUS_PER_NODE $SKYPILOT_INTERNAL_JOB_ID $SKYPILOT_USER"
echo "[$CUDA_VISIBLE_DEVICES] $SKYPILOT_TASK_ID"`;
  const wanted = agent.wanted({
    setup: true,
    rank: 1,
    addresses: ["10.0.0.1", "10.0.0.2"],
    nodeLabel: "worker1",
    singleNodeCluster: false,
    grant: { node: "n2", devices: [1, 3], share: 1, cpus: 1, memoryGb: 1 },
  });
  const logs = await agent.launch(wanted, { setup, run });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ setupExit: 0, runExit: 0 });
  const id = `sky-2026-11-21-09-05-03-042000_lab_${wanted.jobId}`;
  expect(agent.read(logs, "setup-10.0.0.2.log")).toBe(`${id}\n`);
  expect(agent.read(logs, "tasks/1-worker1.log")).toBe(`1 2 2 ${wanted.jobId} alice\n[1,3] ${id}\n`);
  expect(await outputOf('echo "[${CUDA_VISIBLE_DEVICES-unset}]"')).toBe("[]\n");
});

test("the job's files are the user's alone, and secrets stand in no argument list", async () => {
  await agent.start();
  const wanted = agent.wanted({ setup: true });
  const { pid } = await agent.prepare(wanted, { setup: "true", run: "sleep 1000", envs: { TOKEN: "s3cret-value" } });
  agent.send({ type: "go", attempt: wanted.attempt });
  await agent.state(wanted.attempt, "running");
  expect(readFileSync(`/proc/${pid}/cmdline`, "latin1")).not.toContain("s3cret");
  const modes = await outputOf(
    `stat -c '%a' ${agent.dir}/${wanted.attempt} ${agent.dir}/${wanted.attempt}/{run,setup}.{sh,env} ${agent.dir}/${wanted.attempt}/spec.json`,
  );
  expect(modes).toBe("700\n600\n600\n600\n600\n600\n");
});

test("a log file that was replaced by something else is not read", async () => {
  await agent.start();
  const wanted = agent.wanted();
  const logs = await agent.launch(wanted, { run: "true", setup: null });
  await agent.state(wanted.attempt, "exited");
  mkdirSync(join(logs, "elsewhere"));
  symlinkSync(join(logs, "elsewhere"), join(logs, "setup.log"));
  const stream = await finished(agent.stream({ attempt: wanted.attempt }));
  expect(stream.end).toContain("is not a file");
});
