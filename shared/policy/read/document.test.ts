/**
 * Documents of both dialects as people and Run:ai's own pages write them: what is read, what is told, and where.
 */
import { describe, expect, test } from "vitest";
import { faultsOf, first, headFor, nothing, read } from "../../../test/help/policy-documents.ts";
import type { PolicyHead } from "../compiled.ts";
import { compilePolicy } from "./document.ts";

describe("the later form", () => {
  test("locks hold a path however it is written", () => {
    const text =
      "rules: {storage: {hostPath: {instances: {locked: [/data//x/, home]}}}, labels: {instances: {locked: [a//b]}}}";
    expect(first(read(text)).itemRules).toEqual({
      "storage.hostPath": { locked: ["/data//x/", "/data/x", "home"] },
      labels: { locked: ["a//b"] },
    });
  });

  test("our envelope", () => {
    const document = read(
      `apiVersion: policy/v1
kind: WorkloadPolicy
metadata: {name: nlp-training, owner: ops@example.org, description: Limits of NLP}
target: {scope: project, id: nlp, workloads: [train, multi-node, fallback, training]}
mode: audit
spec:
  defaults: {image: 1.10, compute: {cpuCoreRequest: 0.1}}
  rules: {image: {required: yes}}
  imposedAssets: [a, b, a]
`,
      {},
    );
    expect(document.head).toEqual({
      name: "nlp-training",
      owner: "ops@example.org",
      description: "Limits of NLP",
      target: { level: "project", id: "nlp", kinds: ["training", "distributed", "fallback"] },
      mode: "audit",
      dialect: "v2",
    });
    expect(document.compiled[0]?.source).toEqual({
      policy: "nlp-training",
      scope: { level: "project", id: "nlp" },
      revision: 0,
      mode: "audit",
      dialect: "v2",
    });
    expect(first(document)).toEqual({
      ...nothing,
      defaults: { image: "1.10", "compute.cpuCoreRequest": 0.1 },
      rules: { image: { required: true } },
      imposed: ["a", "b"],
    });
    expect(document.warnings).toEqual([]);
  });

  test("a bare document, whose place stands beside it", () => {
    const { head } = read("defaults: null\nrules:\nimposedAssets: []\n");
    expect(head).toMatchObject({ name: "p", mode: "enforce", target: { level: "cluster", kinds: ["training"] } });
    expect(faultsOf("rules: {image: {required: true}}", {})).toEqual([
      "p.yaml:1: the policy has no name: give one beside it",
      'p.yaml:1: the policy does not say what it binds: give a scope and workloads beside it, or "target" in it',
    ]);
    expect(faultsOf("", { name: "p", target: { level: "project", id: null, kinds: [] } })).toEqual([
      "p.yaml:1: the policy does not say which project it binds",
      "p.yaml:1: the policy does not say which workloads it binds",
    ]);
  });

  test("every rule of every type", () => {
    const document = read(`rules:
  image: {options: [{value: a, displayed: The A}, b], pattern: "registry/.*", message: Ask ops, canEdit: true}
  backoffLimit: {min: "1", max: 7, step: 2, options: [1, 3]}
  compute:
    cpuCoreRequest: {min: 0.5, step: 0.25, defaultFrom: {field: cpuCoreLimit, factor: 0.5}}
    cpuMemoryLimit: {min: 500M, defaultFrom: {field: compute.cpuMemoryRequest}}
    migProfile: {blocked: true}
    extendedResources: {instances: {canAdd: false, locked: [a/b, 7]}, attributes: {quantity: {max: 4}}}
  nodePools: {options: [a, 1.0], required: true}
  nodeAffinityRequired: {canEdit: false}
  storage: {pvc: {attributes: {size: {max: 1Ti}, claimInfo: {storageClass: {required: false}}}}}
`);
    expect(first(document)).toEqual({
      ...nothing,
      rules: {
        image: {
          options: [{ value: "a", displayed: "The A" }, { value: "b" }],
          pattern: "registry/.*",
          message: "Ask ops",
          canEdit: true,
        },
        backoffLimit: { min: 1, max: 7, step: 2, options: [{ value: 1 }, { value: 3 }] },
        "compute.cpuCoreRequest": { min: 0.5, step: 0.25, defaultFrom: { field: "compute.cpuCoreLimit", factor: 0.5 } },
        "compute.cpuMemoryLimit": { min: "500M", defaultFrom: { field: "compute.cpuMemoryRequest", factor: 1 } },
        "compute.migProfile": { blocked: true },
        "compute.extendedResources[].quantity": { max: 4 },
        nodePools: { options: [{ value: "a" }, { value: "1.0" }], required: true },
        nodeAffinityRequired: { canEdit: false },
        "storage.pvc[].claimInfo.size": { max: "1Ti" },
        "storage.pvc[].claimInfo.storageClass": { required: false },
      },
      itemRules: { "compute.extendedResources": { canAdd: false, locked: ["a/b", "7"] } },
    });
    expect(document.warnings).toEqual(['"storage.pvc[].size" is read as "storage.pvc[].claimInfo.size"']);
  });

  test("no digit of an amount is lost, nor of a text", () => {
    const { defaults } = first(
      read(`defaults:
  image: 1.10
  nodeType: 0x1F
  category: yes
  args: 2024-01-01
  compute: {cpuCoreRequest: 0.30000000000000000000000004, cpuCoreLimit: 0x10, gpuDevicesRequest: "4",
            cpuMemoryRequest: 12345678901234567890, cpuMemoryLimit: 1e3}
`),
    );
    expect(defaults).toEqual({
      image: "1.10",
      nodeType: "0x1F",
      category: "yes",
      args: "2024-01-01",
      "compute.cpuCoreRequest": "0.30000000000000000000000004",
      "compute.cpuCoreLimit": 16,
      "compute.gpuDevicesRequest": 4,
      "compute.cpuMemoryRequest": "12345678901234567890",
      "compute.cpuMemoryLimit": "1e3",
    });
  });

  test("workers and masters of distributed workloads", () => {
    const text = `defaults:
  image: both
  worker: {command: w, numWorkers: 3}
  master: {command: m}
rules: {worker: {numWorkers: {max: 4}, compute: {gpuDevicesRequest: {max: 8}}}}
`;
    const { compiled } = read(text, headFor("training", "distributed"));
    expect(
      compiled.map(({ role, kinds, defaults, rules }) => [
        role,
        kinds,
        Object.fromEntries(defaults),
        [...rules.keys()],
      ]),
    ).toEqual([
      [null, ["training"], { image: "both" }, []],
      [null, ["distributed"], { image: "both", numWorkers: 3 }, ["numWorkers"]],
      ["master", ["distributed"], { command: "m" }, []],
      ["worker", ["distributed"], { command: "w" }, ["compute.gpuDevicesRequest"]],
    ]);
    const roles = read("rules: {worker: {image: {required: true}}}", headFor("fallback")).compiled;
    expect(roles.map(({ role, kinds }) => [role, kinds])).toEqual([
      [null, ["fallback"]],
      ["worker", ["fallback"]],
    ]);
    expect(faultsOf(text)).toContain("p.yaml:3: worker: only distributed workloads have roles");
  });

  test("a field that no kind has is refused, one that some lack binds the others", () => {
    expect(faultsOf("rules: {backoffLimit: {max: 3}}", headFor("inference"))).toEqual([
      "p.yaml:1: backoffLimit: does not exist for inference workloads",
    ]);
    expect(faultsOf("defaults: {storage: {s3: {instances: []}}}", headFor("inference"))).toEqual([
      "p.yaml:1: storage.s3: does not exist for inference workloads",
    ]);
    const document = read("rules: {backoffLimit: {max: 3}, image: {required: true}}", headFor("training", "inference"));
    expect(document.compiled.map(({ kinds, rules }) => [kinds, [...rules.keys()]])).toEqual([
      [["training"], ["backoffLimit", "image"]],
      [["inference"], ["image"]],
    ]);
    expect(document.warnings).toEqual([
      "backoffLimit: does not exist for inference workloads, and binds the others only",
    ]);
  });

  test("older classes say whether a job may be preempted, unless the policy does", () => {
    expect(first(read("defaults: {priorityClass: interactive-preemptible}")).defaults).toEqual({
      priorityClass: "high",
      preemptibility: "preemptible",
    });
    expect(first(read("defaults: {priorityClass: build, preemptibility: preemptible}")).defaults).toEqual({
      priorityClass: "high",
      preemptibility: "preemptible",
    });
  });
});

describe("mistakes of Run:ai's own documents", () => {
  test("fields beside an empty defaults", () => {
    const document = read(`defaults:
storage:
  nfs:
    instances:
      - {path: nfs-path, readOnly: true, server: nfs-server, mountPath: nfs-mount}
rules: {storage: {nfs: {instances: {canAdd: false}}}}
`);
    expect(document.warnings).toEqual(['"storage" is outside defaults; read as defaults.storage']);
    expect(first(document).items["storage.nfs"]?.instances).toHaveLength(1);
  });

  test("fields beside defaults that hold something", () => {
    expect(faultsOf("defaults: {image: x}\nsecurity: {runAsUid: 5}\n")).toEqual([
      'p.yaml:2: "security" is outside defaults; did you mean defaults.security?',
    ]);
  });

  test("attributes as a list, and folders that may be written", () => {
    const text = (attributes: string): string => `defaults:
  storage:
    hostPath:
      instances: [{path: /a, mountPath: /m}]
      attributes: ${attributes}
`;
    const listed = read(text("[{readOnly: true}, {mountPropagation: None}]"));
    expect(first(listed).items["storage.hostPath"]?.attributes).toEqual({ readOnly: true, mountPropagation: "None" });
    expect(listed.warnings).toEqual(["storage.hostPath: attributes is a list; its mappings are read as one"]);
    expect(read(text("")).warnings).toEqual(["storage.hostPath[/m]: readOnly is not set, so it is false"]);
  });

  test("a colon that is missing", () => {
    const faults = faultsOf(`defaults:
  storage:
    git:
      attributes:
        Repository: https://runai.public.github.com
      instances
        - branch: "master"
          path: /container/my-repository
`);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(/^p\.yaml:6: .*; missing ':' after instances\?$/);
  });

  test("capitals, and names that are written wrongly", () => {
    const document = read(`defaults:
  terminateAfterPreemtpion: true
  largeShmRequest: true
  PodAffinitySchedulingRule: hard
  probes: {readiness: {failureThreshod: 3}}
  exposeUrls: {Instances: [{container: "8080"}]}
  storage: {pvc: {instances: [{claimName: c, readonly: true, ReadwriteOnce: true}]}, s3: {attributes: {Bucket: b}}}
rules:
  compute: {cpuCoreRequest: {min: 1, max: 7, Step: 2}}
  secuirty: {runAsUid: {Min: 500}}
`);
    expect(new Set(document.warnings)).toEqual(
      new Set([
        '"terminateAfterPreemtpion" is read as "terminateAfterPreemption"',
        '"largeShmRequest" is read as "compute.largeShmRequest"',
        '"PodAffinitySchedulingRule" is read as "podAffinity.type"',
        '"probes.readiness.failureThreshod" is read as "probes.readiness.failureThreshold"',
        '"exposeUrls" is read as "exposedUrls"',
        '"storage.pvc[].readonly" is read as "storage.pvc[].readOnly"',
        '"storage.pvc[].ReadwriteOnce" is read as "storage.pvc[].claimInfo.accessModes.readWriteOnce"',
        '"storage.s3[].Bucket" is read as "storage.s3[].bucket"',
        'exposedUrls: "Instances" is read as "instances"',
        'compute.cpuCoreRequest: "Step" is read as "step"',
        '"secuirty.runAsUid" is read as "security.runAsUid"',
        'security.runAsUid: "Min" is read as "min"',
      ]),
    );
    expect(first(document).items["storage.pvc"]?.instances).toEqual([
      { claimName: "c", readOnly: true, "claimInfo.accessModes.readWriteOnce": true },
    ]);
  });

  test("V1's field beside spec, and nil", () => {
    const document = read(
      `apiVersion: run.ai/v2alpha1
kind: TrainingPolicy
metadata: {name: training-policy, namespace: runai}
spec:
  gpuMemory: {rules: {min: 100M, max: 2G}}
  pvcs:
    itemRules: {existingPvc: {canEdit: false}, claimName: {required: true}}
    items: {DEFAULTS: {value: {existingPvc: true, path: nil}}}
memory: {rules: {min: 100M, max: 2G}}
`,
      {},
    );
    expect(document.warnings).toEqual([
      '"memory" is outside spec; read as spec.memory',
      'pvcs[].path: the text "nil" is read as not set',
    ]);
    expect(first(document)).toMatchObject({
      rules: {
        "compute.gpuMemoryRequest": { min: "100M", max: "2G" },
        "compute.cpuMemoryRequest": { min: "100M", max: "2G" },
        "storage.pvc[].existingPvc": { canEdit: false },
      },
      items: { "storage.pvc": { instances: [], attributes: { existingPvc: true } } },
      spelled: { "compute.gpuMemoryRequest": "gpuMemory", "storage.pvc[].existingPvc": "pvcs[].existingPvc" },
    });
  });
});

describe("faults", () => {
  test("all are told at once, each with its line", () => {
    expect(
      faultsOf(`rules:
  image: {max: 3, minn: 4, required: maybe, options: []}
  compute:
    cpuCoreRequest: {min: 8, max: 4}
    gpuz: {max: 8}
    gpuDevicesRequst: {max: 8}
    gpuDevicesRequest: {step: 0, max: 1.5}
    cpuMemoryRequest: {max: 2GB, step: 1G}
  runAsUid: {min: 5}
  storage: {hostPath: {canAdd: false, instances: {lockd: [a]}, attributes: {container: {max: 1}}}}
  createHomeDir: true
  security: 5
imposedAsset: [x]
`),
    ).toEqual([
      'p.yaml:2: image: rule "max" does not apply to string',
      'p.yaml:2: image: unknown rule "minn"; did you mean "min"?',
      "p.yaml:2: image: required must be true or false",
      "p.yaml:2: image: options must be a list of at least one value",
      "p.yaml:4: compute.cpuCoreRequest: min 8 is greater than max 4",
      'p.yaml:5: unknown field "compute.gpuz"',
      'p.yaml:6: unknown field "compute.gpuDevicesRequst"; did you mean "compute.gpuDevicesRequest"?',
      "p.yaml:7: compute.gpuDevicesRequest: step must be greater than 0",
      "p.yaml:7: compute.gpuDevicesRequest: max must be a whole number",
      "p.yaml:8: compute.cpuMemoryRequest: max must be a quantity such as 500M or 2Gi (write G instead of GB)",
      'p.yaml:8: compute.cpuMemoryRequest: rule "step" does not apply to quantity',
      'p.yaml:9: unknown field "runAsUid"; did you mean "security.runAsUid"?',
      'p.yaml:10: storage.hostPath: holds an unknown key "canAdd"; did you mean "instances.canAdd"?',
      'p.yaml:10: storage.hostPath: unknown rule "lockd" of instances; did you mean "locked"?',
      'p.yaml:10: unknown field "storage.hostPath[].container"',
      "p.yaml:11: createHomeDir: must hold rules such as required or canEdit",
      "p.yaml:12: security: must hold fields such as uidGidSource, capabilities, seccompProfileType, runAsNonRoot, readOnlyRootFilesystem",
      'p.yaml:13: unknown field "imposedAsset"; did you mean "imposedAssets"?',
    ]);
  });

  test.each([
    ["defaults: {image: [a]}", "image: must be text"],
    ["defaults: {imagePullPolicy: often}", "imagePullPolicy: must be one of: Always, IfNotPresent, Never"],
    ["defaults: {ports: [80]}", "ports: must hold instances and attributes; an item is one of instances"],
    ["defaults: {ports: {instances: {a: 1}}}", "ports: instances must be a list"],
    ["defaults: {ports: {instances: [80]}}", "ports: each of instances must be a mapping of attributes"],
    ["defaults: {ports: {instances: [{external: 80}]}}", "ports: each of instances needs name or container"],
    ["defaults: {ports: {instances: [{container: 80}, {container: 80, name: a}]}}", "ports[a]: appears twice"],
    ["defaults: {ports: {instances: [{container: 80, exclude: 3}]}}", "ports[].exclude: must be true or false"],
    ["defaults: {ports: {attributes: 3}}", "ports: attributes must be a mapping"],
    ["defaults: {args: a, Args: b}", 'args: "args" and "Args" are the same field'],
    ["defaults: {}\nDefaults: {}", '"defaults" and "Defaults" are the same section'],
    ["defaults: [1]", "defaults must hold fields"],
    ["imposedAssets: x", "imposedAssets must be a list of at most 100 assets' ids"],
    ["imposedAssets: [[]]", "imposedAssets must be a list of at most 100 assets' ids"],
    ["rules: {image: {blocked: true, required: true}}", "image: is both required and blocked"],
    ["rules: {image: {canAdd: true}}", 'image: rule "canAdd" does not apply to string'],
    ["rules: {image: {options: a}}", "image: options must be a list of at least one value"],
    ["rules: {image: {options: [{valu: a}]}}", 'image: unknown key "valu" in options'],
    [
      "rules: {imagePullPolicy: {options: [Often]}}",
      "imagePullPolicy: each of options must be one of: Always, IfNotPresent, Never",
    ],
    ["rules: {image: {pattern: '(a)\\1'}}", 'image: pattern has a "\\1" that is not known'],
    ["rules: {image: {Required: true, required: false}}", 'image: rule "required" stands here twice'],
    ["rules: {image: {message: ''}}", "image: message must be a text of at most 500 characters"],
    ["rules: {nodeAffinityRequired: {blocked: true}}", 'nodeAffinityRequired: rule "blocked" does not apply to object'],
    ["rules: {ports: {instances: {locked: a}}}", "ports: locked must be a list of items' keys"],
    [
      "rules: {compute: {cpuCoreLimit: {defaultFrom: cpuCoreRequest}}}",
      "compute.cpuCoreLimit: defaultFrom must hold field and factor",
    ],
    [
      "rules: {compute: {cpuCoreLimit: {defaultFrom: {field: cpuCores}}}}",
      'compute.cpuCoreLimit: defaultFrom names an unknown field "cpuCores"',
    ],
    [
      "rules: {compute: {cpuCoreLimit: {defaultFrom: {field: cpuCoreLimit}}}}",
      "compute.cpuCoreLimit: defaultFrom names its own field",
    ],
    [
      "rules: {compute: {cpuCoreLimit: {defaultFrom: {field: backoffLimit}}}}",
      "compute.cpuCoreLimit: defaultFrom must name a number of the same section",
    ],
    [
      "rules: {compute: {cpuCoreLimit: {defaultFrom: {field: migProfile}}}}",
      "compute.cpuCoreLimit: defaultFrom must name a number of the same section",
    ],
    [
      "rules: {compute: {cpuCoreLimit: {defaultFrom: {field: cpuCoreRequest, factor: -1}}}}",
      "compute.cpuCoreLimit: defaultFrom needs a factor that is a number and not below 0",
    ],
    [
      "kind: Pod\nspec: {}",
      "kind: must be one of: WorkloadPolicy, InteractivePolicy, TrainingPolicy, DistributedPolicy, InferencePolicy",
    ],
    [
      "target: {scope: planet, id: x, workloads: [trainin]}",
      "target.scope: must be one of: tenant, cluster, department, project",
    ],
    [
      "target: {scope: cluster, workloads: [trainin]}",
      'target.workloads: "trainin" is no kind of workloads; did you mean "training"?',
    ],
    [
      "target: {scope: cluster, workloads: train}\nmetadata: {nam: x}",
      'unknown field "metadata.nam"; did you mean "metadata.name"?',
    ],
    [
      "target: {scope: project, id: nlp, workloads: train}",
      'scope: the document says "project", and beside it stands "cluster"',
    ],
    [
      "target: {scope: cluster, workloads: train}\nmetadata: {name: q}",
      'name: the document says "q", and beside it stands "p"',
    ],
    ["a: *b", "alias '*b' has no anchor"],
    ["- a", "a policy must be a mapping of keys to values"],
    ["a: 1\n---\nb: 2", "holds 2 documents; put each policy in a file of its own"],
  ])("%s", (text, fault) => {
    expect(faultsOf(text).map((line) => line.replace(/^p\.yaml:\d+: /, ""))).toContain(fault);
  });

  test("a document of nothing but faults is cut short", () => {
    const keys = Array.from({ length: 3000 }, (_, index) => `  x${index}: 1`).join("\n");
    const faults = faultsOf(`rules:\n${keys}\n`);
    expect(faults).toHaveLength(101);
    expect(faults.at(-1)).toBe("There are more faults than are shown.");
    expect(faultsOf(`# ${"x".repeat(300_000)}`)).toEqual(["p.yaml is larger than 256 KiB."]);
  });

  test("names of policies", () => {
    expect(faultsOf("rules: {}", { ...headFor(), name: "a b" })).toEqual([
      'p.yaml:1: "a b" is not a policy\'s name: letters, digits, ".", "_" and "-"',
    ]);
  });
});

describe("documents that were parsed already", () => {
  test("faults have no place", () => {
    const head: PolicyHead = {
      name: "p",
      owner: null,
      description: null,
      target: { level: "cluster", id: "c", kinds: ["training"] },
      mode: "enforce",
      dialect: "v2",
    };
    const source = {
      policy: "p",
      scope: { level: "system", id: "builtin" },
      revision: 3,
      mode: "enforce",
      dialect: "v2",
    } as const;
    expect(() => compilePolicy({ rules: { image: { max: 3 } } }, head, source)).toThrow(
      /^image: rule "max" does not apply to string$/,
    );
    const { compiled, warnings } = compilePolicy({ rules: { compute: { gpuDevices: { max: 3 } } } }, head, source);
    expect(compiled[0]?.source).toEqual(source);
    expect(warnings).toEqual(['"compute.gpuDevices" is read as "compute.gpuDevicesRequest"']);
    const wrapped = {
      kind: "WorkloadPolicy",
      target: { scope: "cluster", workloads: ["job"] },
      spec: { defaults: { image: "a" } },
    };
    expect(compilePolicy(wrapped, head, source).compiled[0]?.defaults.get("image")).toBe("a");
  });
});
