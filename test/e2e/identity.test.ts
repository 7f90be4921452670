/**
 * A job is its user's login: the same name, groups, home, umask, limits. Users count their jobs each from 1 and reach
 * only their own. Root and nobody are refused.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { must, run } from "../help/run.ts";
import { register, runAs, sky, skyOk } from "../help/sky.ts";
import {
  clusterName,
  jobLines,
  plain,
  queueOf,
  type Site,
  startSite,
  statusOf,
  submit,
  untilStatus,
} from "../help/site.ts";
import { processesOf, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let ada: TestUser;
let bob: TestUser;
const group = "skytestgroup";

beforeAll(async () => {
  await run(["groupadd", "--force", group]);
  site = await startSite({ users: 2 });
  [ada, bob] = site.users as [TestUser, TestUser];
  await must(["usermod", "--append", "--groups", group, ada.name]);
});
afterAll(async () => {
  await site?.stop();
  await run(["groupdel", group]);
});

const facts = "whoami; id -u; id -Gn; umask; ulimit -a; echo $HOME; pwd; echo $LOGNAME $USER $SHELL";

async function factsByJob(user: TestUser, file: string): Promise<string> {
  // Into a file, so that the comparison is byte by byte. A job's folder is ~/sky_workdir, a login's the home.
  const result = await sky(user, ["exec", clusterName, "--", `cd; { ${facts}; } > ~/${file} 2>&1`]);
  expect(result.code, result.stdout + result.stderr).toBe(0);
  return readFileSync(join(user.home, file), "utf8");
}

test("name, groups, umask, limits and home are those of a login by su and by ssh", async () => {
  writeHomeFile(ada, ".profile", "umask 027\nulimit -S -n 512\n");
  const job = await factsByJob(ada, "facts.job");
  const su = await must(["su", "--login", ada.name, "-c", `{ ${facts}; } 2>&1`]);
  expect(job).toBe(su);
  expect(job).toContain(group);
  expect(job.split("\n")[3]).toBe("0027");

  const plainJob = await factsByJob(bob, "facts.job");
  const target = ["-p", String(site.sshd.port), `${bob.name}@127.0.0.1`];
  const login = await runAs(bob, ["ssh", "-o", "BatchMode=yes", ...target, `{ ${facts}; } 2>&1`]);
  expect(plainJob).toBe(login.stdout);
});

test("files that a job makes belong to the user", async () => {
  await skyOk(ada, ["exec", clusterName, "--", "touch ~/made-by-job"]);
  expect((await must(["stat", "-c", "%U:%G", join(ada.home, "made-by-job")])).trim()).toBe(`${ada.name}:${ada.name}`);
});

test("nothing of the daemons' environment reaches a job", async () => {
  const result = await sky(bob, ["exec", clusterName, "--", "env"]);
  const names = jobLines(result.stdout).map((line) => line.split("=")[0]);
  expect(names).not.toContain("SUDO_COMMAND");
  expect(names).not.toContain("SUDO_USER");
  expect(names).not.toContain("NODE_OPTIONS");
});

test("both have their own numbers, and see and cancel only their own", async () => {
  const first = await startSite({ users: 2, accelerators: "-" });
  try {
    const [one, two] = first.users as [TestUser, TestUser];
    const ids = await Promise.all([one, two].map((user) => submit(user, ["--", "sleep 1000"])));
    expect(ids).toEqual([1, 1]);
    await Promise.all([one, two].map((user) => untilStatus(user, 1, "RUNNING")));
    await submit(two, ["-n", "second", "--", "sleep 1000"]);
    expect([...(await queueOf(one)).keys()]).toEqual([1]);
    expect(new Set((await queueOf(two)).keys())).toEqual(new Set([1, 2]));
    expect((await sky(one, ["logs", clusterName, "2"])).code).toBe(102);

    await sky(one, ["cancel", clusterName, "2", "-y"]);
    await untilStatus(two, 2, "RUNNING");
    await skyOk(one, ["cancel", clusterName, "1", "-y"]);
    await untilStatus(one, 1, "CANCELLED");
    expect(await statusOf(two, 1)).toBe("RUNNING");

    // Down ends everything of one user, skylets too, and nothing of the other.
    await submit(one, ["--", "sleep 1000"]);
    await untilStatus(one, 2, "RUNNING");
    await skyOk(one, ["down", clusterName, "-y"]);
    expect(plain(await skyOk(one, ["status"]))).toMatch(new RegExp(`\\n${clusterName} +- +-`));
    await expect.poll(() => processesOf(one.uid), { timeout: 20_000 }).toEqual([]);
    expect(await statusOf(two, 1)).toBe("RUNNING");
    expect(await statusOf(two, 2)).toBe("RUNNING");
  } finally {
    await first.stop();
  }
});

test("root is refused, with the reason", async () => {
  const home = mkdtempSync("/tmp/sky-root-");
  chmodSync(home, 0o755);
  const root: TestUser = { name: "root", uid: 0, gid: 0, home, key: "~/.ssh/id_ed25519" };
  try {
    await must(["mkdir", "-p", join(home, ".ssh")]);
    register(root, site.cluster, null);
    const result = await sky(root, ["launch", "-c", clusterName, "-y", "--", "true"]);
    expect(result.code).toBe(1);
    expect(plain(result.stderr)).toMatch(/root.*(not allowed|system account)/s);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
