/**
 * The coordinator as a program: its switches, its start without Redis, kills of Redis and of itself, and its stop. It is
 * asked only through its socket and its log, as an admin would.
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { startRedis, type TestRedis } from "../test/help/redis.ts";
import { launch, must, type Result, type Running, run } from "../test/help/run.ts";
import { until } from "../test/help/until.ts";

const program = [
  process.execPath,
  "--import",
  join(import.meta.dirname, "../node_modules/tsx/dist/loader.mjs"),
  join(import.meta.dirname, "main.ts"),
];
let redis: TestRedis;
let dir: string;
const running: Running[] = [];

beforeAll(async () => {
  redis = await startRedis();
  dir = mkdtempSync(join(tmpdir(), "sky-main-"));
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, "host_key")]);
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, "node_key")]);
});
afterEach(async () => {
  for (const one of running.splice(0)) {
    one.child.kill("SIGKILL");
    await one.ended;
  }
});
afterAll(async () => {
  await redis.remove();
  await rm(dir, { recursive: true, force: true });
});

async function configFile(name: string, changes: Record<string, unknown> = {}): Promise<string> {
  const config = {
    cluster: "lab",
    socket: join(dir, `${name}.sock`),
    listen: { port: 0 },
    host_key: join(dir, "host_key"),
    redis: { socket: redis.socket },
    state_dir: dir,
    nodes: [{ name: "n1", key: (await must(["cat", join(dir, "node_key.pub")])).trim() }],
    ...changes,
  };
  const path = join(dir, `${name}.yaml`);
  writeFileSync(path, JSON.stringify(config));
  return path;
}

function coordinator(config: string): Running {
  const one = launch([...program, "--config", config]);
  running.push(one);
  return one;
}

/** What the log says in lines with this message. */
function logged(one: Running, message: string): Record<string, unknown>[] {
  return one
    .stderr()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line["msg"] === message);
}

interface Health {
  status: string;
  message: string | null;
}

function health(name: string): Promise<Health> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: join(dir, `${name}.sock`), path: "/api/health" }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text) as Health));
    });
    asked.on("error", reject);
    asked.end();
  });
}

const healthy = (name: string) => until(async () => (await health(name)).status === "healthy", `${name} to be healthy`);

test("switches: version, check, wrong use", async () => {
  expect((await run([...program, "--version"])).stdout).toMatch(/^sky-coordinator \S+ \(\S+\)\n$/);
  const checked = await run([...program, "--config", await configFile("good"), "--check"]);
  expect(checked.stdout).toContain("config is good");
  expect(parse(checked.stdout)).toMatchObject({ cluster: "lab", listen: { address: "127.0.0.1" }, grace_seconds: 30 });
  expect(checked.stdout).not.toContain("PRIVATE KEY");
  const refused = async (args: string[]): Promise<Result> => {
    const result = await run([...program, ...args]);
    expect(result.code).toBe(2);
    expect(result.stderr).not.toContain("    at ");
    return result;
  };
  expect((await refused([])).stderr).toContain("--config FILE is missing");
  expect((await refused(["--config", "/nonexistent.yaml"])).stderr).toContain("cannot be read");
  const typo = await refused(["--config", await configFile("typo", { lmits: {} })]);
  expect(typo.stderr).toMatch(/typo\.yaml:1: .*lmits.*limits/);
  const long = await refused(["--config", await configFile("long", { socket: `/run/${"x".repeat(96)}` })]);
  expect(long.stderr).toContain("101 bytes long");
  const noRedis = await configFile("noredis", { redis: { socket: "/nonexistent/redis.sock" } });
  expect((await refused(["--config", noRedis, "--check"])).stderr).toContain("/nonexistent/redis.sock");
  // Seven starts from the sources, each of which is transpiled.
}, 300_000);

test("a forgetful Redis is refused and the API says which line to change", async () => {
  const forgetful = await startRedis(["--appendfsync", "everysec"]);
  try {
    coordinator(await configFile("forgetful", { redis: { socket: forgetful.socket } }));
    const answer = await until(async () => {
      const now = await health("forgetful");
      return now.message?.includes("appendfsync") === true ? now : null;
    }, "the refusal");
    expect(answer.message).toContain("Put the line 'appendfsync always' into its config file");
  } finally {
    await forgetful.remove();
  }
});

test("it waits for Redis, outlives its kill, and a new one takes over from a killed one", async () => {
  await redis.kill();
  const config = await configFile("main");
  const first = coordinator(config);
  const waiting = await until(() => health("main"), "the API");
  expect(waiting.status).toBe("unhealthy");
  await until(async () => (await health("main")).message?.includes("cannot be reached"), "the cause");

  await redis.start();
  await healthy("main");
  const opened = () => logged(first, "coordinator state opened");
  const stateId = opened()[0]?.["state"];
  expect(opened()[0]).toMatchObject({ epoch: 1, cluster: "lab" });

  await redis.kill();
  await until(async () => (await health("main")).status === "unhealthy", "the loss to be noticed");
  await redis.start();
  await healthy("main");
  expect(opened().at(-1)).toMatchObject({ state: stateId, epoch: 2 });

  const rival = coordinator(await configFile("rival"));
  const refusal = await until(
    async () => (await health("rival")).message?.includes("another coordinator") && health("rival"),
    "the refusal",
  );
  expect(refusal.message).toContain(`process ${first.child.pid}`);
  rival.child.kill("SIGKILL");
  await rival.ended;

  first.child.kill("SIGKILL");
  await first.ended;
  const second = coordinator(config);
  await healthy("main");
  expect(logged(second, "coordinator state opened").at(-1)).toMatchObject({ state: stateId, epoch: 3 });
});

test.each(["SIGTERM", "SIGINT"] as const)("%s ends it cleanly, its socket refuses afterwards", async (signal) => {
  const one = coordinator(await configFile("stopped"));
  await healthy("stopped");
  one.child.kill(signal);
  const result = await one.ended;
  expect(result).toMatchObject({ code: 0, stdout: "" });
  await expect(health("stopped")).rejects.toThrow(/ENOENT|ECONNREFUSED/);
});

test("a stop while Redis is frozen does not wait for it", async () => {
  const one = coordinator(await configFile("frozen"));
  await healthy("frozen");
  redis.freeze();
  one.child.kill("SIGTERM");
  const result = await one.ended;
  redis.thaw();
  expect(result.code).toBe(0);
});

test("it goes on when nobody reads its log any more", async () => {
  const one = coordinator(await configFile("unread"));
  await healthy("unread");
  one.child.stderr?.destroy();
  await redis.kill();
  await until(async () => (await health("unread")).status === "unhealthy", "the loss to be noticed");
  await redis.start();
  await healthy("unread");
  expect(one.child.exitCode).toBeNull();
});
