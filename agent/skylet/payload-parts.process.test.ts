/** Event scripts, by the real skylet and runner. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StandInAgent } from "../../test/help/stand-in-agent.ts";
import { until } from "../../test/help/until.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
  await agent.start();
});

afterEach(async () => {
  await agent.close();
});

const events = 'echo "$JOB_STATUS of $JOB_ID $TASK_NAME on $CLUSTER_NAME with $A" >>~/events; echo heard';
const seen = (): string[] => {
  try {
    return readFileSync(join(agent.home, "events"), "utf8").trimEnd().split("\n");
  } catch {
    return [];
  }
};

test("an event script hears of each status in order, with the job's names and variables", async () => {
  const wanted = agent.wanted({ setup: true, jobId: 5 });
  const logDir = await agent.launch(wanted, {
    setup: "true",
    run: "exit 0",
    envs: { A: "a b" },
    eventCallback: events,
  });
  await agent.state(wanted.attempt, "exited");
  const line = "of 5 train on lab with a b";
  expect(seen()).toEqual([`SETTING_UP ${line}`, `RUNNING ${line}`, `SUCCEEDED ${line}`]);
  expect(readFileSync(join(logDir, "event_callback.log"), "utf8")).toBe("heard\nheard\nheard\n");
});

test("failures and a cancel are told, other ranks tell nothing, and a failing event script changes nothing", async () => {
  const statuses = (): string[] => seen().map((line) => line.split(" ")[0] ?? "");
  const failing = agent.wanted();
  await agent.launch(failing, { run: "exit 3", eventCallback: `${events}; exit 9` });
  expect((await agent.state(failing.attempt, "exited")).runExit).toBe(3);
  const setup = agent.wanted({ setup: true });
  await agent.launch(setup, { setup: "exit 4", run: "true", eventCallback: events });
  expect((await agent.state(setup.attempt, "exited")).setupExit).toBe(4);
  expect(statuses()).toEqual(["RUNNING", "FAILED", "SETTING_UP", "FAILED_SETUP"]);
  const worker = agent.wanted({ rank: 1, addresses: ["10.0.0.1", "10.0.0.2"] });
  await agent.launch(worker, { run: "true", eventCallback: events });
  await agent.state(worker.attempt, "exited");
  expect(statuses()).toHaveLength(4);
  const long = agent.wanted();
  await agent.launch(long, { run: "echo >~/here; sleep 100", eventCallback: events });
  await until(() => readFileSync(join(agent.home, "here"), "utf8") === "\n", "the run script");
  await agent.stop(long.attempt, 20);
  expect(statuses().slice(4)).toEqual(["RUNNING", "CANCELLED"]);
});

test("an event script hears the end of a job whose run is made by a function, too", async () => {
  const wanted = agent.wanted();
  await agent.launch(wanted, { runGenerator: "(rank, ips) => { throw new Error(ips[0]); }", eventCallback: events });
  expect((await agent.state(wanted.attempt, "exited")).runExit).toBe(1);
  expect(seen().map((line) => line.split(" ")[0])).toEqual(["RUNNING", "FAILED"]);
});
