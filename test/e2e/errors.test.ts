/**
 * Things that go wrong at sites. Each message names the machine, the cause and the way out, shows no stack, and leaves
 * nothing half-done.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { must, run } from "../help/run.ts";
import { register, sky, skyOk } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { freePort, startSshd } from "../help/sshd.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite();
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

/** Runs `sky queue lab`, which must fail with a readable text. */
async function failure(args: string[] = ["queue", clusterName]): Promise<string> {
  const result = await sky(user, args);
  const text = plain(result.stderr);
  expect(result.code, result.stdout).toBe(1);
  expect(text).not.toMatch(/^\s+at /m);
  expect(text.trim()).not.toBe("");
  return text;
}

describe("the way to the head", () => {
  test("nothing listens there", async () => {
    register(user, site.cluster, { ...site.sshd, port: await freePort() });
    const text = await failure();
    register(user, site.cluster, site.sshd);
    expect(text).toContain("127.0.0.1");
    expect(text).toMatch(/refused/i);
  });

  test("a key that the head does not know", async () => {
    const key = join(user.home, ".ssh/id_ed25519");
    const old = readFileSync(key);
    await must(["rm", key, `${key}.pub`]);
    await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
    await must(["chown", `${user.uid}:${user.gid}`, key]);
    const text = await failure();
    writeFileSync(key, old);
    expect(text).toContain("127.0.0.1");
    expect(text).toContain(user.name);
    expect(text).toMatch(/key/i);
  });

  test("another host key than the one that is known", async () => {
    const other = await startSshd();
    try {
      const known = join(user.home, ".ssh/known_hosts");
      writeFileSync(known, `[127.0.0.1]:${site.sshd.port} ${other.hostKey}\n`);
      const text = await failure();
      expect(text).toMatch(/host key/i);
      expect(text).toContain("known_hosts");
    } finally {
      await other.stop();
      register(user, site.cluster, site.sshd);
    }
  });

  test("an unknown host key is asked for; no answer is no", async () => {
    await must(["rm", join(user.home, ".ssh/known_hosts")]);
    const text = await failure();
    register(user, site.cluster, site.sshd);
    expect(text).toMatch(/host key/i);
  });

  test("no such user on the head", async () => {
    const file = join(user.home, ".sky/local", `${clusterName}.yml`);
    const old = readFileSync(file, "utf8");
    writeFileSync(file, old.replace(/ssh_user: .*/, "ssh_user: nosuchuser"));
    const text = await failure();
    writeFileSync(file, old);
    expect(text).toContain("nosuchuser");
  });

  test("an sshd that forbids forwarding: the gate is used instead", async () => {
    const strict = await startSshd(["DisableForwarding yes"]);
    try {
      register(user, site.cluster, strict);
      const result = await sky(user, ["exec", clusterName, "--", "echo through the gate"]);
      expect(jobLines(result.stdout), result.stderr).toEqual(["through the gate"]);
    } finally {
      await strict.stop();
      register(user, site.cluster, site.sshd);
    }
  });
});

describe("the cluster", () => {
  test("the coordinator is down", async () => {
    await site.cluster.kill("coordinator");
    const text = await failure();
    expect(text).toContain("127.0.0.1");
    expect(text).toMatch(/coordinator/i);
    site.cluster.startPart("coordinator");
    await site.cluster.ready();
    await skyOk(user, ["queue", clusterName]);
  });

  test("Redis is down: said, nothing half-done, and it goes on by itself afterwards", async () => {
    const before = (await queueOf(user)).size;
    await site.cluster.kill("redis");
    const text = await failure(["exec", clusterName, "--", "true"]);
    expect(text).toMatch(/redis|store/i);
    site.cluster.startPart("redis");
    await site.cluster.ready();
    expect((await queueOf(user)).size).toBe(before);
    expect((await sky(user, ["exec", clusterName, "--", "true"])).code).toBe(0);
  });

  test("a node is away: its jobs wait, with the reason", async () => {
    await site.cluster.kill("agent:n1");
    await site.cluster.kill("agent:n2");
    await until(
      async () => /UNREACHABLE/.test((await sky(user, ["gpus", "list"])).stdout),
      "the node to count as away",
    );
    const id = await submit(user, ["--gpus", "V100:4", "--", "true"]);
    const row = (await queueOf(user)).get(id);
    expect(row?.status).toBe("PENDING");
    expect(row?.reason).toMatch(/n1|n2|reach/);
    site.cluster.startPart("agent:n1");
    site.cluster.startPart("agent:n2");
    await site.cluster.ready();
    await untilStatus(user, id, "SUCCEEDED");
  });

  test("a task file that is no YAML, is missing, or is too large", async () => {
    const file = join(user.home, "bad.yaml");
    writeFileSync(file, "run: [\n");
    expect(await failure(["launch", "-c", clusterName, "-y", file])).toContain("bad.yaml");
    expect(await failure(["launch", "-c", clusterName, "-y", join(user.home, "none.yaml")])).toContain("none.yaml");
    writeFileSync(file, `run: echo ${"x".repeat(9 * 1024 * 1024)}\n`);
    expect(await failure(["launch", "-c", clusterName, "-y", file])).toMatch(/MB|large/);
  });
});

describe("a full disk", () => {
  let full: Site;
  let owner: TestUser;
  /** The user's home on their own machine; the account's home is the one on the node. */
  let laptop: string;

  beforeAll(async () => {
    full = await startSite({ accelerators: "-", initialized: false });
    owner = full.users[0] as TestUser;
    laptop = (await must(["mktemp", "-d", "/tmp/sky-home-XXXXXX"])).trim();
    await must(["cp", "-a", `${owner.home}/.`, laptop]);
    const options = `size=16m,mode=755,uid=${owner.uid},gid=${owner.gid}`;
    await must(["mount", "-t", "tmpfs", "-o", options, "skytest", owner.home]);
    await must(["cp", "-a", `${laptop}/.`, owner.home]);
    await skyOk(owner, ["launch", "-c", clusterName, "", "-y"], { env: { HOME: laptop } });
    await skyOk(owner, ["launch", "-c", clusterName, "", "-y"]);
    expect((await sky(owner, ["exec", clusterName, "--", "true"])).code).toBe(0);
  });
  beforeEach(async () => {
    await run(["dd", "if=/dev/zero", `of=${owner.home}/filler`, "bs=64k"]);
  });
  afterEach(async () => {
    await must(["rm", "-f", `${owner.home}/filler`]);
    expect((await sky(owner, ["exec", clusterName, "--", "true"])).code).toBe(0);
  });
  afterAll(async () => {
    await full?.cluster.stop();
    await until(async () => (await run(["umount", owner.home])).code === 0, "the home to be unmounted");
    await must(["rm", "-rf", laptop]);
    await full.stop();
  });

  test("in the home on a node: the job fails with the cause", async () => {
    const args = ["exec", clusterName, "--", "echo hi"];
    const result = await sky(owner, args, { limitMs: 90_000, env: { HOME: laptop } });
    const text = plain(result.stdout + result.stderr);
    expect(result.code, text).toBe(100);
    const rows = await skyOk(owner, ["queue", clusterName], { env: { HOME: laptop } });
    expect(plain(rows) + text).toMatch(/no space|disk|ENOSPC|full/i);
  });

  test("in the home of one's own machine: the job is sent all the same, and what was not kept is said", async () => {
    const result = await sky(owner, ["exec", clusterName, "-d", "--", "true"], { limitMs: 90_000 });
    expect(result.code, result.stderr).toBe(0);
    expect(plain(result.stdout)).toMatch(/Job submitted, ID: \d+/);
    expect(plain(result.stderr)).toContain(`Cannot write ${owner.home}/.sky/onprem/state.json: ENOSPC`);
  });

  test("in the home of one's own machine: down ends the jobs, and says what could not be forgotten", async () => {
    await must(["rm", `${owner.home}/filler`]);
    const id = await submit(owner, ["--", "sleep 1000"]);
    await untilStatus(owner, id, "RUNNING");
    await run(["dd", "if=/dev/zero", `of=${owner.home}/filler`, "bs=64k"]);
    const result = await sky(owner, ["down", clusterName, "-y"], { limitMs: 90_000 });
    expect(result.code, result.stdout).toBe(1);
    expect(plain(result.stderr)).toContain(`Cannot write ${owner.home}/.sky/onprem/state.json: ENOSPC`);
    expect(plain(result.stderr)).toContain(`Cluster ${clusterName} still counts as initialized on this machine.`);
    await untilStatus(owner, id, "CANCELLED");
  });
});
