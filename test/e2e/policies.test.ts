/**
 * Declared policies with real programs and real users: what an admin saves binds whoever sends a job, whatever way it
 * comes; a user who wishes ill finds none around it. What policies set reaches the job, and a project's secret reaches it
 * and nothing else.
 */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ask, change } from "../help/policy-calls.ts";
import { must, run } from "../help/run.ts";
import { sky, skyOk } from "../help/sky.ts";
import { clusterName, plain, queueOf, type Site, startSite, submit, tell, untilStatus } from "../help/site.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

const tag = randomBytes(3).toString("hex");
const adminGroup = `skyadm${tag}`;
const nlpGroup = `skynlp${tag}`;
const visionGroup = `skyvis${tag}`;
/** Drawn: this file itself is among what is searched. */
const password = `canary-${randomBytes(12).toString("hex")}`;
const typed = `typed-${randomBytes(12).toString("hex")}`;

let site: Site;
let admin: TestUser;
let alice: TestUser;
let eve: TestUser;
let api = "";

const rules = `
defaults:
  environmentVariables:
    instances: [{name: TEAM, value: lab-team}]
rules:
  environmentVariables:
    instances: {locked: [TEAM]}
  compute:
    gpuDevicesRequest: {max: 1}
`;
const kinds = ["training", "distributed", "workspace"];

beforeAll(async () => {
  for (const group of [adminGroup, nlpGroup, visionGroup]) {
    await must(["groupadd", group]);
  }
  const projects = [
    { name: "nlp", group: nlpGroup, department: "cs" },
    { name: "vision", group: visionGroup },
    { name: "ghost", group: `nosuch${tag}` },
  ];
  site = await startSite({
    ...{ users: 3, accelerators: "V100:4,-" },
    coordinatorConfig: { admin_group: adminGroup, policies: { projects } },
  });
  [admin, alice, eve] = site.users as [TestUser, TestUser, TestUser];
  await must(["usermod", "-aG", adminGroup, admin.name]);
  await must(["usermod", "-aG", nlpGroup, alice.name]);
  await must(["usermod", "-aG", visionGroup, eve.name]);
  // Groups are remembered for half a minute.
  await site.cluster.kill("coordinator");
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
  api = site.cluster.socket;
  await change(admin, api, "apply", { text: rules, name: "limits", scope: "cluster", workloads: kinds });
  const nlp = "rules: {compute: {gpuDevicesRequest: {max: 0}}}";
  await change(admin, api, "apply", {
    text: nlp,
    name: "no-gpus",
    scope: "project",
    scope_id: "nlp",
    workloads: kinds,
  });
});
afterAll(async () => {
  await site?.stop();
  for (const group of [adminGroup, nlpGroup, visionGroup]) {
    await run(["groupdel", group]);
  }
});
beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => await tell(site));
});

test("a project whose group nobody knows is a warning in the coordinator's log", () => {
  expect(site.cluster.log("coordinator")).toMatch(/"project":"ghost".*no such group/);
});

test("no way of sending a job leads around a policy, and nothing is queued", async () => {
  writeHomeFile(eve, "two.yaml", "resources: {accelerators: V100:2}\nrun: 'true'\n");
  writeHomeFile(eve, "plain.yaml", "run: 'true'\n");
  const rejected = "User request rejected by policy: 1 violation";
  const max = "compute.gpuDevicesRequest: must be no greater than 1 (asked: 2)";
  const locked = /environmentVariables\[TEAM\]\S* .*locked by the policy/;
  const own = "admin_policy=null";
  const ways: [string[], string | RegExp][] = [
    [["launch", "-y", "-d", "two.yaml"], max],
    [["launch", "-y", "-d", "--dryrun", "two.yaml"], max],
    [["exec", "-d", "two.yaml"], max],
    [["exec", "-d", "--gpus", "V100:2", "--", "true"], max],
    [["launch", "-y", "-d", "--gpus", "V100:2", "plain.yaml"], max],
    [["launch", "-y", "-d", "--config", own, "two.yaml"], max],
    [["launch", "-y", "-d", "--env", "TEAM=mine", "plain.yaml"], locked],
    [["launch", "-y", "-d", "--secret", "TEAM=mine", "plain.yaml"], locked],
  ];
  for (const [[verb = "", ...args], text] of ways) {
    const refused = await sky(eve, [verb, "-c", clusterName, ...args]);
    const said = plain(refused.stderr + refused.stdout);
    expect([args.join(" "), refused.code, said]).toEqual([
      args.join(" "),
      1,
      typeof text === "string" ? expect.stringContaining(text) : expect.stringMatching(text),
    ]);
    expect(said).toContain(rejected);
    expect(said).toContain("See: sky policy explain training --project vision");
  }
  expect([...(await queueOf(eve)).keys()]).toEqual([]);
});

test("nor does a body of one's own making, another's project, another kind, a second way, or SkyPilot's client", async () => {
  const two = "resources: {accelerators: V100:2}\nrun: 'true'\n";
  const smuggled = {
    ...{ policies: [], policy: null, admin_policy: null, mode: "audit", project: "ghost", uid: 0, user: "root" },
    ...{ exceptions: ["e1"], validateOnly: true, workload: { project: "ghost" }, launchSpec: {} },
  };
  const config = { policies: { projects: [] }, admin_policy: "x", docker: { run_options: ["-e", "TEAM=mine"] } };
  const python = { "user-agent": "python-requests/2.32", "x-skypilot-api-version": "56" };
  const send = (task: string, body: object = {}, headers = {}, path = "/launch") =>
    ask(eve, api, "POST", path, { task, dag: task, cluster_name: clusterName, ...body }, headers);
  const rejected = "UserRequestRejectedByPolicy: User request rejected by policy";
  const refusals: [Promise<{ error: string }>, string | RegExp][] = [
    [send(two, smuggled), rejected],
    [send(two, { override_skypilot_config: config }), rejected],
    [send(two, {}, {}, "/exec"), rejected],
    [send(two, {}, {}, "/optimize"), rejected],
    [send(two, {}, {}, "/validate"), rejected],
    [send(two, {}, python), rejected],
    [send(`num_nodes: 2\nworkload: {kind: workspace}\n${two}`), /./],
    [send(`workload: {kind: inference}\n${two}`), /./],
    [send(`workload: {project: nlp}\n${two}`), "PermissionDeniedError: Project 'nlp' is none of"],
    [send(`workload: {project: ghost}\n${two}`), "PermissionDeniedError: Project 'ghost' is none of"],
    [
      send("resources: {any_of: [{cpus: 1}, {accelerators: V100:2}]}\nrun: 'true'\n"),
      "any_of[1] compute.gpuDevicesRequest",
    ],
    [send("resources: {accelerators: {V100: 2}}\nrun: 'true'\n"), rejected],
    [send("num_nodes: 2\nresources: {accelerators: V100:2}\nrun: 'true'\n"), rejected],
    [send("envs: {TEAM: lab-team, X: y}\nsecrets: {TEAM: mine}\nrun: 'true'\n"), /./],
  ];
  for (const [at, [sent, text]] of refusals.entries()) {
    const { error } = await sent;
    expect([at, error]).toEqual([
      at,
      typeof text === "string" ? expect.stringContaining(text) : expect.stringMatching(text),
    ]);
  }
  expect([...(await queueOf(eve)).keys()]).toEqual([]);
});

test("the same task binds others by their own project, and its message names the narrower rule", async () => {
  const one = "resources: {accelerators: V100:1}\nrun: 'true'\n";
  const refused = await ask(alice, api, "POST", "/launch", { task: one, cluster_name: clusterName });
  expect(refused.error).toContain("compute.gpuDevicesRequest: must be no greater than 0 (asked: 1)");
  expect(refused.error).toContain("See: sky policy explain training --project nlp");
});

test("what a policy sets reaches the job, and its submitter is told", async () => {
  writeHomeFile(eve, "one.yaml", "resources: {accelerators: V100:1}\nrun: echo team is $TEAM\n");
  const told = plain(await skyOk(eve, ["launch", "-c", clusterName, "-y", "one.yaml"]));
  expect(told).toContain("Policy 'limits' sets environmentVariables[TEAM]");
  expect(told).toContain("team is lab-team");
});

test("a project's secret reaches the job of that project, and lies nowhere in the clear", async () => {
  const body = { project: "nlp", name: "db", values: { password } };
  await change(admin, api, "secrets/set", body);
  const task = `envs: {DB: "SECRET:db,password", TYPED: ${typed}}\nrun: |\n  echo "has $\{#DB} characters"\n  test "$DB" = "$(cat ~/expected)" && echo it is the one\n`;
  writeHomeFile(alice, "expected", password, 0o600);
  writeHomeFile(alice, "secret.yaml", task);
  const shown = plain(await skyOk(alice, ["launch", "-c", clusterName, "-y", "secret.yaml"]));
  expect(shown).toContain(`has ${password.length} characters`);
  expect(shown).toContain("it is the one");
  const entries = readdirSync(site.cluster.dir, { recursive: true, withFileTypes: true });
  // The head's files; those of nodes come and go with their jobs.
  const kept = entries.filter((entry) => entry.isFile() && !entry.parentPath.includes("/nodes"));
  const texts = kept.map((entry) => [entry.name, readFileSync(join(entry.parentPath, entry.name), "latin1")] as const);
  expect(texts.some(([name]) => /^\d{4}-\d{2}\.jsonl$/.test(name))).toBe(true);
  expect(texts.filter(([, text]) => text.includes(password) || text.includes(typed)).map(([name]) => name)).toEqual([]);
  const listed = await ask(admin, api, "GET", "/onprem/policies/secrets");
  expect(listed.value).toEqual({ secrets: [{ project: "nlp", name: "db", keys: ["password"] }] });
});

test("a secret that is not there, or another project's, ends the job at its start with a sentence", async () => {
  writeHomeFile(alice, "missing.yaml", 'envs: {MYPASSWORD: "SECRET:my-secret,password"}\nrun: echo never\n');
  const missing = await submit(alice, ["missing.yaml"], "launch");
  await untilStatus(alice, missing, "FAILED_DRIVER");
  const why = async (user: TestUser, id: number): Promise<string> => (await queueOf(user)).get(id)?.reason ?? "";
  expect(await why(alice, missing)).toContain('MYPASSWORD: secret "my-secret" has no key "password"');
  writeHomeFile(eve, "other.yaml", 'envs: {DB: "SECRET:db,password"}\nrun: echo never\n');
  const other = await submit(eve, ["other.yaml"], "launch");
  await untilStatus(eve, other, "FAILED_DRIVER");
  expect(await why(eve, other)).toContain('DB: secret "db" has no key "password"');
});
