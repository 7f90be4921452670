/** The agent's command line as an admin meets it, run from the sources in processes of its own. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parse } from "yaml";
import { run } from "../help/run.ts";
import { until } from "../help/until.ts";
import { makeKeyPair } from "../../system/key-pair.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const main = join(root, "agent/main.ts");
const host = makeKeyPair().public;
const isRoot = process.getuid?.() === 0;
let dir = "";
let file = "";

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-main-"));
  file = join(dir, "agent.yaml");
  await writeFile(join(dir, "key"), makeKeyPair().private, { mode: 0o600 });
  await write("");
});
afterEach(() => rm(dir, { recursive: true }));

async function write(lines: string): Promise<void> {
  const text = `node: n1
coordinator: {address: 127.0.0.1, port: 9, host_key: ${host}}
key: ${dir}/key
runtime_dir: ${dir}/run
state_dir: ${dir}/state
accelerators: "-"
${isRoot ? "" : "single_user: true"}
${lines}
`;
  await writeFile(file, text, { mode: 0o644 });
}

const agent = (...args: string[]) => run([process.execPath, "--import", "tsx", main, ...args], { cwd: root });
/** Running for good needs the skylet's bundle, which only a build makes. */
const isBuilt = existsSync(join(root, "dist/skylet.mjs"));

it("prints its version, checks a config, and says what is wrong with one", async () => {
  expect((await agent("--version")).stdout.trim()).toMatch(/^sky-agent \d+\.\d+\.\d+\S* \(\S+\)$/);
  const checked = await agent("--config", file, "--check");
  expect([checked.code, checked.stdout.split("\n")[0]]).toEqual([0, `# ${file}: ok`]);
  expect(parse(checked.stdout)).toMatchObject({ runtime_dir: `${dir}/run`, skylet_idle_seconds: 600 });
  expect(checked.stdout).toContain("\n# cpus: not set\n");
  expect(checked.stdout).not.toContain("PRIVATE KEY");
  const faults: [string, string][] = [
    ["acelerators: x", "acelerators"],
    ["cpus: -1", "cpus"],
    ["users: {min_uuid: 3}", "min_uuid"],
  ];
  for (const [line, text] of faults) {
    await write(line);
    const result = await agent("--config", file, "--check");
    expect([result.code, result.stderr]).toEqual([1, expect.stringContaining(text)]);
    expect(result.stderr).not.toContain("    at ");
  }
  await write("");
  await chmod(join(dir, "key"), 0o644);
  expect((await agent("--config", file, "--check")).stderr).toContain("can be read by others");
  expect((await agent("--frob")).code).toBe(1);
  expect((await agent()).stderr).toContain("Usage:");
  if (isRoot) {
    await chmod(file, 0o666);
    expect((await agent("--config", file, "--check")).stderr).toContain("others than root could change it");
  }
});

it("lets an admin confirm another state", async () => {
  const state = "abcdefgh12345678";
  expect((await agent("accept-state", "no!", "--config", file)).stderr).toContain("is not a state id");
  const result = await agent("accept-state", state, "--config", file);
  expect([result.code, result.stdout]).toEqual([0, expect.stringContaining(state)]);
  expect(JSON.parse(await readFile(join(dir, "state/identity.json"), "utf8"))).toEqual({ stateId: state, epoch: 0 });
});

it.runIf(isBuilt)("runs without a coordinator, keeps a second one out, and ends at once when told", async () => {
  const out: string[] = [];
  const child = spawn(process.execPath, ["--import", "tsx", main, "--config", file], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk.toString()));
  const ended = new Promise((resolve) => child.on("exit", (code) => resolve(code)));
  try {
    await until(() => out.join("").includes("no connection to the coordinator"), "the agent to dial");
    for (const line of out.join("").trim().split("\n")) {
      expect(JSON.parse(line)).toMatchObject({ node: "n1" });
    }
    const second = await agent("--config", file);
    expect([second.code, second.stderr]).toEqual([1, expect.stringContaining("Another agent is running")]);
  } finally {
    child.kill("SIGTERM");
  }
  expect(await ended).toBe(0);
});
