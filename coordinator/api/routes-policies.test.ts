/**
 * Policies through the API, over the real loop: saving binds the very next submission whatever way it comes, what is
 * damaged or away refuses, and a request that comes twice changes once. What ordinary users may do: test/e2e.
 */
import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type {
  AssetsResult,
  DecisionsResult,
  ExceptionsResult,
  PoliciesResult,
  PolicyApplyResult,
  PolicyCheckResult,
  PolicyDiffResult,
  PolicyEffectiveResult,
  PolicyGetResult,
  PolicyHistoryResult,
  PolicySecretsResult,
} from "../../shared/policy-api.ts";
import { rootAccount, startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";

const projects = [{ name: "nlp", department: "cs" }, { name: "vision" }];
const policies = { projects };
let cluster: TestCluster;

beforeEach(async () => {
  cluster = await startTestCluster(["one"], { policies });
});
afterEach(() => cluster.close());

/** From here on the caller is in these groups. */
function become(...groups: string[]): void {
  cluster.accounts.set(0, { ...rootAccount, groups });
}

const onlyUbuntu = 'rules:\n  image: {options: ["ubuntu"]}\n  compute: {gpuDevicesRequest: {max: 1}}\n';
const place = { name: "limits", scope: "cluster", workloads: ["training"] };

/** The error of a request that failed; JSON. */
function messageIn(done: { status: string; error: unknown }): string {
  expect(done.status).toBe("FAILED");
  return (JSON.parse(String(done.error)) as { message: string }).message;
}

/** What a request that succeeded has answered. */
async function valueOf<T>(path: string, body: object, of: TestCluster = cluster): Promise<T> {
  const done = await of.result(`/onprem/policies/${path}`, body);
  if (done.status !== "SUCCEEDED") {
    throw new Error(messageIn(done));
  }
  return JSON.parse(done.return_value) as T;
}

async function apply(body: object): Promise<PolicyApplyResult> {
  return valueOf("apply", body);
}

async function launch(
  task: string,
  body: object = {},
): Promise<{ status: string; text: string; jobId: number | null }> {
  const done = await cluster.result("/launch", { task, cluster_name: "lab", ...body });
  const value = JSON.parse(done.return_value) as { job_id: number | null } | null;
  const text = done.status === "FAILED" ? messageIn(done) : "";
  return { status: done.status, text, jobId: value?.job_id ?? null };
}

const twoGpus = "name: big\nresources: {accelerators: V100:2}\nrun: sleep 1000\n";
const oneGpu = "name: small\nresources: {accelerators: V100:1}\nrun: sleep 1000\n";

async function read<T>(path: string): Promise<T> {
  const reply = await cluster.call("GET", `/onprem/policies${path}`);
  expect([path, reply.status, reply.text.slice(0, 300)]).toEqual([path, 200, expect.any(String)]);
  return reply.json as T;
}

test("a saved policy binds the next launch, exec, dry run, validate and optimize, with every violation", async () => {
  expect(await launch(twoGpus)).toMatchObject({ status: "SUCCEEDED", jobId: 1 });
  const saved = await apply({ text: onlyUbuntu, ...place });
  expect(saved).toMatchObject({ name: "limits", revision: 1, changed: true, saved: true });
  // What waits is told of and left alone.
  expect(saved.refuses).toMatchObject([
    { user: "root", job_id: 1, violations: [{ field: "compute.gpuDevicesRequest", rule: "max", value: 2 }] },
  ]);
  const text = "User request rejected by policy: 1 violation";
  for (const tried of [await launch(twoGpus), await launch(twoGpus, { dryrun: true })]) {
    expect([tried.status, tried.text]).toEqual(["FAILED", expect.stringContaining(text)]);
    expect(tried.text).toContain("compute.gpuDevicesRequest: must be no greater than 1 (asked: 2)");
    expect(tried.text).toContain("See: sky policy explain training");
  }
  const exec = await cluster.result("/exec", { task: twoGpus, cluster_name: "lab" });
  expect([exec.status, messageIn(exec)]).toEqual(["FAILED", expect.stringContaining(text)]);
  const validated = await cluster.call("POST", "/validate", { dag: twoGpus });
  expect([validated.status, validated.text]).toEqual([400, expect.stringContaining(text)]);
  expect(validated.json).toMatchObject({ detail: { type: "UserRequestRejectedByPolicy" } });
  const optimized = await cluster.result("/optimize", { dag: twoGpus });
  expect([optimized.status, messageIn(optimized)]).toEqual(["FAILED", expect.stringContaining(text)]);
  expect(await launch(oneGpu)).toMatchObject({ status: "SUCCEEDED", jobId: 2 });
  expect(cluster.loop.state.jobs.size).toBe(2);
});

test("the same bytes make no second revision, nor does the same request; validateOnly saves nothing", async () => {
  const tried = await apply({ text: onlyUbuntu, ...place, validateOnly: true });
  expect([tried.saved, tried.revision, cluster.store.policies.all.size]).toEqual([false, 1, 0]);
  expect(await launch(twoGpus)).toMatchObject({ status: "SUCCEEDED" });
  const headers = { "X-Skypilot-Request-ID": randomUUID() };
  await cluster.result("/onprem/policies/apply", { text: onlyUbuntu, ...place }, headers);
  expect(await apply({ text: onlyUbuntu, ...place })).toMatchObject({ changed: false, saved: true, revision: 1 });
  const second = await apply({ text: `${onlyUbuntu}# so\n`, ...place });
  expect(second).toMatchObject({ changed: true, revision: 2 });
  expect(cluster.store.policies.all.get("limits")?.map(({ revision }) => revision)).toEqual([2, 1]);
});

test("a rule that is wrong, for nobody, or at odds with another is refused with its place", async () => {
  const wrong = async (body: object): Promise<string> => {
    const done = await cluster.result("/onprem/policies/apply", body);
    const { message, hint } = JSON.parse(done.error) as { message: string; hint: string | null };
    return `${message} ${hint ?? ""}`;
  };
  expect(await wrong({ ...place, text: "rules:\n  image: {max: 3}\n" })).toContain("does not apply to string");
  expect(await wrong({ ...place, text: "rules:\n  imag: {required: true}\n" })).toMatch(/unknown field.*did you mean/);
  const nobody = { ...place, scope: "project", scope_id: "nlpp" };
  expect(await wrong({ ...nobody, text: onlyUbuntu })).toMatch(/there is no project 'nlpp' here.*Did you mean 'nlp'/);
  expect(await wrong({ ...place, workloads: ["trainig"], text: onlyUbuntu })).toContain("is no kind of workload");
  await apply({ text: onlyUbuntu, ...place });
  const narrower = { name: "narrow", scope: "project", scope_id: "nlp", workloads: ["training"] };
  const debian = 'defaults: {image: debian}\nrules: {image: {options: ["debian"]}}\n';
  expect(await wrong({ ...narrower, text: debian })).toMatch(/image/);
  expect(cluster.store.policies.all.has("narrow")).toBe(false);
  const unknown = await cluster.call("POST", "/onprem/policies/apply", { ...place, text: onlyUbuntu, force: true });
  expect([unknown.status, unknown.text]).toEqual([422, expect.stringContaining("force")]);
});

test("defaults reach the job, and its submitter is told in the request's stream; the project is in the record", async () => {
  await apply({ text: "defaults: {environmentVariables: {instances: [{name: TEAM, value: nlp-team}]}}", ...place });
  become("nlp");
  const posted = await cluster.call("POST", "/launch", { task: oneGpu, cluster_name: "lab" });
  const id = String(posted.headers["x-skypilot-request-id"]);
  const reply = await cluster.call("GET", `/api/get?request_id=${id}`);
  expect(reply.status).toBe(200);
  const stream = await cluster.call("GET", `/api/stream?request_id=${id}`);
  expect(stream.text).toContain("Policy 'limits' sets environmentVariables[TEAM]");
  expect(cluster.store.payloads.at(-1)?.envs).toMatchObject({ TEAM: "nlp-team" });
  const [job] = cluster.loop.state.jobs.values();
  expect(job?.record.project).toBe("nlp");
});

test("options of the container lead around nothing, whether the task or the config brings them", async () => {
  const text =
    "defaults: {environmentVariables: {instances: [{name: TEAM, value: lab}]}}\n" +
    "rules: {environmentVariables: {instances: {locked: [TEAM]}}, security: {capabilities: {blocked: true}}}\n";
  await apply({ text, ...place });
  const image = "resources: {image_id: 'docker:ubuntu'}\nrun: sleep 1000\n";
  const own = (options: string[]): string => `${image}config: {docker: {run_options: ${JSON.stringify(options)}}}\n`;
  const rejected = "User request rejected by policy";
  for (const options of [["-e", "TEAM=mine"], ["--env=TEAM=mine"], ["--cap-add=SYS_ADMIN"], ["--privileged"]]) {
    const config = { docker: { run_options: options } };
    for (const tried of [await launch(own(options)), await launch(image, { override_skypilot_config: config })]) {
      expect([options, tried.text]).toEqual([options, expect.stringContaining(rejected)]);
    }
  }
  expect(cluster.loop.state.jobs.size).toBe(0);
});

test("damaged policies refuse every submission with a sentence, and saving the policy anew heals them", async () => {
  await apply({ text: onlyUbuntu, ...place });
  await launch(oneGpu);
  cluster.store.policies.damaged = ["limits"];
  // What another life of the coordinator reads.
  const other = await startTestCluster(["one"], { policies }, { queue: cluster.queue });
  other.store.policies.all.set("limits", cluster.store.policies.all.get("limits") ?? []);
  other.store.policies.damaged = ["limits"];
  try {
    const refused = await other.result("/launch", { task: oneGpu, cluster_name: "lab" });
    expect(messageIn(refused)).toContain("Nothing can be submitted: What is stored of policy 'limits' is damaged");
    expect((await other.call("POST", "/validate", { dag: oneGpu })).status).toBe(503);
    expect(await valueOf("apply", { text: onlyUbuntu, ...place }, other)).toMatchObject({ revision: 2, saved: true });
    expect((await other.result("/launch", { task: oneGpu, cluster_name: "lab" })).status).toBe("SUCCEEDED");
  } finally {
    await other.close();
  }
});

test("history, roll back and delete: every revision with its bytes, and a deletion can be undone", async () => {
  await apply({ text: onlyUbuntu, ...place });
  await apply({ text: "rules: {image: {required: false}}", ...place });
  expect(await launch(twoGpus)).toMatchObject({ status: "SUCCEEDED" });
  expect(await valueOf("rollback", { name: "limits", revision: 1 })).toMatchObject({ revision: 3, changed: true });
  expect(await launch(twoGpus)).toMatchObject({ status: "FAILED" });
  await cluster.result("/onprem/policies/delete", { name: "limits" });
  expect(await launch(twoGpus)).toMatchObject({ status: "SUCCEEDED" });
  const again = await cluster.result("/onprem/policies/delete", { name: "limits" });
  expect(messageIn(again)).toContain("There is no policy 'limits'");
  const { revisions } = await read<PolicyHistoryResult>("/history?name=limits");
  expect(revisions.map(({ revision, what, by }) => [revision, what, by])).toEqual([
    [4, "deleted", "root"],
    [3, "rolled back", "root"],
    [2, "changed", "root"],
    [1, "created", "root"],
  ]);
  expect(revisions[3]?.text).toBe(onlyUbuntu);
  expect((await read<PolicyGetResult>("/get?name=limits&revision=2")).text).toContain("required: false");
  const none = await cluster.result("/onprem/policies/rollback", { name: "limits", revision: 4 });
  expect(messageIn(none)).toContain("is its deletion");
  await cluster.result("/onprem/policies/rollback", { name: "limits", revision: 1 });
  expect(await launch(twoGpus)).toMatchObject({ status: "FAILED" });
});

test("check tells what would happen, and queues nothing", async () => {
  await apply({
    text: `${onlyUbuntu}defaults: {environmentVariables: {instances: [{name: A, value: b}]}}\n`,
    ...place,
  });
  const of = (task: string): Promise<PolicyCheckResult> => valueOf("check", { task });
  const good = await of(`${oneGpu}secrets: {TOKEN: s3cr3t-value}\n`);
  expect(good).toMatchObject({ kind: "training", accepted: true, violations: [], project: null });
  expect(good.task).toContain("A");
  expect(JSON.stringify(good)).not.toContain("s3cr3t-value");
  const bad = await of(twoGpus);
  expect(bad).toMatchObject({ accepted: false, task: null, violations: [{ details: "must be no greater than 1" }] });
  expect(bad.violations[0]?.sourceOfRule).toMatchObject({ policy: "limits", revision: 1, scope: { level: "cluster" } });
  expect(cluster.loop.state.jobs.size).toBe(0);
  const form = await read<PolicyEffectiveResult>("/effective?kind=train");
  expect(form).toMatchObject({ kind: "training", user: "root", project: null, projects: [] });
  expect(form.fields["compute.gpuDevicesRequest"]).toMatchObject({ max: 1, canEdit: true });
});

test("diff says what the last jobs would have come to, and saves nothing", async () => {
  await launch(twoGpus);
  await launch(oneGpu);
  const diff = (body: object): Promise<PolicyDiffResult> => valueOf("diff", body);
  const first = await diff({ text: onlyUbuntu, ...place });
  expect(first).toMatchObject({ name: "limits", looked: 2, same: 1 });
  expect(first.changed).toMatchObject([{ job_id: 1, job_name: "big", before: "accepted", after: "rejected" }]);
  expect(first.text).toContain("+  image: {options:");
  const second = await diff({ text: "defaults: {terminationGracePeriodSeconds: 7}", ...place, jobs: 1 });
  expect(second).toMatchObject({ looked: 1, same: 0 });
  expect(second.changed[0]).toMatchObject({ after: "accepted", fields: ["terminationGracePeriodSeconds"] });
  expect((await read<PoliciesResult>("")).policies.map(({ name }) => name)).toEqual(["builtin"]);
});

test("modes: warn tells the submitter, audit only the log; both let pass", async () => {
  for (const mode of ["warn", "audit"]) {
    await apply({ text: onlyUbuntu, ...place, mode });
    const posted = await cluster.call("POST", "/launch", { task: twoGpus, cluster_name: "lab" });
    const id = String(posted.headers["x-skypilot-request-id"]);
    expect((await cluster.call("GET", `/api/get?request_id=${id}`)).status).toBe(200);
    const told = (await cluster.call("GET", `/api/stream?request_id=${id}`)).text;
    expect([mode, told.includes("must be no greater than 1")]).toEqual([mode, mode === "warn"]);
  }
  const outcomes = (await read<DecisionsResult>("/log")).decisions.map(({ outcome, job_id }) => [outcome, job_id]);
  expect(outcomes).toEqual([
    ["would have been rejected", 2],
    ["warned", 1],
  ]);
});

test("what is saved is saved, also where the decision log cannot be read", async () => {
  await launch(twoGpus);
  // Reading waits for what is being written.
  expect((await read<DecisionsResult>("/log")).decisions).toHaveLength(1);
  const decisions = join(cluster.config.state_dir, "decisions");
  rmSync(decisions, { recursive: true, force: true });
  writeFileSync(decisions, "a file in its place");
  const saved = await apply({ text: onlyUbuntu, ...place });
  expect(saved).toMatchObject({ revision: 1, saved: true, refuses: [] });
  expect(saved.warnings.join()).toContain("the decision log cannot be read");
  expect(await launch(twoGpus)).toMatchObject({ status: "FAILED" });
});

test("an exception lets its subject pass until it expires, stays in sight, and is refused when it says nothing useful", async () => {
  await apply({ text: onlyUbuntu, ...place });
  const body = { policy: "limits", subjects: ["group:paper", "project:vision"], owner: "ops", reason: "paper" };
  const add = async (changes: object): Promise<string> => {
    const done = await cluster.result("/onprem/policies/exceptions/add", { ...body, ...changes });
    return done.status === "SUCCEEDED" ? done.return_value : messageIn(done);
  };
  const soon = Date.now() / 1000 + 3600;
  expect(await add({ expires_at: Date.now() / 1000 - 1 })).toContain("would have expired already");
  expect(await add({ expires_at: soon + 400 * 86_400 })).toContain("a year at most");
  expect(await add({ expires_at: soon, policy: "limit" })).toContain("There is no policy 'limit'");
  expect(await add({ expires_at: soon, field: "compute.gpus" })).toContain("There is no field 'compute.gpus'");
  expect(await add({ expires_at: soon, field: "compute.gpuDevicesRequest" })).toBe('{"id":"e1"}');
  expect(await launch(twoGpus)).toMatchObject({ status: "FAILED" });
  become("paper");
  expect(await launch(twoGpus)).toMatchObject({ status: "SUCCEEDED" });
  const [decision] = (await read<DecisionsResult>("/log?limit=1")).decisions;
  expect(decision).toMatchObject({ outcome: "excepted", violations: [{ exception: "e1", rule: "max" }] });
  become("vision");
  expect(await launch(twoGpus)).toMatchObject({ status: "SUCCEEDED" });
  expect((await read<ExceptionsResult>("/exceptions")).exceptions).toMatchObject([
    { id: "e1", owner: "ops", reason: "paper", created_by: "root", expired: false },
  ]);
  await cluster.result("/onprem/policies/exceptions/remove", { id: "e1" });
  expect(await launch(twoGpus)).toMatchObject({ status: "FAILED" });
});

test("an asset that is imposed cannot be deleted; one that holds credentials cannot be imposed", async () => {
  const asset = { id: "data", field: "storage.nfs", spec: { server: "nas", path: "/d", mountPath: "/data" } };
  const imposing = { text: "imposedAssets: [data]", ...place };
  const unknown = await cluster.result("/onprem/policies/apply", imposing);
  expect(messageIn(unknown)).toContain("data");
  await cluster.result("/onprem/policies/assets/set", { ...asset, credentials: true });
  const refused = await cluster.result("/onprem/policies/apply", imposing);
  expect(messageIn(refused)).toContain("credentials");
  const odd = await cluster.result("/onprem/policies/assets/set", { ...asset, field: "image" });
  expect(messageIn(odd)).toContain("'image' is no field of a storage");
  expect((await read<AssetsResult>("/assets")).assets).toMatchObject([{ id: "data", imposed_by: [] }]);
  await cluster.result("/onprem/policies/assets/delete", { id: "data" });
  expect((await read<AssetsResult>("/assets")).assets).toEqual([]);
});

test("secrets of projects are listed by their keys alone", async () => {
  const set = { project: "nlp", name: "db", values: { password: "s3cr3t-value", user: "x" } };
  await cluster.result("/onprem/policies/secrets/set", set);
  await cluster.result("/onprem/policies/secrets/set", { ...set, values: { user: null, port: "1" } });
  const listed = await read<PolicySecretsResult>("/secrets");
  expect(listed).toEqual({ secrets: [{ project: "nlp", name: "db", keys: ["password", "port"] }] });
  const gone = await cluster.result("/onprem/policies/secrets/delete", { project: null, name: "db" });
  expect(messageIn(gone)).toContain("There is no secret 'db'");
  await cluster.result("/onprem/policies/secrets/delete", { project: "nlp", name: "db" });
  expect(await read<PolicySecretsResult>("/secrets")).toEqual({ secrets: [] });
});
