/**
 * A node whose card is divided into MIG instances, as nvidia-smi describes it (a script here that prints the recorded
 * form): instances are asked for by their profile, and jobs see them, and the cards beside them, by the uuids that CUDA
 * wants where the node's own numbers are not nvidia-smi's.
 */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { clusterName, jobLines, type Site, startSite } from "../help/site.ts";
import { sky, skyOk } from "../help/sky.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let folder = "";
let site: Site;
let user: TestUser;

beforeAll(async () => {
  folder = mkdtempSync("/tmp/sky-mig-");
  mkdirSync(join(folder, "bin"));
  for (const name of ["nvidia-mig.txt", "nvidia-mig-list.txt"]) {
    copyFileSync(join(checkout, "agent/accelerators/fixtures", name), join(folder, name));
  }
  const script = [
    "#!/bin/sh",
    'case "$*" in',
    "*gpu_recovery_action*) echo 'Field \"gpu_recovery_action\" is not a valid field to query.'; exit 2 ;;",
    "*utilization.gpu*) exit 2 ;;",
    `*--query-gpu*) cat ${folder}/nvidia-mig.txt ;;`,
    `*-L*) cat ${folder}/nvidia-mig-list.txt ;;`,
    "*) exit 2 ;;",
    "esac",
    "",
  ];
  writeFileSync(join(folder, "bin/nvidia-smi"), script.join("\n"));
  chmodSync(join(folder, "bin/nvidia-smi"), 0o755);
  const agentConfig = { tool_folders: [join(folder, "bin")], mixed_accelerators: true };
  site = await startSite({ accelerators: null, agentConfig });
  user = site.users[0] as TestUser;
});
afterAll(async () => {
  await site?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const says = 'echo "$SKYPILOT_NUM_GPUS_PER_NODE [$CUDA_VISIBLE_DEVICES] $CUDA_DEVICE_ORDER"';

test.each([
  ["A100-MIG-1g.10gb", "1 [MIG-00000002-0321-5fef-9c87-000000000002] PCI_BUS_ID"],
  ["a100-mig-3g.40gb:1", "1 [MIG-00000001-0321-5fef-9c87-000000000001] PCI_BUS_ID"],
  ["A100-80GB", "1 [GPU-00000022-5c1e-4b7a-9d20-000000000022] PCI_BUS_ID"],
  ["80GB+", "1 [GPU-00000022-5c1e-4b7a-9d20-000000000022] PCI_BUS_ID"],
])("%s", async (gpus, line) => {
  const text = await skyOk(user, [
    "exec",
    clusterName,
    "--gpus",
    gpus,
    writeHomeFile(user, "s.yaml", `run: |\n  ${says}\n`),
  ]);
  expect(jobLines(text)).toEqual([line]);
});

test("what is not there is refused with what there is", async () => {
  const { code, stderr } = await sky(user, ["exec", clusterName, "--gpus", "A100-MIG-7g.80gb", "--", "true"]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/Requested:\t1 x A100-MIG-7g\.80gb, 0\.5 CPUs on 1 node/);
  expect(stderr).toContain("A100-MIG-1g.10gb");
});
