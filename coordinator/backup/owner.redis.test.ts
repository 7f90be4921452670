/**
 * Root gives the commands for backup, restore and --check, in folders that belong to the coordinator's account. Whatever
 * that account has put there, root reads, writes and changes nothing by it that the account could not itself.
 */
import { chownSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { chmodSync, existsSync, lstatSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startRedis, type TestRedis } from "../../test/help/redis.ts";
import { must, type Result, run } from "../../test/help/run.ts";
import { openLink } from "../redis.ts";
import { openSecrets } from "../secrets.ts";
import { RedisStore } from "../store.ts";

// Each command is a program of its own.
vi.setConfig({ testTimeout: 180_000 });
const account = 64_001;
const main = join(import.meta.dirname, "../main.ts");
const program = [
  process.execPath,
  "--import",
  join(import.meta.dirname, "../../node_modules/tsx/dist/loader.mjs"),
  main,
];
const isRoot = process.getuid?.() === 0;

let redis: TestRedis;
/** The account's, and root's. */
let dir: string;
let roots: string;
let config: string;

function give(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) {
      chownSync(join(entry.parentPath, entry.name), account, account);
    }
  }
  chownSync(folder, account, account);
}

/** Everything in root's folder: what it is, whose, with which mode and content. */
function picture(): string[] {
  return readdirSync(roots, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.name.endsWith(".backup"))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const { uid, mode } = lstatSync(path);
      return `${path} ${uid} ${mode.toString(8)} ${entry.isFile() ? readFileSync(path, "utf8") : ""}`;
    })
    .sort();
}

/** Puts a link to something of root's into the place of something of the account's. */
function plant(path: string, target: string): void {
  rmSync(path, { recursive: true, force: true });
  symlinkSync(target, path);
}

const sky = (...words: string[]): Promise<Result> =>
  run([...program, ...words, "--config", config], { limitMs: 30_000 });

beforeEach(async () => {
  redis = await startRedis();
  dir = mkdtempSync(join(tmpdir(), "sky-state-"));
  roots = mkdtempSync(join(tmpdir(), "sky-roots-"));
  mkdirSync(join(roots, "tree/deep"), { recursive: true });
  writeFileSync(join(roots, "secret"), "of root\n", { mode: 0o600 });
  writeFileSync(join(roots, "tree/deep/kept"), "kept\n", { mode: 0o600 });
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, "host_key")]);
  const store = new RedisStore(await openLink(redis.socket, "test"), openSecrets(dir), pino({ level: "silent" }));
  await store.open();
  await store.close();
  config = join(roots, "coordinator.yaml");
  const nodes = [{ name: "n1", key: readFileSync(join(dir, "host_key.pub"), "utf8").trim() }];
  const own = { socket: join(roots, "api.sock"), host_key: join(dir, "host_key"), state_dir: dir, nodes };
  writeFileSync(config, JSON.stringify({ cluster: "lab", redis: { socket: redis.socket }, ...own }));
  give(dir);
  give(redis.dir);
});
afterEach(async () => {
  await redis.remove();
  rmSync(dir, { recursive: true, force: true });
  rmSync(roots, { recursive: true, force: true });
});

test.skipIf(!isRoot)(
  "a backup goes where only root may write; put back, all of the state is the account's",
  async () => {
    const file = join(roots, "tree/deep/x.backup");
    expect(await sky("backup", file)).toMatchObject({ code: 0, stderr: "" });
    expect(statSync(file)).toMatchObject({ uid: 0 });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await redis.kill();
    const before = picture();
    expect(await sky("restore", file, "--replace")).toMatchObject({ code: 0, stderr: "" });
    expect(picture()).toEqual(before);
    for (const folder of [dir, redis.dir]) {
      for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        expect(lstatSync(join(entry.parentPath, entry.name)).uid, entry.name).toBe(account);
      }
    }
  },
);

test.skipIf(!isRoot)("links that the account has planted lead root nowhere", async () => {
  const good = join(roots, "good.backup");
  expect((await sky("backup", good)).code).toBe(0);
  const kept = mkdtempSync(join(tmpdir(), "sky-kept-"));
  cpSync(dir, kept, { recursive: true, preserveTimestamps: true });
  const before = picture();
  const refused = async (...words: string[]): Promise<void> => {
    const result = await sky(...words);
    expect(result, words.join(" ")).toMatchObject({ code: 2 });
    expect(result.stdout + result.stderr).not.toContain("of root");
    expect(picture()).toEqual(before);
  };
  try {
    for (const name of ["host_key", "secrets.key"]) {
      plant(join(dir, name), join(roots, "secret"));
      await refused("backup", join(roots, `${name}.backup`));
      expect(existsSync(join(roots, `${name}.backup`))).toBe(false);
      await redis.kill();
      await refused("restore", good, "--replace");
      await redis.start();
      give(redis.dir);
      rmSync(join(dir, name));
      cpSync(join(kept, name), join(dir, name));
      chmodSync(join(dir, name), 0o600);
      give(dir);
    }
    await redis.kill();
    // What is set aside is renamed as it is; what it leads to stays.
    plant(redis.appendOnlyDir, join(roots, "tree"));
    for (const name of ["host_key.new", "secrets.key.new"]) {
      plant(join(dir, name), join(roots, "tree/deep/kept"));
    }
    expect((await sky("restore", good, "--replace")).code).toBe(0);
    expect(picture()).toEqual(before);
  } finally {
    rmSync(kept, { recursive: true, force: true });
  }
});

test.skipIf(!isRoot)("--check reads as the account, and waits for nothing that it has put there", async () => {
  expect((await sky("--check")).code).toBe(0);
  plant(join(dir, "host_key"), join(roots, "secret"));
  expect(await sky("--check")).toMatchObject({ code: 2, stderr: expect.stringContaining("EACCES") });
  for (const odd of ["/dev/zero", join(dir, "pipe")]) {
    rmSync(join(dir, "host_key"));
    await run(["mkfifo", join(dir, "pipe")]);
    give(dir);
    symlinkSync(odd, join(dir, "host_key"));
    const result = await sky("--check");
    expect(result, odd).toMatchObject({ code: 2, stderr: expect.stringContaining("is not a file") });
  }
});
