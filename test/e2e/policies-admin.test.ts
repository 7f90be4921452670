/**
 * Policies as admins use them, with real programs and users: revisions survive a kill of the coordinator, a roll back
 * counts at once, exceptions expire by themselves, warnings and audits let pass, every decision is in the log, and what
 * is damaged in the store refuses new jobs and leaves running ones alone. Ordinary users see what binds them.
 */
import { randomBytes, randomInt } from "node:crypto";
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { pathsOf } from "../../scripts/cluster/layout.ts";
import type {
  Decision,
  DecisionsResult,
  PoliciesResult,
  PolicyApplyResult,
  PolicyDiffResult,
  PolicyGetResult,
  PolicyHistoryResult,
} from "../../shared/policy-api.ts";
import { ask, change } from "../help/policy-calls.ts";
import { must, run } from "../help/run.ts";
import { clusterName, queueOf, type Site, startSite, statusOf, tell, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

const tag = randomBytes(3).toString("hex");
const adminGroup = `skyadm${tag}`;
const nlpGroup = `skynlp${tag}`;
const sleeper = `sleep ${randomInt(100_000, 1_000_000)}`;

let site: Site;
let admin: TestUser;
let alice: TestUser;
let eve: TestUser;
let api = "";

/** Bytes that a careless writer would change. */
const strict = "# für alle\nrules:\n  compute: {gpuDevicesRequest: {max: 1}}  #\tso ist es";
const place = { name: "limits", scope: "cluster", workloads: ["training"] };
const two = "name: big\nresources: {accelerators: V100:2}\nrun: 'true'\n";
const one = "name: small\nresources: {accelerators: V100:1}\nrun: 'true'\n";
const lasting = (task: string): string => task.replace("'true'", sleeper);

beforeAll(async () => {
  for (const group of [adminGroup, nlpGroup]) {
    await must(["groupadd", group]);
  }
  site = await startSite({
    ...{ users: 3, accelerators: "V100:8" },
    coordinatorConfig: {
      admin_group: adminGroup,
      policies: { projects: [{ name: "nlp", group: nlpGroup }, { name: "vision" }] },
    },
  });
  [admin, alice, eve] = site.users as [TestUser, TestUser, TestUser];
  await must(["usermod", "-aG", adminGroup, admin.name]);
  await must(["usermod", "-aG", nlpGroup, alice.name]);
  api = site.cluster.socket;
  // Groups are remembered for half a minute.
  await restartCoordinator();
});
afterAll(async () => {
  await site?.stop();
  for (const group of [adminGroup, nlpGroup]) {
    await run(["groupdel", group]);
  }
});
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

async function restartCoordinator(): Promise<void> {
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
}

async function look<T>(user: TestUser, path: string): Promise<T> {
  const { value, error } = await ask(user, api, "GET", `/onprem/policies${path}`);
  if (error !== "") {
    throw new Error(`${path}: ${error}`);
  }
  return value as T;
}

/** Sends a job; its number, or the refusal. */
async function send(user: TestUser, task: string): Promise<{ id: number | null; error: string; text: string }> {
  const { value, error, text } = await ask(user, api, "POST", "/launch", { task, cluster_name: clusterName });
  return { id: (value as { job_id: number } | null)?.job_id ?? null, error, text };
}

async function newest(user: TestUser): Promise<Decision | undefined> {
  return (await look<DecisionsResult>(user, "/log?limit=1")).decisions[0];
}

const max = "compute.gpuDevicesRequest: must be no greater than 1 (asked: 2)";

test("what would be refused now is told and left alone; the bytes and every revision survive a kill", async () => {
  const { id } = await send(alice, lasting(two));
  await untilStatus(alice, id ?? 0, "RUNNING");
  const replay = await change<PolicyDiffResult>(admin, api, "diff", { text: strict, ...place });
  expect(replay.changed).toMatchObject([{ user: alice.name, project: "nlp", job_id: id, after: "rejected" }]);
  const saved = await change<PolicyApplyResult>(admin, api, "apply", { text: strict, ...place });
  expect(saved.refuses).toMatchObject([{ user: alice.name, job_id: id, violations: [{ rule: "max" }] }]);
  await change(admin, api, "apply", { text: `${strict}\n`, ...place });
  expect((await send(eve, two)).error).toContain(max);
  await restartCoordinator();
  expect((await send(eve, two)).error).toContain(max);
  expect(await look<PolicyGetResult>(admin, "/get?name=limits&revision=1")).toMatchObject({
    text: strict,
    revision: 1,
  });
  const { revisions } = await look<PolicyHistoryResult>(admin, "/history?name=limits");
  expect(revisions).toMatchObject([
    { revision: 2, by: admin.name, what: "changed", text: `${strict}\n` },
    { revision: 1, by: admin.name, what: "created", text: strict },
  ]);
  expect(await statusOf(alice, id ?? 0)).toBe("RUNNING");
});

test("a deletion and a roll back count at once", async () => {
  await change(admin, api, "delete", { name: "limits" });
  const { id, error } = await send(eve, two);
  expect([error, id]).toEqual(["", 1]);
  expect(await change(admin, api, "rollback", { name: "limits", revision: 1 })).toMatchObject({ revision: 4 });
  expect((await send(eve, two)).error).toContain(max);
  expect((await look<PolicyGetResult>(eve, "/get?name=limits")).text).toBe(strict);
});

test("an exception lets pass until its time, expires by itself, and stays in sight", async () => {
  const expires = Date.now() / 1000 + 12;
  const body = { policy: "limits", subjects: [`user:${eve.name}`], owner: "ops", reason: "paper", expires_at: expires };
  const { id } = await change<{ id: string }>(admin, api, "exceptions/add", body);
  await restartCoordinator();
  const sent = await send(eve, two);
  const isOver = Date.now() / 1000 >= expires;
  expect(isOver || sent.error === "").toBe(true);
  if (sent.error === "") {
    expect(await newest(eve)).toMatchObject({ outcome: "excepted", job_id: sent.id, violations: [{ exception: id }] });
  }
  expect((await send(alice, two)).error).toContain(max);
  await until(async () => (await send(eve, two)).error.includes(max), "the exception to expire", 60_000);
  expect(Date.now() / 1000).toBeGreaterThanOrEqual(expires);
  const listed = await look<{ exceptions: unknown[] }>(admin, "/exceptions");
  expect(listed.exceptions).toMatchObject([{ id, owner: "ops", reason: "paper", expired: true }]);
});

test("warn tells the submitter, audit tells the log alone; both let pass", async () => {
  await change(admin, api, "apply", { text: strict, ...place, mode: "warn" });
  const warned = await send(eve, two);
  expect([warned.error, warned.text]).toEqual(["", expect.stringContaining(`Warning of policy 'limits': ${max}`)]);
  expect(await newest(eve)).toMatchObject({ outcome: "warned", job_id: warned.id, violations: [{ rule: "max" }] });
  await change(admin, api, "apply", { text: strict, ...place, mode: "audit" });
  const audited = await send(eve, two);
  expect([audited.error, audited.text.includes("no greater than")]).toEqual(["", false]);
  expect(await newest(eve)).toMatchObject({ outcome: "would have been rejected", job_id: audited.id });
  await change(admin, api, "apply", { text: strict, ...place });
  await send(eve, two);
  expect(await newest(eve)).toMatchObject({ outcome: "rejected", job_id: null, by: "workload policy" });
});

test("ordinary users see what binds them and their own decisions, and change nothing", async () => {
  const mine = { name: "nlp-only", scope: "project", scope_id: "nlp", workloads: ["training"] };
  await change(admin, api, "apply", { text: "rules: {image: {required: false}}", ...mine });
  const names = async (user: TestUser): Promise<string[]> =>
    (await look<PoliciesResult>(user, "")).policies.map(({ name }) => name);
  expect([await names(eve), await names(alice)]).toEqual([
    ["builtin", "limits"],
    ["builtin", "limits", "nlp-only"],
  ]);
  expect((await ask(eve, api, "GET", "/onprem/policies/get?name=nlp-only")).error).toBe(
    "ValueError: There is no policy 'nlp-only'.",
  );
  const own = (await look<DecisionsResult>(eve, "/log")).decisions;
  expect(new Set(own.map(({ user }) => user))).toEqual(new Set([eve.name]));
  const all = (await look<DecisionsResult>(admin, "/log?limit=1000")).decisions;
  expect(new Set(all.map(({ user }) => user))).toEqual(new Set([eve.name, alice.name]));
  const forbidden = [
    "/log?user=root",
    "/effective?kind=training&project=nlp",
    `/effective?kind=train&user=${alice.name}`,
  ];
  for (const path of [...forbidden, "/history?name=limits", "/assets", "/exceptions", "/secrets"]) {
    const { status } = await ask(eve, api, "GET", `/onprem/policies${path}`);
    expect([path, status]).toEqual([path, 403]);
  }
  const changes = ["apply", "delete", "rollback", "diff", "assets/set", "assets/delete"];
  for (const path of [...changes, "exceptions/add", "exceptions/remove", "secrets/set", "secrets/delete"]) {
    const { status, error } = await ask(eve, api, "POST", `/onprem/policies/${path}`, {});
    expect([path, status, error]).toEqual([path, 403, expect.stringContaining(adminGroup)]);
  }
  const other = await ask(eve, api, "POST", "/onprem/policies/check", { task: two, user: alice.name });
  expect(other.error).toContain("PermissionDeniedError");
  const checked = await ask(admin, api, "POST", "/onprem/policies/check", { task: two, user: alice.name });
  expect(checked.value).toMatchObject({ accepted: false, project: "nlp", violations: [{ field: expect.any(String) }] });
});

test("what is damaged in the store refuses new jobs with a sentence, leaves running ones alone, and is mended by saving", async () => {
  const { id } = await send(alice, lasting(one));
  await untilStatus(alice, id ?? 0, "RUNNING");
  await site.cluster.kill("coordinator");
  const redis = new Redis({ path: pathsOf(site.cluster.dir).redisSocket });
  try {
    await redis.hset("sky-policies", "limits", '{"format":1,"name":"limits"');
  } finally {
    redis.disconnect();
  }
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  const refused = await send(eve, one);
  expect(refused.error).toContain("Nothing can be submitted: What is stored of policy 'limits' is damaged.");
  expect(await statusOf(alice, id ?? 0)).toBe("RUNNING");
  const healed = await change<PolicyApplyResult>(admin, api, "apply", { text: strict, ...place });
  // Above every number that it ever had, so that decisions keep their meaning.
  const { revisions } = await look<PolicyHistoryResult>(admin, "/history?name=limits");
  expect(revisions.map(({ revision }) => revision)).toEqual(
    Array.from({ length: healed.revision }, (_, index) => healed.revision - index),
  );
  expect((await send(eve, one)).error).toBe("");
  expect((await send(eve, two)).error).toContain(max);
  expect([...(await queueOf(alice)).values()].filter(({ status }) => status === "RUNNING").length).toBe(2);
});
