/**
 * A coordinator whose state is not what the nodes have lived with: empty, or an older copy put back. Nothing that runs is
 * killed or started a second time, an admin is told what to do, and what goes on keeps what it was granted. Also what a
 * user reads while Redis is away. Jobs append to files of their own, so that what really ran can be counted.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type NodesResult, nodesResultSchema } from "../../shared/api.ts";
import { dist } from "../../scripts/cluster/layout.ts";
import {
  clusterName,
  plain,
  queueOf,
  type Site,
  startSite,
  statusOf,
  submit,
  tell,
  untilStatus,
} from "../help/site.ts";
import { must } from "../help/run.ts";
import { runAs, sky, skyOk, startSky } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeEach(async () => {
  site = await startSite({ accelerators: "V100:2,V100:2" });
  user = site.users[0] as TestUser;
  await runAs(user, ["mkdir", join(user.home, "runs")]);
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    await tell(site);
  }
  await site?.stop();
});

/** One line in ~/runs/NAME when it begins and one when it ends; ends when ~/runs/NAME.go is there (a minute at most). */
function scriptOf(name: string): string {
  const wait = 'for i in $(seq 1200); do [ -e "$f.go" ] && break; sleep 0.05; done';
  return `f=~/runs/${name}; echo begin $SKYPILOT_NODE_RANK >> $f; ${wait}; echo end $SKYPILOT_NODE_RANK >> $f`;
}

function ran(name: string): string[] {
  const file = join(user.home, "runs", name);
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").sort() : [];
}

async function release(name: string): Promise<void> {
  await must(["touch", join(user.home, "runs", `${name}.go`)]);
}

const redisFolder = (): string => join(site.cluster.dir, "state/redis");

async function nodes(): Promise<NodesResult> {
  const text = await skyOk(user, ["gpus", "list", "-o", "json"]);
  return nodesResultSchema.parse((JSON.parse(text) as Record<string, unknown>)[clusterName]);
}

test("an empty state: jobs go on, nodes refuse it by name of the command, and give way once an admin has said so", async () => {
  await submit(user, ["--num-nodes", "2", "--gpus", "V100:1", "--", scriptOf("a")]);
  await until(() => ran("a").length === 2, "both ranks to begin");
  await site.cluster.kill("coordinator");
  await site.cluster.kill("redis");
  await must(["rm", "-rf", join(redisFolder(), "appendonlydir")]);
  site.cluster.startPart("redis");
  site.cluster.startPart("coordinator");
  const refused = await until(async () => {
    const found = await nodes();
    return found.nodes.every((node) => node.state === "REFUSED") ? found : null;
  }, "both nodes to refuse");
  const command = /sky-agent accept-state (\w+) --config/.exec(JSON.stringify(refused));
  expect(command).not.toBeNull();
  const blocked = await submit(user, ["--gpus", "V100:1", "--", "true"]);
  expect((await queueOf(user)).get(blocked)?.status).toBe("PENDING");
  for (const node of ["n1", "n2"]) {
    const config = join(site.cluster.dir, `nodes/${node}/agent.yaml`);
    await must([process.execPath, join(dist, "agent.mjs"), "accept-state", command?.[1] ?? "", "--config", config]);
    process.kill(site.cluster.pid(`agent:${node}`), "SIGHUP");
  }
  await site.cluster.ready();
  await untilStatus(user, blocked, "SUCCEEDED");
  await until(async () => (await nodes()).unknown_attempts === 1, "the attempt to be shown");
  expect(ran("a")).toEqual(["begin 0", "begin 1"]);
  // Each still holds one of its node's two devices.
  const wide = await submit(user, ["--gpus", "V100:2", "--", "true"]);
  await until(async () => /\S/.test((await queueOf(user)).get(wide)?.reason ?? ""), "a reason to wait");
  expect((await queueOf(user)).get(wide)?.status).toBe("PENDING");
  await release("a");
  await until(() => ran("a").length === 4, "both ranks' own ends");
  await untilStatus(user, wide, "SUCCEEDED");
  await until(async () => (await nodes()).unknown_attempts === 0, "both ranks to be forgotten");
});

test("a state that was rolled back takes over what was started since, and starts none of it twice", async () => {
  const filler = await submit(user, ["--num-nodes", "2", "--gpus", "V100:2", "--", scriptOf("filler")]);
  await until(() => ran("filler").length === 2, "the devices to be taken");
  const one = await submit(user, ["--gpus", "V100:2", "--", scriptOf("one")]);
  const two = await submit(user, ["--num-nodes", "2", "--gpus", "V100:1", "--", scriptOf("two")]);
  await site.cluster.kill("coordinator");
  await site.cluster.kill("redis");
  await must(["cp", "-a", redisFolder(), `${redisFolder()}.old`]);
  site.cluster.startPart("redis");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  await release("filler");
  await until(() => ran("one").length === 1, "the first job to begin");
  await release("one");
  await untilStatus(user, one, "SUCCEEDED");
  await until(() => ran("two").length === 2, "the second job to begin");
  await untilStatus(user, filler, "SUCCEEDED");
  await site.cluster.kill("coordinator");
  await site.cluster.kill("redis");
  await must(["rm", "-rf", redisFolder()]);
  await must(["mv", `${redisFolder()}.old`, redisFolder()]);
  site.cluster.startPart("redis");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  await untilStatus(user, two, "RUNNING");
  await release("two");
  await untilStatus(user, two, "SUCCEEDED");
  expect(ran("two")).toEqual(["begin 0", "begin 1", "end 0", "end 1"]);
  // What had ended on the nodes is not in the old copy as ended: it cannot be known how, but it must not hang.
  await until(async () => /SUCCEEDED|FAILED/.test(await statusOf(user, filler)), "the filler's end");
  expect(ran("filler")).toEqual(["begin 0", "begin 1", "end 0", "end 1"]);
});

test("while Redis is away a user is told at once what is missing on which machine, and at the end what to do", async () => {
  await site.cluster.kill("redis");
  const running = startSky(user, ["queue", clusterName]);
  await until(
    () =>
      /Redis at \S+ cannot be reached: no server listens there on machine '.+'; trying again/.test(running.stderr()),
    "the cause",
  );
  const result = await running.ended;
  expect(result.code).toBe(1);
  expect(plain(result.stderr)).toMatch(/Error: .*Redis at \S+ cannot be reached.*\n.*admin must start it there/);
  expect(plain(result.stderr)).not.toContain("MaxListeners");
  site.cluster.startPart("redis");
  const id = await submit(user, ["--", "true"]);
  await untilStatus(user, id, "SUCCEEDED");
  expect((await sky(user, ["logs", clusterName, String(id), "--status"])).code).toBe(0);
});
