/**
 * A node that finds its accelerators by their maker's tool, which is a script here that prints what a test wants: found,
 * granted, fallen off the bus under a running job, well again; and several kinds in one machine.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AdminNodesResult } from "../../shared/admin-api.ts";
import type { NodeRow, NodesResult } from "../../shared/api.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { must, run } from "../help/run.ts";
import { sky, skyOk } from "../help/sky.ts";
import { until } from "../help/until.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let folder = "";
const group = `skydev${process.pid}`;

const row = (index: number, name: string, memory: number): string =>
  `${index}, GPU-0000000${index}-5c1e-4b7a-9d20-00000000000${index}, 00000000:${index + 1}A:00.0, ${name}, ${memory}, 550.90.07, Disabled, 0, No, No\n`;
const lostRow = (index: number): string =>
  `Unable to determine the device handle for GPU0000:${index + 1}A:00.0: Unknown Error\n${Array.from({ length: 10 }, () => "[Unknown Error]").join(", ")}\n`;
const h100 = (index: number): string => row(index, "NVIDIA H100 80GB HBM3", 81_559);

/** What nvidia-smi prints from now on; exit code 255 as the real one when a card is lost. */
function cards(...rows: string[]): void {
  writeFileSync(join(folder, "cards"), rows.join(""));
  writeFileSync(join(folder, "code"), rows.some((one) => one.startsWith("Unable")) ? "255" : "0");
}

beforeAll(() => {
  folder = mkdtempSync("/tmp/sky-tools-");
  mkdirSync(join(folder, "bin"));
  const script = [
    "#!/bin/sh",
    'case "$*" in',
    `*gpu_recovery_action*) echo 'Field "gpu_recovery_action" is not a valid field to query.'; exit 2 ;;`,
    `*utilization.gpu*) cat ${folder}/use ;;`,
    `*--query-gpu*) cat ${folder}/cards; exit "$(cat ${folder}/code)" ;;`,
    "*) exit 2 ;;",
    "esac",
    "",
  ];
  writeFileSync(join(folder, "bin/nvidia-smi"), script.join("\n"));
  chmodSync(join(folder, "bin/nvidia-smi"), 0o755);
  writeFileSync(join(folder, "use"), "");
});
afterAll(() => rmSync(folder, { recursive: true }));

const detected = () => ({ tool_folders: [join(folder, "bin")], detect_seconds: 1 });

async function nodeOf(user: TestUser): Promise<NodeRow> {
  const found = JSON.parse(await skyOk(user, ["gpus", "list", "-o", "json"])) as Record<string, NodesResult>;
  return found[clusterName]?.nodes[0] as NodeRow;
}

async function faultsOf(user: TestUser): Promise<(string | null)[]> {
  return (await nodeOf(user)).devices.map((one) => one.fault);
}

/** What the job has printed so far. */
const logsOf = async (user: TestUser, id: number): Promise<string[]> =>
  jobLines((await sky(user, ["logs", clusterName, String(id), "--no-follow"])).stdout);

describe("two cards", () => {
  let site: Site;
  let user: TestUser;
  beforeAll(async () => {
    cards(h100(0), h100(1));
    await must(["groupadd", group]);
    site = await startSite({
      accelerators: null,
      agentConfig: detected(),
      coordinatorConfig: { admin_group: group },
    });
    user = site.users[0] as TestUser;
  });
  afterAll(async () => {
    await site?.stop();
    await run(["groupdel", group]);
  });

  const holding = ["trap 'echo saved' USR1", 'echo "device $CUDA_VISIBLE_DEVICES"', "while :; do sleep 0.2; done"];
  const task = (): string =>
    writeHomeFile(user, "holding.yaml", `run: |\n${holding.map((line) => `  ${line}\n`).join("")}`);
  const hold = async (): Promise<number> => await submit(user, ["--gpus", "H100:1", task()]);

  test("are found with their names, and granted", async () => {
    const text = await skyOk(user, ["gpus", "list", "h100"]);
    expect(text).toMatch(/H100 +1, 2 +2 of 2 free/);
    expect(text).toMatch(/n1 +1 +NVIDIA H100 80GB HBM3 +79\.6 GiB +- +- +ok/);
    await must(["usermod", "-aG", group, user.name]);
    await until(async () => (await sky(user, ["admin", "nodes"])).code === 0, "the user to be an admin", 60_000);
    const admin = JSON.parse(await skyOk(user, ["admin", "nodes", "n1", "-o", "json"])) as AdminNodesResult;
    expect(admin.nodes[0]).toMatchObject({ source: "nvidia-smi", driver: "550.90.07" });
    expect(admin.nodes[0]?.devices[1]).toMatchObject({ pci: "0000:2a:00.0", fault: null });
    expect(admin.nodes[0]?.os).toMatch(/Linux/);
    expect(admin.nodes[0]?.cpu_model).not.toBeNull();
    expect(plain(await skyOk(user, ["admin", "nodes", "n1"]))).toMatch(/found by: nvidia-smi; driver 550\.90\.07/);
  });

  test("one falls off the bus: its job is told, the other goes on, and it is granted again when it is well", async () => {
    const first = await hold();
    const second = await hold();
    await untilStatus(user, first, "RUNNING");
    await untilStatus(user, second, "RUNNING");
    await until(async () => (await logsOf(user, second)).includes("device 1"), "the second job's first line");

    cards(h100(0), lostRow(1));
    const fault = "fallen off the bus (nvidia-smi: Unknown Error)";
    await until(async () => (await faultsOf(user))[1] === fault, "the fault");
    await until(async () => (await logsOf(user, second)).includes("saved"), "the warning");
    expect(await logsOf(user, first)).toEqual(["device 0"]);
    const queue = await queueOf(user);
    expect(queue.get(second)).toMatchObject({ status: "RUNNING", reason: expect.stringContaining(fault) });
    expect(queue.get(first)).toMatchObject({ status: "RUNNING", reason: null });
    const text = plain(await skyOk(user, ["gpus", "list", "H100"]));
    expect(text).toContain("0 of 2 free (1 faulty)");
    expect(text.replace(/\s+/g, " ")).toContain(`n1: H100 1 (0000:2a:00.0) gets no jobs: ${fault}`);

    const third = await hold();
    await skyOk(user, ["cancel", clusterName, String(second), "-y"]);
    await untilStatus(user, second, "CANCELLED");
    expect((await queueOf(user)).get(third)?.status).toBe("PENDING");
    await skyOk(user, ["cancel", clusterName, String(first), "-y"]);
    await untilStatus(user, third, "RUNNING");
    await until(async () => (await logsOf(user, third)).includes("device 0"), "the third job's first line");

    const fourth = await hold();
    cards(h100(0), h100(1));
    await untilStatus(user, fourth, "RUNNING");
    expect(await faultsOf(user)).toEqual([null, null]);
    await until(async () => (await logsOf(user, fourth)).includes("device 1"), "the fourth job's first line");
    expect(site.cluster.log("agent:n1")).toContain("an accelerator is well again");
    await skyOk(user, ["cancel", clusterName, "-a", "-y"]);
    await untilStatus(user, fourth, "CANCELLED");
  });

  test("a restart of the agent while one is no longer listed shifts no index", async () => {
    const job = await submit(user, ["--gpus", "H100:2", task()]);
    await untilStatus(user, job, "RUNNING");
    await site.cluster.kill("agent:n1");
    cards(h100(1).replace(/^1/, "0"));
    site.cluster.startPart("agent:n1");
    await until(async () => (await faultsOf(user))[0] === "no longer listed by its tool", "the fault");
    const { devices } = await nodeOf(user);
    expect(devices.map((one) => [one.index, one.granted, one.fault === null])).toEqual([
      [0, 1, false],
      [1, 1, true],
    ]);
    await skyOk(user, ["cancel", clusterName, String(job), "-y"]);
    await untilStatus(user, job, "CANCELLED");
    const id = await submit(user, [
      "--gpus",
      "H100:1",
      writeHomeFile(user, "say.yaml", 'run: echo "device $CUDA_VISIBLE_DEVICES"\n'),
    ]);
    await untilStatus(user, id, "SUCCEEDED");
    expect(await logsOf(user, id)).toEqual(["device GPU-00000001-5c1e-4b7a-9d20-000000000001"]);
  });
});

describe("several kinds in one machine", () => {
  const mixed = (): void => cards(row(0, "NVIDIA GeForce RTX 3090", 24_576), row(1, "NVIDIA L40S", 46_068));

  test("are refused unless the config allows them, and it is said why", async () => {
    mixed();
    const site = await startSite({ accelerators: null, agentConfig: detected() });
    try {
      const user = site.users[0] as TestUser;
      expect((await nodeOf(user)).warnings).toEqual([
        "Node n1 mixes accelerators (RTX3090, L40S): it takes no accelerator jobs unless its config says mixed_accelerators: true.",
      ]);
      const refused = await sky(user, ["exec", clusterName, "--gpus", "L40S:1", "-d", "true"]);
      expect(refused.code).not.toBe(0);
      expect(plain(`${refused.stdout}${refused.stderr}`)).toContain("several kinds");
    } finally {
      await site.stop();
    }
  });

  test("are granted exactly as asked for where they are allowed", async () => {
    mixed();
    const site = await startSite({ accelerators: null, agentConfig: { ...detected(), mixed_accelerators: true } });
    try {
      const user = site.users[0] as TestUser;
      const file = writeHomeFile(user, "say.yaml", 'run: echo "device $CUDA_VISIBLE_DEVICES"\n');
      for (const [kind, device] of [
        ["L40S", "1"],
        ["rtx3090", "0"],
      ]) {
        const id = await submit(user, ["--gpus", `${kind}:1`, file]);
        await untilStatus(user, id, "SUCCEEDED");
        expect(await logsOf(user, id)).toEqual([`device ${device}`]);
      }
    } finally {
      await site.stop();
    }
  });
});
