/**
 * Every form in which a task asks for machines, on a cluster of different nodes: where its job lands, which devices it
 * sees, what is refused and what waits.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { sky, skyOk } from "../help/sky.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;

/** n1 has H100, n2 A100-80GB, n3 T4 (16 GB), n4 none; each node 4 CPUs and 16 GiB. */
beforeAll(async () => {
  site = await startSite({ accelerators: "H100:2,A100-80GB:2,T4:2,-" });
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

const says = 'echo "on $SKYPILOT_NUM_GPUS_PER_NODE devices [$CUDA_VISIBLE_DEVICES]"';
let files = 0;

function taskFile(resources: string, run = says, nodes = 1): string {
  files += 1;
  const text = `num_nodes: ${nodes}\nresources: ${resources}\nrun: |\n  ${run}\n`;
  return writeHomeFile(user, `requests-${files}.yaml`, text);
}

/** Where a finished job was, and what it printed. */
async function outcomeOf(id: number): Promise<{ nodes: string[]; lines: string[] }> {
  await untilStatus(user, id, "SUCCEEDED");
  const nodes = (await queueOf(user)).get(id)?.nodes ?? [];
  const text = await skyOk(user, ["logs", clusterName, String(id), "--no-follow"]);
  return { nodes, lines: jobLines(text).sort() };
}

/** A job that holds what it got until it is cancelled. */
async function holding(resources: string): Promise<{ id: number; release: () => Promise<void> }> {
  const id = await submit(user, [taskFile(resources, "sleep 1000")]);
  await untilStatus(user, id, "RUNNING");
  return {
    id,
    release: async () => {
      await skyOk(user, ["cancel", clusterName, String(id), "-y"]);
      await untilStatus(user, id, "CANCELLED");
    },
  };
}

describe("on an empty cluster", () => {
  test.each<[resources: string, node: string, devices: string]>([
    ["{accelerators: H100}", "n1", "1 devices [0]"],
    ["{gpus: h100}", "n1", "1 devices [0]"],
    ["{accelerators: 'T4:2'}", "n3", "2 devices [0,1]"],
    ["{accelerators: 'T4:0.2'}", "n3", "1 devices [0]"],
    ["{accelerators: {T4: 2}}", "n3", "2 devices [0,1]"],
    ["{accelerators: [H200, A100-80GB, T4]}", "n2", "1 devices [0]"],
    ["{accelerators: [T4, H100]}", "n3", "1 devices [0]"],
    ["{accelerators: {H200:1, A100-80GB:2}}", "n2", "2 devices [0,1]"],
    ["{accelerators: 16GB}", "n3", "1 devices [0]"],
    ["{accelerators: 'NVIDIA:16GB:2'}", "n3", "2 devices [0,1]"],
    ["{accelerators: 80GB+, labels: {node: n2}}", "n2", "1 devices [0]"],
    ["{any_of: [{gpus: H200}, {gpus: T4, cpus: 2}]}", "n3", "1 devices [0]"],
    ["{ordered: [{gpus: 'H100:4'}, {gpus: 'A100-80GB:2'}, {gpus: T4}]}", "n2", "2 devices [0,1]"],
    ["{gpus: T4, ordered: [{labels: {node: n1}}, {gpus: null, cpus: 3}]}", "n4", "0 devices []"],
    ["{labels: {node: n1}}", "n1", "0 devices []"],
    ["{cpus: 4, memory: 16}", "n4", "0 devices []"],
    ["{}", "n4", "0 devices []"],
  ])("%s", async (resources, node, devices) => {
    const { nodes, lines } = await outcomeOf(await submit(user, [taskFile(resources)]));
    expect(nodes).toEqual([node]);
    expect(lines).toEqual([`on ${devices}`]);
  });

  test("a gang by memory: its nodes may have different kinds", async () => {
    const { nodes, lines } = await outcomeOf(await submit(user, [taskFile("{gpus: '80GB+:2'}", says, 2)]));
    expect(nodes.toSorted()).toEqual(["n1", "n2"]);
    expect(lines).toEqual(["on 2 devices [0,1]", "on 2 devices [0,1]"]);
  });

  test("flags stand in the file's place", async () => {
    const file = taskFile("{gpus: [H100, A100-80GB], cpus: 64}");
    const id = await submit(user, [file, "--gpus", "T4:2", "--cpus", "1", "--label", "node=n3", "--priority", "-5"]);
    expect(await outcomeOf(id)).toEqual({ nodes: ["n3"], lines: ["on 2 devices [0,1]"] });
  });
});

describe("where something is taken", () => {
  test("shares of one device, and the next device when it is full", async () => {
    const first = await holding("{gpus: 'T4:0.5'}");
    const second = await outcomeOf(await submit(user, [taskFile("{gpus: 'T4:0.5'}")]));
    const third = await outcomeOf(await submit(user, [taskFile("{gpus: 'T4:0.6'}")]));
    await first.release();
    expect(second.lines).toEqual(["on 1 devices [0]"]);
    expect(third.lines).toEqual(["on 1 devices [1]"]);
  });

  test("the next of a list when the first has no room; any of a set that has", async () => {
    const held = await holding("{gpus: 'H100:2'}");
    const ordered = await outcomeOf(await submit(user, [taskFile("{gpus: ['H100:2', 'T4:2']}")]));
    const any = await outcomeOf(await submit(user, [taskFile("{gpus: {H100:1, A100-80GB:1}}")]));
    const byMemory = await outcomeOf(await submit(user, [taskFile("{gpus: 80GB+}")]));
    await held.release();
    expect(ordered.nodes).toEqual(["n3"]);
    expect(any.nodes).toEqual(["n2"]);
    expect(byMemory.nodes).toEqual(["n2"]);
  });

  test("an exclusive job has its node alone, and waits until it can", async () => {
    const small = await holding("{labels: {node: n4}}");
    const alone = await submit(user, [taskFile("{exclusive: true, labels: {node: n4}}", "sleep 1000")]);
    expect((await queueOf(user)).get(alone)).toMatchObject({ status: "PENDING" });
    await small.release();
    await untilStatus(user, alone, "RUNNING");
    const late = await submit(user, [taskFile("{labels: {node: n4}}")]);
    expect((await queueOf(user)).get(late)).toMatchObject({ status: "PENDING" });
    await skyOk(user, ["cancel", clusterName, String(alone), "-y"]);
    expect((await outcomeOf(late)).nodes).toEqual(["n4"]);
  });
});

test("the RESOURCES column speaks of all ways", async () => {
  const forms = ["{gpus: [H100, 'A100-80GB:2']}", "{gpus: 'NVIDIA:80gb+'}", "{gpus: t4, memory: 2}", "{cpus: 2}"];
  const ids: number[] = [];
  for (const form of forms) {
    ids.push(await submit(user, [taskFile(form, "true")]));
  }
  const rows = await queueOf(user);
  expect(ids.map((id) => rows.get(id)?.resources)).toEqual([
    "1x[H100:1, A100-80GB:2]",
    "1x[NVIDIA:80GB+:1]",
    "1x[T4:1, mem=2]",
    "1x[CPU:2]",
  ]);
});

describe("refused", () => {
  test.each([
    ["{gpus: [H200, 'H100:3']}", "Requested:\t1 x H200 or 3 x H100, 0.5 CPUs on 1 node"],
    ["{gpus: 141GB+}", "Requested:\t1 x any accelerator with 141 GB or more, 0.5 CPUs on 1 node"],
    ["{gpus: T4, labels: {node: n1}}", "Requested:\t1 x T4, 0.5 CPUs, the label node=n1 on 1 node"],
    ["{any_of: [{cpus: 1}], ordered: [{cpus: 2}]}", 'Cannot specify both "any_of" and "ordered" in resources.'],
    ["{gpus: 'T4:1.5'}", "The count of accelerators must be whole, or below 1 for a share of one device."],
    ["{gpus: H100, use_spot: true}", "'resources.use_spot' cannot be used here. Nobody"],
    ["{prioritty: 3}", "Did you mean 'priority'?"],
  ])("%s", async (resources, text) => {
    const result = await sky(user, ["exec", clusterName, taskFile(resources)]);
    expect(result.code).toBe(1);
    expect(plain(result.stderr)).toContain(text);
  });
});
