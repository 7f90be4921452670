/**
 * The verbs of `sky policy` that need no cluster: checks of policies in files, files of cases, and what fields are. No
 * cluster is registered here, and nobody answers.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Person, startPerson } from "../test/help/person.ts";
import { readPolicy } from "../shared/policy/read/document.ts";

const bundles = join(import.meta.dirname, "../examples/policies-declared");
let person: Person;
beforeEach(async () => {
  person = await startPerson();
});
afterEach(async () => {
  expect(person.head.calls).toEqual([]);
  await person.close();
});

function write(name: string, text: string): void {
  writeFileSync(join(person.home, name), text);
}

async function typed(words: string): Promise<{ code: number; out: string; err: string }> {
  return person.sky(["policy", ...words.split(" ")]);
}

const first = `apiVersion: run.ai/v2alpha1
kind: TrainingPolicy
metadata: {name: first, namespace: runai-team-a}
spec:
  gpu:
    rules: {required: true, min: "1", max: "4"}
    value: "1"
`;

describe("sky policy check -f", () => {
  it("accepts with the task as it would run, or refuses with every reason", async () => {
    write("first.yaml", first);
    write("small.yaml", "run: make\n");
    write("large.yaml", "resources: {accelerators: H100:8}\nrun: make\n");
    const small = await typed("check -f first.yaml --task small.yaml");
    expect([small.code, small.err]).toEqual([0, ""]);
    expect(small.out).toMatch(/\ncompute.gpuDevicesRequest +1 +policy first +scheduled\n/);
    expect(small.out).toContain("Accepted (training, project team-a).\nChecked offline: whether machines can hold");
    const large = await typed("check -f first.yaml --task large.yaml");
    expect([large.code, large.out]).toEqual([
      1,
      expect.stringContaining("Violations:\n  gpu: must be no greater than 4"),
    ]);
    const json = await typed("check -f first.yaml --task large.yaml -o json");
    expect(JSON.parse(json.out)).toMatchObject({
      ...{ kind: "training", project: "team-a", accepted: false, task: null },
      violations: [
        { field: "gpu", rule: "max", value: 8, limit: "4", sourceOfRule: { policy: "first", dialect: "v1" } },
      ],
    });
  });

  it("knows the product's own rules, assets in files, and several policies at once", async () => {
    write("bare.yaml", "imposedAssets: [data]\nrules: {image: {required: true}}\n");
    write("data.yaml", "id: data\nfield: storage.hostPath\nspec: {path: /srv/data, mountPath: /data}\n");
    write("cores.yaml", "rules: {compute: {cpuCoreRequest: {max: 8}}}\n");
    write(
      "task.yaml",
      "resources: {image_id: 'docker:ubuntu', cpus: 16}\nworkload: {terminationGracePeriodSeconds: 301}\nrun: make\n",
    );
    const { code, out } = await typed("check -f bare.yaml -f data.yaml -f cores.yaml --task task.yaml");
    expect(code).toBe(1);
    expect(out).toContain("compute.cpuCoreRequest: must be no greater than 8 [cores]");
    expect(out).toMatch(/terminationGracePeriodSeconds: must be no greater than 300 \[builtin\]/);
    const lost = await typed("check -f bare.yaml --task task.yaml");
    expect([lost.code, lost.err]).toEqual([1, expect.stringContaining("data")]);
  });

  it("says of a policy for other workloads, or another project, that it binds nothing here", async () => {
    write("a.yaml", first.replace("TrainingPolicy", "InteractivePolicy"));
    write("b.yaml", first);
    write("task.yaml", "resources: {accelerators: H100:8}\nrun: make\n");
    const other = await typed("check -f a.yaml --task task.yaml");
    expect([other.code, other.out]).toEqual([
      ...[0, expect.stringContaining("Policy 'first' binds no training workload of project 'team-a'.")],
    ]);
    expect((await typed("check -f b.yaml --task task.yaml --project team-b")).out).toContain("of project 'team-b'.");
  });

  it("says who has set the items of a list", async () => {
    write("items.yaml", "defaults: {environmentVariables: {instances: [{name: A, value: '1'}]}}\n");
    write("task.yaml", "envs: {B: '2'}\nrun: make\n");
    const { out } = await typed("check -f items.yaml --task task.yaml -o json");
    expect(JSON.parse(out)).toMatchObject({ origins: { "environmentVariables[A]": "policy items" } });
    expect((await typed("check -f items.yaml --task task.yaml")).out).toMatch(
      /environmentV.* policy items, the task +/,
    );
  });

  it("explains a colon that is missing", async () => {
    write("git.yaml", "defaults:\n  storage:\n    git:\n      instances\n        - path: /src\n");
    write("task.yaml", "run: make\n");
    const { code, err } = await typed("check -f git.yaml --task task.yaml");
    expect([code, err]).toEqual([1, expect.stringMatching(/git\.yaml:4: .*; missing ':' after instances\?/)]);
  });

  it("tells what is wrong with file and line, and what it cannot know", async () => {
    write("wrong.yaml", "rules:\n  imag: {required: true}\n");
    write("task.yaml", "run: make\n");
    const wrong = await typed("check -f wrong.yaml --task task.yaml");
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringMatching(/wrong\.yaml:2: .*imag/)]);
    write("a.yaml", first);
    write("b.yaml", first.replace("team-a", "team-b").replace("name: first", "name: second"));
    const open = await typed("check -f a.yaml -f b.yaml --task task.yaml");
    expect([open.code, open.err]).toEqual([2, expect.stringContaining("several projects: team-a, team-b")]);
    expect((await typed("check -f a.yaml -f b.yaml --task task.yaml --project team-b")).code).toBe(0);
    expect((await typed("check -f a.yaml --task task.yaml --user bob")).err).toContain("files are checked offline");
    expect((await typed("check -f none.yaml --task task.yaml")).code).toBe(1);
  });
});

const oneCase = (max: number): string => `- id: two devices
  policy: p.yaml
  submit: {compute: {gpuDevicesRequest: 2}}
  errors: [{field: compute.gpuDevicesRequest, rule: max, message: must be no greater than ${max}}]
`;

describe("sky policy test", () => {
  it("runs every bundle that we give, each of which has cases and can be read as it stands", async () => {
    const { code, out } = await typed(`test ${bundles}`);
    expect([code, out]).toEqual([0, expect.stringMatching(/^(ok {5}.*\n)+\d+ passed, 0 failed\n$/)]);
    const cases = readFileSync(join(bundles, "cases.yaml"), "utf8");
    const files = readdirSync(bundles).filter((name) => name.endsWith(".yaml") && name !== "cases.yaml");
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) {
      const { head } = readPolicy(readFileSync(join(bundles, file), "utf8"), { file });
      expect([file, cases.includes(`policy: ${file}`), head.mode]).toEqual([file, true, "audit"]);
      expect(`${head.name}.yaml`).toBe(file);
    }
  });

  it("ends with 1 for a case that fails, and says what was expected and what came", async () => {
    mkdirSync(join(person.home, "cases"));
    write("cases/p.yaml", "rules: {compute: {gpuDevicesRequest: {max: 1}}}\n");
    write("cases/right.yaml", oneCase(1));
    expect(await typed("test cases")).toMatchObject({ code: 0, out: "ok     two devices\n1 passed, 0 failed\n" });
    write("cases/wrong.yaml", oneCase(2));
    const { code, out } = await typed("test cases");
    expect([code, out]).toEqual([1, expect.stringContaining("FAILED two devices\n       ")]);
    expect(out).toMatch(/must be no greater than 2[^]*\n1 passed, 1 failed\n$/);
    const json = JSON.parse((await typed("test cases -o json")).out) as unknown;
    expect(json).toMatchObject({
      passed: 1,
      failed: 1,
      cases: [{ passed: true }, { id: "two devices", passed: false }],
    });
    const colored = await person.sky(["policy", "test", "cases/right.yaml"], { env: { FORCE_COLOR: "1" } });
    expect(colored.out).toContain("\u001b[32mok");
  });

  it("takes nothing that holds no case for passed", async () => {
    mkdirSync(join(person.home, "empty"));
    write("none.yaml", "[]\n");
    write("lost.yaml", oneCase(1));
    expect(await typed("test empty")).toMatchObject({
      code: 1,
      err: expect.stringContaining("No file of cases") as unknown,
    });
    expect((await typed("test none.yaml")).code).toBe(1);
    const lost = await typed("test lost.yaml");
    expect([lost.code, lost.err]).toEqual([1, expect.stringContaining('the policy\'s file "p.yaml" cannot be read')]);
    expect((await typed("test nosuch.yaml")).code).toBe(1);
  });
});

describe("sky policy explain", () => {
  it("drills down as V1's document shows it", async () => {
    for (const [words, resource, fields] of [
      ["trainingpolicy.spec", "spec <Object>", ["annotations\t<Object>", "arguments\t<Object>", "command\t<Object>"]],
      ["trainingpolicy.spec.ports", "ports <Object>", ["itemRules\t<Object>", "items\t<map[string]Object>", "rules\t"]],
      ["trainingpolicy.spec.ports.rules", "rules <Object>", ["canAdd\t<boolean>", "required\t<boolean>"]],
      ["interactivepolicy.spec.jupyter", "jupyter <Object>", ["rules\t<Object>", "value\t<boolean>"]],
    ] as const) {
      const { code, out } = await typed(`explain ${words}`);
      const kind = words.startsWith("training") ? "TrainingPolicy" : "InteractivePolicy";
      expect([words, code]).toEqual([words, 0]);
      expect(out).toMatch(
        new RegExp(`^KIND: {5}${kind}\nVERSION: {2}run.ai/v2alpha1\n\nRESOURCE: ${resource}\n\nDESCRIPTION:\n`),
      );
      const [, below = ""] = out.split("\nFIELDS:\n");
      for (const field of fields) {
        expect(below).toContain(`   ${field}`);
      }
    }
    const none = await typed("explain trainingpolicy.spec.jupyter");
    expect([none.code, none.err]).toEqual([1, expect.stringContaining("jupyter")]);
  });
});
