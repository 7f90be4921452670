/**
 * `sky policy` as it is typed, against a stand-in coordinator or with none: what goes out, what is printed in 80 columns,
 * what JSON holds, how commands end, and what is refused before anything is sent. The real coordinator's part is proved
 * in test/e2e/policy-commands.test.ts.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Person, startPerson } from "../test/help/person.ts";

let person: Person;
beforeEach(async () => {
  person = await startPerson();
  await person.initialize();
});
afterEach(() => person.close());

const base = "/onprem/policies";
const source = {
  ...{ policy: "limits", revision: 2, mode: "enforce", dialect: "v2" },
  scope: { level: "project", id: "nlp" },
};
const violation = {
  ...{ field: "compute.gpuDevicesRequest", rule: "max", details: "must be no greater than 1" },
  ...{ sourceOfRule: source, value: 2, limit: 1 },
};
const row = {
  ...{ name: "limits", scope: "project", scope_id: "nlp", workloads: ["training"], mode: "enforce", dialect: "v2" },
  ...{ owner: "ops@example.org", description: "what a notebook may ask for", revision: 2 },
  ...{ created_by: "root", created_at: 1000, updated_by: "root", updated_at: 1940 },
};
const applied = {
  ...{ name: "limits", revision: 2, changed: true, saved: true, warnings: [], refuses: [] },
  grades: [{ field: "compute.gpuDevicesRequest", grade: "scheduled", note: "counted for each node" }],
};
const checked = {
  ...{ kind: "training", project: "nlp", accepted: true, violations: [], warned: [violation], audited: [] },
  ...{ excepted: [], notices: [], effective: { image: "ubuntu" }, origins: { image: "policy limits" } },
  ...{ grades: [{ field: "image", grade: "enforced", note: "" }], task: "run: make\n" },
};

function write(name: string, text: string): void {
  writeFileSync(join(person.home, name), text);
}

async function typed(words: string): Promise<{ code: number; out: string; err: string }> {
  return person.sky(["policy", ...words.split(" ")]);
}

const isNarrow = (text: string): boolean => text.split("\n").every((line) => Array.from(line).length <= 80);

describe("policies that are saved", () => {
  it("are listed in 80 columns, the whole of them as JSON", async () => {
    const long = { ...row, name: `very-long-${"x".repeat(40)}`, owner: `somebody-${"y".repeat(40)}@example.org` };
    person.head.pages.set(base, { cluster: "lab", policies: [row, long] });
    const { code, out } = await person.sky(["policy"]);
    expect([code, isNarrow(out)]).toEqual([0, true]);
    expect(out).toMatch(/^NAME +TYPE +SCOPE +STATUS +REV +OWNER +UPDATED\n/);
    expect(out).toMatch(/\nlimits +training +project n… +enforce +2 +ops@\S+ +1 min ago\n/);
    expect(JSON.parse((await typed("list -o json")).out)).toEqual({ cluster: "lab", policies: [row, long] });
    person.head.pages.set(base, { cluster: "lab", policies: [] });
    expect((await typed("list")).out).toContain("No policies bind you here.");
  });

  it("are printed byte by byte, or as what the cluster can hold of them", async () => {
    const text = "# mine\nrules:  {image: {required: true}}\n\n";
    person.head.pages.set(`${base}/get`, { ...row, text, warnings: [], grades: applied.grades });
    expect((await typed("get limits")).out).toBe(text);
    expect((await typed("get limits --grades")).out).toMatch(
      /^FIELD +GRADE +NOTE\ncompute.gpuDevicesRequest +scheduled/,
    );
    expect((await typed("get limits --revision 0")).code).toBe(2);
  });

  it("are applied file by file, with where they stand; the first that is refused ends it and says what was saved", async () => {
    write("a.yaml", "rules: {image: {required: true}}\n");
    write("b.yaml", "rules: {imag: {required: true}}\n");
    person.head.results.set(`${base}/apply`, ({ body }) =>
      (body as { text: string }).text.includes("imag:")
        ? { error: { type: "InvalidPolicyError", message: "b:1: unknown field imag", hint: "Did you mean image?" } }
        : { value: { ...applied, refuses: [{ user: "bob", job_id: 7, violations: [violation] }] } },
    );
    const place = "--name limits --scope project --id nlp --kind training --mode audit";
    const good = await typed(`apply -f a.yaml ${place}`);
    expect(person.head.calls[0]?.body).toEqual({
      ...{ text: "rules: {image: {required: true}}\n", name: "limits", scope: "project", scope_id: "nlp" },
      ...{ workloads: ["training"], mode: "audit", validateOnly: false },
    });
    expect(good.out).toContain("Policy limits is saved (rev 2).\nSee it: sky policy get limits");
    expect(good.out).toContain(
      "Job 7 of bob would be refused now; it is left alone:\n  compute.gpuDevicesRequest: must",
    );
    const bad = await typed("apply -f a.yaml -f b.yaml");
    expect([bad.code, bad.err]).toEqual([1, expect.stringContaining("b.yaml was refused; limits: already saved.")]);
    expect(bad.err).toContain("Did you mean image?");
    person.head.results.set(`${base}/apply`, { value: { ...applied, saved: false } });
    expect((await typed("apply -f a.yaml --dry-run")).out).toContain("Policy limits is valid; nothing was saved.");
    expect(person.head.calls.filter(({ path }) => path === `${base}/apply`).at(-1)?.body).toMatchObject({
      validateOnly: true,
    });
    const [json] = JSON.parse((await typed("apply -f a.yaml -o json")).out) as unknown[];
    expect(json).toEqual({ ...applied, saved: false });
  });

  it("are told of by their history, compared, rolled back, and deleted after a question", async () => {
    const revisions = [{ revision: 2, at: 1000, by: "root", what: "changed", text: "rules: {}" }];
    person.head.pages.set(`${base}/history`, { name: "limits", revisions });
    expect((await typed("history limits")).out).toMatch(/^REV +WHAT +BY +WHEN\n2 +changed +root +\d{4}-/);
    write("p.yaml", "rules: {}\n");
    const change = {
      ...{ at: 1, user: "bob", project: null, job_id: 7, job_name: "big", before: "accepted", after: "rejected" },
      ...{ violations: [violation], fields: [] },
    };
    person.head.results.set(`${base}/diff`, {
      value: { name: "limits", text: "+rules: {}\n", looked: 9, same: 8, changed: [change] },
    });
    const diff = await typed("diff -f p.yaml --jobs 9");
    expect(diff.out).toContain(
      "Of the last 9 jobs: 8 as before, 1 otherwise.\njob 7 of bob (big): accepted → rejected",
    );
    person.head.results.set(`${base}/rollback`, { value: applied });
    expect((await typed("rollback limits 1")).out).toContain("Policy limits is saved (rev 2).");
    person.head.results.set(`${base}/delete`, { value: { name: "limits", revision: 3 } });
    person.head.calls.length = 0;
    expect((await person.sky(["policy", "delete", "limits"], { answers: ["n"] })).code).toBe(1);
    expect(person.head.calls).toEqual([]);
    const gone = await typed("delete limits -y");
    expect([gone.code, gone.out]).toEqual([0, expect.stringContaining("sky policy history limits")]);
  });

  it("are changed with --async too: the request's id is all that is printed", async () => {
    write("p.yaml", "rules: {}\n");
    person.head.results.set(`${base}/apply`, { value: applied });
    const { code, out, err } = await typed("apply -f p.yaml --async");
    expect([code, out + err]).toEqual([0, expect.stringMatching(/[0-9a-f]{8}-[0-9a-f]{4}-/)]);
    expect(out).not.toContain("is saved");
  });
});

it("their names complete what is typed", async () => {
  person.head.pages.set(base, { cluster: "lab", policies: [row, { ...row, name: "$(id)" }] });
  expect(await person.sky(["names", "policies"])).toEqual({ code: 0, out: "limits\n", err: "" });
});

describe("what stands beside policies", () => {
  it("an exception has owner, reason and an end in the future", async () => {
    person.head.results.set(`${base}/exceptions/add`, { value: { id: "e1" } });
    const words = "exception add limits --for user:bob --for group:paper --field image --rule options -r deadline";
    expect((await typed(`${words} --until +1d`)).out).toContain("sky policy exception remove e1");
    expect(person.head.calls[0]?.body).toMatchObject({
      ...{ policy: "limits", subjects: ["user:bob", "group:paper"], field: "image", rule: "options" },
      ...{ reason: "deadline", expires_at: 2000 + 86_400 },
    });
    expect([(await typed(`${words} --until now`)).code, (await typed(`${words} --until soon`)).code]).toEqual([2, 2]);
    expect((await typed(words)).err).toContain("--until");
    const exceptions = [
      {
        ...{ id: "e1", policy: "limits", field: null, rule: null, subjects: ["user:bob"], owner: "ops", reason: "x" },
        ...{ expires_at: 1000, created_by: "root", created_at: 1, expired: true },
      },
    ];
    person.head.pages.set(`${base}/exceptions`, { exceptions });
    expect((await typed("exception")).out).toMatch(/\ne1 +limits +all fields +user:bob +expired 16 mins ago +ops: x/);
  });

  it("a secret's value comes from a file or a question, never from the command line, and is not printed", async () => {
    write("password", "s3cret\n");
    person.head.results.set(`${base}/secrets/set`, { value: null });
    const set = await typed("secret set my-secret password --file password --project nlp");
    expect(set.out).toContain("SECRET:my-secret,password");
    expect(set.out + set.err).not.toContain("s3cret");
    expect(person.head.calls[0]?.body).toEqual({ project: "nlp", name: "my-secret", values: { password: "s3cret" } });
    expect(await typed("secret set my-secret password")).toMatchObject({
      ...{ code: 2, err: expect.stringContaining("--file") as unknown },
    });
    person.head.pages.set(`${base}/secrets`, { secrets: [{ project: null, name: "my-secret", keys: ["password"] }] });
    expect((await typed("secret")).out).toMatch(/\nevery project +my-secret +password/);
  });

  it("an asset's file is looked at before it is sent", async () => {
    write("asset.yaml", "id: data\nfield: storage.nfs\nspec: {path: /x}\n");
    write("wrong.yaml", "id: data\nspecs: {}\n");
    person.head.results.set(`${base}/assets/set`, { value: null });
    expect((await typed("asset set -f asset.yaml")).out).toContain("Asset data is saved.");
    const wrong = await typed("asset set -f wrong.yaml");
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining("wrong.yaml is no asset: field")]);
    const assets = [{ id: "data", field: "storage.nfs", spec: {}, credentials: false, imposed_by: ["limits"] }];
    person.head.pages.set(`${base}/assets`, { assets });
    expect((await typed("asset")).out).toMatch(/\ndata +storage.nfs +limits +\{\}/);
  });

  it("the log tells each decision with its first reason in 80 columns", async () => {
    const decision = {
      ...{ at: 1000, user: "bob", project: "nlp", kind: "training", request_id: "r1", request: "launch", job_id: 7 },
      ...{ job_name: "big", outcome: "rejected", by: "workload policy", policies: ["limits@2"], changed: [] },
      ...{ violations: [violation, violation], text: null },
    };
    person.head.pages.set(`${base}/log`, { decisions: [decision] });
    const { out } = await typed("log --outcome rejected");
    expect(isNarrow(out)).toBe(true);
    expect(out).toMatch(/bob +launch 7 +rejected +compute\.gpuDev/);
    expect((await typed("log --outcome refused")).code).toBe(2);
    expect(JSON.parse((await typed("log -o json")).out)).toEqual({ decisions: [decision] });
  });
});

describe("what binds", () => {
  it("check asks the cluster, and ends with 1 when the task would be refused", async () => {
    write("task.yaml", "run: make\n");
    person.head.results.set(`${base}/check`, { value: checked });
    const good = await typed("check --task task.yaml --project nlp");
    expect(person.head.calls[0]?.body).toEqual({ task: "run: make\n", project: "nlp" });
    expect([good.code, good.out]).toEqual([
      0,
      `FIELD  VALUE   FROM           HELD
image  ubuntu  policy limits  enforced

The task as it would run:
  run: make

Warnings:
  compute.gpuDevicesRequest: must be no greater than 1 [limits, project nlp, rev 2]
Accepted (training, project nlp).
`,
    ]);
    person.head.results.set(`${base}/check`, {
      value: { ...checked, accepted: false, violations: [violation], task: null },
    });
    const bad = await typed("check --task task.yaml");
    expect([bad.code, bad.out]).toEqual([1, expect.stringMatching(/\nRefused \(training, project nlp\)\.\n$/)]);
    const json = await typed("check --task task.yaml -o json");
    expect([json.code, JSON.parse(json.out)]).toMatchObject([1, { accepted: false, violations: [violation] }]);
  });

  it("explain describes the field, and says who binds it now", async () => {
    const field = { type: "integer", default: null, canEdit: true, required: false, blocked: false, max: 1 };
    const form = {
      ...{ kind: "training", user: "alice", project: "nlp", projects: ["nlp"] },
      fields: { "compute.gpuDevicesRequest": { ...field, sources: { max: source } } },
    };
    person.head.pages.set(`${base}/effective`, form);
    const { code, out } = await typed("explain training.compute.gpuDevicesRequest --project nlp");
    expect([code, out]).toEqual([0, expect.stringContaining("RESOURCE: gpuDevicesRequest <integer>")]);
    expect(out).toMatch(
      /\nNOW \(alice, project nlp\):\nFIELD +RULE +VALUE +BY\n\S+ +max +1 +limits@2 \(project nlp\)\n$/,
    );
    expect((await typed("explain training.image")).out).toContain("No policy binds it for you.");
    expect(JSON.parse((await typed("explain training -o json")).out)).toEqual(form);
    expect((await typed("explain trainin")).code).toBe(1);
  });
});
