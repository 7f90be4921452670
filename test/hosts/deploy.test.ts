/**
 * `sky admin deploy` as an admin types it, with a cluster file of the old form, against machines on which nothing is
 * installed: the four steps, the file for users, a job of an ordinary user who was given that file, and a second run.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Result } from "../help/run.ts";
import { startMachines, type World } from "./machines.ts";
import { checkout, type Release, theRelease } from "./release.ts";

let world: World;
let release: Release;
let home: string;

beforeAll(async () => {
  release = await theRelease();
  world = await startMachines({ machines: ["head", "n1"], users: ["alice", { name: "ops", sudo: true }] });
  home = join(world.folder, "admin");
  mkdirSync(home);
  const ips = world.machines.map(({ address }) => address);
  const auth = { ssh_user: "ops", ssh_private_key: world.key("ops") };
  writeFileSync(join(home, "lab.yml"), JSON.stringify({ cluster: { ips, name: "lab" }, auth }));
  // The test's machines and their host keys are known to a config of the test's own.
  const settings = { ansible_ssh_common_args: `-F ${world.sshConfig}`, sky_agent_accelerators: "V100:2" };
  writeFileSync(join(home, "settings.yml"), JSON.stringify(settings));
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    process.stdout.write(await world.tell());
  }
});
afterAll(async () => {
  await world.stop();
});

async function deploy(file: string): Promise<Result> {
  const words = ["admin", "deploy", file, "--release", release.archive, "--vars", "settings.yml"];
  const env = { PATH: process.env["PATH"] ?? "", LANG: "C.UTF-8", HOME: home };
  const argv = [process.execPath, join(checkout, "dist/sky"), ...words];
  return await world.run(argv, { cwd: home, env, limitMs: 400_000 });
}

test("machines of a file become a cluster that its users can register", async () => {
  const { code, stdout, stderr } = await deploy("lab.yml");
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  expect(stdout.trimEnd().split("\n")).toEqual([
    "[1/4] Installing on-premise dependencies",
    "[2/4] Auto-detecting cluster resources",
    "[3/4] Launching sky runtime",
    "[4/4] Generating sanitized local yaml file",
    "Saved in ~/.sky/local/lab.yml",
    "Successfully deployed local cluster 'lab'",
  ]);
  for (const { address } of world.machines) {
    expect(stderr).toContain(`${address}: V100:2 (declared), `);
  }
  const given = readFileSync(join(home, ".sky/local/lab.yml"), "utf8");
  expect(given).not.toContain("ops");
  const filled = given
    .replace("ssh_user: PLACEHOLDER", "ssh_user: alice")
    .replace("ssh_private_key: PLACEHOLDER", "ssh_private_key: ~/.ssh/id_ed25519");
  const n1 = world.machine("n1");
  await n1.must("mkdir -p ~/.sky/local && cat >~/.sky/local/lab.yml", { user: "alice", input: filled });
  await n1.must(["sky", "launch", "-c", "lab", "", "-y"], { user: "alice" });
  const said = await n1.must(["sky", "exec", "lab", "--gpus", "V100:2", "--", "echo I am $(id -un)"], {
    user: "alice",
  });
  expect(said).toContain("I am alice");
});

test("a second run changes nothing", async () => {
  const { code, stderr } = await deploy("lab.yml");
  expect(code, stderr).toBe(0);
  const transcript = readFileSync(join(home, ".sky/onprem/deploy-lab.log"), "utf8");
  expect(transcript.match(/changed=\d+/g)).toEqual(["changed=0", "changed=0"]);
});

test("a machine that cannot be reached is named, with what ssh said", async () => {
  writeFileSync(
    join(home, "more.yml"),
    JSON.stringify({
      cluster: { ips: [...world.machines.map(({ address }) => address), "10.213.7.99"], name: "lab" },
      auth: { ssh_user: "ops", ssh_private_key: world.key("ops") },
    }),
  );
  const { code, stderr } = await deploy("more.yml");
  expect(code).toBe(1);
  expect(stderr).toContain("10.213.7.99 cannot be reached:");
  expect(stderr).toContain("Mend the cause and run the same command again.");
});
