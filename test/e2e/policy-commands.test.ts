/**
 * `sky policy` as an admin and as users type it, with real programs, users and groups: what is applied binds the next
 * launch, is explained to those whom it binds, is tried before and rolled back after, and nobody else can change it. How
 * policies are judged is the engine's tests' to prove; here the commands are.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type {
  AssetsResult,
  DecisionsResult,
  ExceptionsResult,
  PoliciesResult,
  PolicyApplyResult,
  PolicyCheckResult,
  PolicyDiffResult,
  PolicyEffectiveResult,
  PolicyHistoryResult,
  PolicySecretsResult,
} from "../../shared/policy-api.ts";
import { checkout } from "../../scripts/cluster/layout.ts";
import { must, run } from "../help/run.ts";
import { clusterName, plain, type Site, startSite, submit, tell } from "../help/site.ts";
import { sky, skyOk } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

const tag = randomBytes(3).toString("hex");
const adminGroup = `skyadm${tag}`;
const labGroup = `skynlp${tag}`;

let site: Site;
let admin: TestUser;
let alice: TestUser;
let bob: TestUser;

beforeAll(async () => {
  for (const group of [adminGroup, labGroup]) {
    await must(["groupadd", group]);
  }
  const policies = { projects: [{ name: "nlp", group: labGroup, department: "cs" }] };
  site = await startSite({
    ...{ users: 3, accelerators: "V100:4,-" },
    coordinatorConfig: { admin_group: adminGroup, policies },
  });
  [admin, alice, bob] = site.users as [TestUser, TestUser, TestUser];
  await must(["usermod", "-aG", adminGroup, admin.name]);
  await must(["usermod", "-aG", labGroup, alice.name]);
  await until(async () => (await sky(admin, ["admin", "nodes"])).code === 0, "the admin to be one", 60_000);
  await until(async () => (await effective(alice)).projects.includes("nlp"), "alice's groups", 60_000);
});
afterAll(async () => {
  await site?.stop();
  for (const group of [adminGroup, labGroup]) {
    await run(["groupdel", group]);
  }
});
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

function write(user: TestUser, name: string, text: string): void {
  writeFileSync(join(user.home, name), text);
}

/** What a command prints with `-o json`. */
async function shown<T>(user: TestUser, words: string[]): Promise<T> {
  return JSON.parse(await skyOk(user, ["policy", ...words, "-o", "json"])) as T;
}

function effective(user: TestUser): Promise<PolicyEffectiveResult> {
  return shown(user, ["explain", "training", "-c", clusterName]);
}

const first = `apiVersion: policy/v1
kind: WorkloadPolicy
metadata: {name: first, owner: ops, description: one device each}
target: {scope: project, id: nlp, workloads: [training]}
spec:
  defaults:
    environmentVariables:
      instances: [{name: TEAM, value: nlp}]
  rules:
    compute:
      gpuDevicesRequest: {max: 1}   # as it was typed
`;
const two = "name: big\nresources: {accelerators: V100:2}\nrun: sleep 1\n";
const refusal = "compute.gpuDevicesRequest: must be no greater than 1 (asked: 2)";

async function launchTwo(user: TestUser): Promise<{ code: number | null; text: string }> {
  const { code, stdout, stderr } = await sky(user, ["launch", "-c", clusterName, "-y", "-d", "train.yaml"]);
  return { code, text: plain(stdout + stderr) };
}

test("a policy from its file to its end: dry run, apply, list, get, refusal, check, explain, diff, history, rollback", async () => {
  for (const user of [admin, alice, bob]) {
    write(user, "train.yaml", two);
  }
  write(admin, "first.yaml", first);
  expect(await submit(alice, ["train.yaml"])).toBe(1);
  const tried = plain(await skyOk(admin, ["policy", "apply", "-f", "first.yaml", "--dry-run"]));
  expect(tried).toContain("Policy first is valid; nothing was saved.");
  expect((await shown<PoliciesResult>(admin, ["list"])).policies.map(({ name }) => name)).not.toContain("first");
  const differs = await shown<PolicyDiffResult>(admin, ["diff", "-f", "first.yaml"]);
  expect(differs.changed).toMatchObject([{ user: alice.name, job_id: 1, before: "accepted", after: "rejected" }]);

  expect(plain(await skyOk(admin, ["policy", "apply", "-f", "first.yaml"]))).toContain(
    "Policy first is saved (rev 1).",
  );
  expect(await skyOk(alice, ["policy", "get", "first"])).toBe(first);
  expect(plain(await skyOk(alice, ["policy", "get", "first", "--grades"]))).toMatch(/gpuDevicesRequest +scheduled/);
  expect(plain(await skyOk(alice, ["policy"]))).toMatch(/first +training +project nlp +enforce +1 +ops/);
  const notBobs = await shown<PoliciesResult>(bob, ["list"]);
  expect(notBobs.policies.map(({ name }) => name)).not.toContain("first");
  expect((await sky(bob, ["policy", "get", "first"])).code).toBe(1);

  const refused = await launchTwo(alice);
  expect(refused.code).toBe(1);
  expect(refused.text).toContain(`User request rejected by policy: 1 violation\n${refusal}`);
  expect(refused.text).toContain("See: sky policy explain training --project nlp");
  expect(refused.text).not.toMatch(/^ +at /m);
  expect((await launchTwo(bob)).code).toBe(0);

  const checked = await sky(alice, ["policy", "check", "--task", "train.yaml"]);
  expect([checked.code, plain(checked.stdout)]).toEqual([
    1,
    expect.stringContaining("Refused (training, project nlp)."),
  ]);
  expect(plain(checked.stdout)).toContain("must be no greater than 1 [first, project nlp, rev 1]");
  const ofBob = await shown<PolicyCheckResult>(admin, ["check", "--task", "train.yaml", "--user", bob.name]);
  expect(ofBob).toMatchObject({ accepted: true, project: null, violations: [] });
  const why = plain(
    await skyOk(alice, ["policy", "explain", "training.compute.gpuDevicesRequest", "--project", "nlp"]),
  );
  expect(why).toMatch(/NOW \(\S+, project nlp\):\nFIELD +RULE +VALUE +BY\ncompute.gpuDevicesRequest +max +1 +first@1/);

  write(admin, "first.yaml", first.replace("max: 1", "max: 3"));
  const [changed] = await shown<PolicyApplyResult[]>(admin, ["apply", "-f", "first.yaml"]);
  expect(changed).toMatchObject({ name: "first", revision: 2, changed: true, saved: true });
  expect((await launchTwo(alice)).code).toBe(0);
  expect(plain(await skyOk(admin, ["policy", "rollback", "first", "1"]))).toContain("Policy first is saved (rev 3).");
  const { revisions } = await shown<PolicyHistoryResult>(admin, ["history", "first"]);
  expect(revisions.map(({ revision, what, by }) => [revision, what, by])).toEqual([
    [3, "rolled back", admin.name],
    [2, "changed", admin.name],
    [1, "created", admin.name],
  ]);
  expect((await launchTwo(alice)).text).toContain(refusal);
  expect(await skyOk(admin, ["policy", "get", "first", "--revision", "2"])).toContain("max: 3");
});

test("an exception lets its subject pass until it ends, and stays in sight", async () => {
  const add = ["policy", "exception", "add", "first", "--for", `user:${alice.name}`];
  await skyOk(admin, [...add, "--until", "+14d", "-r", "paper deadline", "--owner", "ops"]);
  const passed = await launchTwo(alice);
  expect([passed.code, passed.text]).toEqual([0, expect.stringContaining("Exception e1 lets this pass")]);
  await skyOk(admin, ["policy", "exception", "remove", "e1"]);
  expect((await launchTwo(alice)).code).toBe(1);
  await skyOk(admin, [...add, "--until", "+25s", "-r", "short"]);
  await until(async () => (await exceptions())[0]?.expired === true, "the exception to expire", 90_000);
  expect((await launchTwo(alice)).text).toContain(refusal);
  expect(plain(await skyOk(admin, ["policy", "exception"]))).toContain("short");
});

async function exceptions(): Promise<ExceptionsResult["exceptions"]> {
  return (await shown<ExceptionsResult>(admin, ["exception", "list"])).exceptions;
}

test("the log has every decision with its policy; a user sees their own", async () => {
  const own = (await shown<DecisionsResult>(alice, ["log"])).decisions;
  expect(new Set(own.map(({ user }) => user))).toEqual(new Set([alice.name]));
  expect(own.map(({ outcome }) => outcome)).toEqual(expect.arrayContaining(["rejected", "excepted", "accepted"]));
  const [newest] = (await shown<DecisionsResult>(admin, ["log", "--outcome", "rejected", "--limit", "1"])).decisions;
  expect(newest).toMatchObject({ user: alice.name, project: "nlp", by: "workload policy", kind: "training" });
  expect(newest?.policies).toContain("first@3");
  expect(newest?.violations).toMatchObject([{ field: "compute.gpuDevicesRequest", rule: "max", value: 2, limit: 1 }]);
  const table = plain(await skyOk(admin, ["policy", "log", "--outcome", "rejected"]));
  expect(table).toContain("compute.gpuDevicesRequest: must be no greater than 1");
});

test("assets and secrets: kept, listed without values, and taken away", async () => {
  write(admin, "datasets.yaml", "id: datasets\nfield: storage.hostPath\nspec: {path: /srv/data, mountPath: /data}\n");
  write(admin, "password", "s3cret-value\n");
  await skyOk(admin, ["policy", "asset", "set", "-f", "datasets.yaml"]);
  expect((await shown<AssetsResult>(admin, ["asset"])).assets).toMatchObject([{ id: "datasets", imposed_by: [] }]);
  await skyOk(admin, ["policy", "asset", "delete", "datasets"]);
  await skyOk(admin, ["policy", "secret", "set", "my-secret", "password", "--file", "./password", "--project", "nlp"]);
  const listed = await skyOk(admin, ["policy", "secret", "-o", "json"]);
  expect((JSON.parse(listed) as PolicySecretsResult).secrets).toEqual([
    { project: "nlp", name: "my-secret", keys: ["password"] },
  ]);
  expect(listed).not.toContain("s3cret-value");
  await skyOk(admin, ["policy", "secret", "delete", "my-secret", "--project", "nlp"]);
  expect((await shown<PolicySecretsResult>(admin, ["secret"])).secrets).toEqual([]);
});

test("what admins do is refused to others by the name of the group, and changes nothing", async () => {
  for (const name of ["first.yaml", "asset.yaml", "value"]) {
    write(alice, name, name === "asset.yaml" ? "{id: a, field: storage.nfs, spec: {path: /x}}\n" : first);
  }
  const verbs = [
    ["apply", "-f", "first.yaml"],
    ["apply", "-f", "first.yaml", "--dry-run"],
    ["diff", "-f", "first.yaml"],
    ["rollback", "first", "2"],
    ["history", "first"],
    ["delete", "first", "-y"],
    ["exception"],
    ["exception", "add", "first", "--for", `user:${alice.name}`, "--until", "+1d", "-r", "please"],
    ["asset"],
    ["asset", "set", "-f", "asset.yaml"],
    ["secret"],
    ["secret", "set", "mine", "key", "--file", "value"],
    ["check", "--task", "train.yaml", "--user", bob.name],
  ];
  for (const verb of verbs) {
    const refused = await sky(alice, ["policy", ...verb]);
    expect([verb.join(" "), refused.code]).toEqual([verb.join(" "), 1]);
    expect(plain(refused.stderr)).toContain(`members of the group '${adminGroup}'`);
  }
  expect((await shown<PolicyHistoryResult>(admin, ["history", "first"])).revisions.length).toBe(3);
});

test("cases and checks need no cluster, and the end of a policy is the end of its rules", async () => {
  const nowhere = join(alice.home, "nowhere");
  mkdirSync(nowhere);
  const env = { HOME: nowhere };
  const passed = await sky(alice, ["policy", "test", "examples/policies-declared"], { env, cwd: checkout });
  expect([passed.code, passed.stdout]).toEqual([0, expect.stringMatching(/\n\d+ passed, 0 failed\n$/)]);
  const offline = await sky(alice, ["policy", "check", "-f", "first.yaml", "--task", "train.yaml"], { env });
  expect([offline.code, plain(offline.stdout)]).toEqual([1, expect.stringContaining("must be no greater than 1")]);
  const [asked, unasked] = [
    await sky(admin, ["policy", "delete", "first"]),
    await sky(admin, ["policy", "delete", "first", "-y"]),
  ];
  expect([asked.code, unasked.code]).toEqual([1, 0]);
  expect((await launchTwo(alice)).code).toBe(0);
});
