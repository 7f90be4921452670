/**
 * V1's documents: fields, items, locks, values in older forms, and what is told of mistakes.
 */
import { describe, expect, test } from "vitest";
import { faultsOf, first, nothing, read } from "../../../test/help/policy-documents.ts";

describe("V1", () => {
  const around = "apiVersion: run.ai/v2alpha1\nkind: InteractivePolicy\nmetadata: {name: i, namespace: runai-team-a}\n";

  test("names, kind and project", () => {
    const document = read(`${around}spec: {gpu: {rules: {required: true, min: "1", max: "4"}, value: "1"}}`, {});
    expect(document.head).toMatchObject({
      name: "i",
      target: { level: "project", id: "team-a", kinds: ["workspace"] },
      dialect: "v1",
      mode: "enforce",
    });
    expect(first(document)).toEqual({
      ...nothing,
      defaults: { gpu: "1" },
      rules: { gpu: { required: true, min: "1", max: "4" } },
    });
  });

  test("items: labels, locks, texts, values in the older form", () => {
    const document = read(
      `${around}spec:
  ports:
    rules: {canAdd: true, required: true}
    itemRules: {container: {min: 30000, max: 32767}}
    items:
      a: {rules: {canRemove: false, canEdit: false}, value: {container: 30100}}
      b: {rules: {canRemove: false}, value: {container: {value: 30101}}}
      c: {rules: {canEdit: false}, value: {container: 30102}}
  environment: {items: {MYPASSWORD: {value: "SECRET:my-secret,password"}, N: {value: 1.10}}}
  cpu: {value: {value: "0.5"}}
  serviceType: {value: NodePort, rules: {options: [NodePort]}}
  ttlAfterFinish: {value: 1h30m, rules: {max: 24h}}
  preemptible: {value: false, rules: {canEdit: false}}
  nodePool: {value: pool-a}
  jupyter: {value: true}
`,
      {},
    );
    expect(document.warnings).toEqual([]);
    expect(first(document)).toEqual({
      defaults: {
        "compute.cpuCoreRequest": "0.5",
        autoDeletionTimeAfterCompletionSeconds: 5400,
        preemptibility: "non-preemptible",
        nodePools: ["pool-a"],
        jupyter: true,
      },
      rules: {
        "ports[].container": { min: 30000, max: 32767 },
        "ports[].serviceType": { options: [{ value: "NodePort" }] },
        autoDeletionTimeAfterCompletionSeconds: { max: 86_400 },
        preemptibility: { canEdit: false },
      },
      items: {
        ports: {
          instances: [
            { name: "a", container: 30100 },
            { name: "b", container: 30101 },
            { name: "c", container: 30102 },
          ],
          attributes: { serviceType: "NodePort" },
        },
        environmentVariables: {
          instances: [
            { name: "MYPASSWORD", value: "SECRET:my-secret,password" },
            { name: "N", value: "1.10" },
          ],
          attributes: {},
        },
      },
      itemRules: { ports: { canAdd: true, required: true, locked: ["a"], notExcluded: ["b"], notChanged: ["c"] } },
      spelled: {
        environmentVariables: "environment",
        "compute.cpuCoreRequest": "cpu",
        "ports[].serviceType": "serviceType",
        autoDeletionTimeAfterCompletionSeconds: "ttlAfterFinish",
        preemptibility: "preemptible",
        nodePools: "nodePool",
      },
      imposed: [],
    });
  });

  test.each([
    ["gpu: 4", "p.yaml:4: gpu: must hold rules and value"],
    ["gpu: {rule: {}}", 'p.yaml:4: gpu: holds an unknown key "rule"; did you mean "rules"?'],
    ["ports: {rules: {canAd: true}}", 'p.yaml:4: ports: holds an unknown key "canAd"; did you mean "canAdd"?'],
    ["ports: {items: [a]}", "p.yaml:4: ports: items must be a mapping of names"],
    ["ports: {items: {a: {value: 80}}}", "p.yaml:4: ports[a]: value must be a mapping of attributes"],
    [
      "ports: {itemRules: {extrenal: {max: 4}}}",
      'p.yaml:4: unknown field "ports[].extrenal"; did you mean "ports[].external"?',
    ],
    ["preemptible: {value: maybe}", "p.yaml:4: preemptible: must be true or false"],
    ["ttlAfterFinish: {rules: {max: soon}}", "p.yaml:4: ttlAfterFinish: max must be a duration such as 72h or 1h30m"],
    ["tensorbord: {}", 'p.yaml:4: unknown field "tensorbord"; did you mean "tensorboard"?'],
    ["autoscaling: {}", 'p.yaml:4: unknown field "autoscaling"'],
    ["minScale: {value: 1}", "p.yaml:4: minScale: does not exist for workspace workloads"],
  ])("%s is told", (spec, fault) => {
    expect(faultsOf(`${around}spec: {${spec}}`, {})).toEqual([fault]);
  });

  test("what kubectl adds is no fault; another namespace and kind is", () => {
    const exported = `${around.replace("name: i", "uid: x, creationTimestamp: y, name: i")}spec: {}\nstatus: {a: 1}\n`;
    expect(read(exported, {}).warnings).toEqual([]);
    expect(faultsOf("apiVersion: run.ai/v3\nkind: JobPolicy\nmetadata: {name: i, namespace: default}\n", {})).toEqual([
      "p.yaml:1: apiVersion: must be one of: run.ai/v2alpha1, run.ai/v1alpha1",
      'p.yaml:1: the policy does not say what it binds: give a scope and workloads beside it, or "target" in it',
      "p.yaml:2: kind: must be one of: InteractivePolicy, TrainingPolicy, DistributedPolicy, InferencePolicy",
      'p.yaml:3: metadata.namespace "default" is not known: runai, or runai-PROJECT',
    ]);
  });
});
