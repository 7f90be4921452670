/** What a policy comes to here, told when it is saved: the texts, and what is refused. */
import { describe, expect, test } from "vitest";
import { policyFields } from "./fields/fields.ts";
import { type ClusterFacts, gradesOf, onPremGrade } from "./grades.ts";
import { readPolicy } from "./read/document.ts";
import type { Asset } from "./words.ts";

const facts: ClusterFacts = {
  nodes: 16,
  mechanisms: { "cgroup-cpu": 12, "no-new-privileges": 16, "mount-namespace": 16 },
  containers: 16,
  mig: { "1g.10gb.me": 2 },
  labels: { "node-pool=a100": 4 },
  volumes: ["datasets"],
};

function graded(text: string, own: Partial<ClusterFacts> = {}, assets: ReadonlyMap<string, Asset> = new Map()) {
  const target = { level: "project" as const, id: "nlp", kinds: ["training" as const] };
  const document = readPolicy(text, { file: "p.yaml", head: { name: "p", target } });
  const { lines, refusals } = gradesOf(document, { ...facts, ...own }, assets);
  return { lines: lines.map(({ field, grade, note }) => `${field}: ${grade}: ${note}`), refusals };
}

test("enforced on some nodes, scheduled, checked, translated", () => {
  expect(
    graded(`
defaults:
  compute: {cpuCoreLimit: 8}
  nodePools: [a100, h100]
  environmentVariables: {instances: [{name: HOME, value: /x}]}
rules:
  compute: {gpuPortionRequest: {max: 0.5}, migProfile: {canEdit: false}}
`),
  ).toEqual({
    refusals: [],
    lines: [
      "compute.cpuCoreLimit: enforced: on 12 of 16 nodes; cpu.max of the job's cgroup, on each node.",
      "compute.gpuPortionRequest: translated: fractions are accounted but not isolated; jobs can use more GPU memory than they asked for.",
      "compute.migProfile: scheduled: a MIG instance of that profile, on nodes that an admin has divided.",
      "environmentVariables: checked: set when the job starts; the job's own script can change it.",
      "nodePools: scheduled: node-pool=a100 on 4 of 16 nodes; node-pool=h100 on 0 of 16 nodes; only nodes with the label node-pool of one of the values, in their order.",
    ],
  });
});

test("a rule that only forbids what no task can say is always satisfied; a default has no effect", () => {
  expect(graded("rules: {tolerations: {instances: {canAdd: false}}, backoffLimit: {max: 3}}").lines).toEqual([
    "backoffLimit: always satisfied: programs that fail are not started again; lost machines and preemption start a job again; the rule is always satisfied.",
    "tolerations: always satisfied: this cluster has no taints; the rule is always satisfied.",
  ]);
  expect(graded("defaults: {restartPolicy: Never}").lines).toEqual([
    "restartPolicy: no effect: programs that fail are not started again; lost machines and preemption start a job again.",
  ]);
});

describe("a demand that could never be met is refused", () => {
  test.each<[string, string]>([
    [
      "rules: {storage: {pvc: {attributes: {claimInfo: {storageClass: {required: true}}}}}}",
      'storage.pvc[].claimInfo.storageClass: this cluster has no storage classes; "required: true" could never be met. Remove the rule or map the class to a volume pool.',
    ],
    [
      "rules: {completions: {min: 2}}",
      'completions: a task is one run; there are no arrays of jobs; "min: 2" could never be met. Remove the rule.',
    ],
    [
      "defaults: {tty: true}\nrules: {tty: {canEdit: false}}",
      'tty: a job has no terminal; "canEdit: false" with a value could never be met. Remove the rule.',
    ],
    [
      "defaults: {tolerations: {instances: [{name: a, key: k, operator: Exists}]}}\nrules: {tolerations: {instances: {locked: [a]}}}",
      'tolerations: this cluster has no taints; "locked: [a]" could never be met. Remove the rule.',
    ],
    [
      "defaults: {security: {runAsUid: 500}}",
      "security.runAsUid: a job runs as the user who sends it, and one value for everybody would make jobs run as somebody else. Remove the value.",
    ],
    [
      "defaults: {security: {uidGidSource: fromTheImage}}",
      'security.uidGidSource: a job runs as the user who sends it, whatever user its image names. Remove the value "fromTheImage".',
    ],
    [
      "defaults: {security: {supplementalGroups: '7'}}",
      "security.supplementalGroups: a job has the groups of the user who sends it and no others. Remove the value.",
    ],
    ["defaults: {privileged: true}", "privileged: a job never has more rights than its user. Remove the value true."],
    [
      "defaults: {storage: {pvc: {instances: [{claimName: dataset, path: /d, existingPvc: true}]}}}",
      "storage.pvc: there is no volume 'dataset' on this cluster. Did you mean 'datasets'?",
    ],
  ])("%s", (text, refusal) => {
    expect(graded(text).refusals).toEqual([refusal]);
  });

  test("what no node can do", () => {
    const limit = "defaults: {compute: {cpuMemoryLimit: 8Gi}}";
    expect(graded(limit).refusals).toEqual([
      "compute.cpuMemoryLimit: no node of this cluster can do this (cgroup-memory), so that no job could be held to it. Remove the rule.",
    ]);
    expect(graded("rules: {image: {required: true}}", { containers: 0 }).refusals).toEqual([
      "image: no node of this cluster has podman or docker, so that no job could be held to it. Remove the rule.",
    ]);
    expect(graded("rules: {compute: {cpuMemoryLimit: {max: 8Gi}}}").refusals).toEqual([]);
    expect(graded(limit, { nodes: 0 }).refusals).toEqual([]);
  });

  test("an imposed asset of a kind that nothing mounts", () => {
    const asset: Asset = { id: "nfs-1", field: "storage.nfs", spec: { server: "s", path: "/e" }, credentials: false };
    expect(graded("imposedAssets: [nfs-1]", {}, new Map([["nfs-1", asset]])).refusals).toEqual([
      'storage.nfs: jobs mount no servers; the imposed asset "nfs-1" could never be met. Mount it on the nodes, publish it under a name (`volumes`), and use storage.pvc.',
    ]);
  });

  test("items that no task can have lack nothing", () => {
    expect(graded("rules: {storage: {nfs: {attributes: {server: {required: true}}}}}")).toEqual({
      refusals: [],
      lines: ["storage.nfs[].server: always satisfied: jobs mount no servers; the rule is always satisfied."],
    });
  });
});

test("every field of the catalog has a line in the table", () => {
  const missing = policyFields.filter(({ path }) => onPremGrade(path).note === "nothing here does it");
  expect(missing.map(({ path }) => path)).toEqual([]);
});

test("what no node has said that it can do may be what one will say that has not reported yet", () => {
  const text = "rules: {compute: {cpuMemoryLimit: {required: true}}}";
  const none = { nodes: 1, mechanisms: {} };
  expect(graded(text, { ...none, unseen: 1 }).refusals).toEqual([]);
  expect(graded(text, none).refusals).toHaveLength(1);
});
