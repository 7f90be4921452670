/** The traps between task files and policies, each with a policy that somebody would try to get around, and the way back. */
import { describe, expect, test } from "vitest";
import { readTask, writeTask } from "../task-file.ts";
import type { Task } from "../task.ts";
import { compilePolicy } from "./read-document.ts";
import { judgeBy } from "./judge.ts";
import { kindOf } from "./kind.ts";
import { hiddenSecret, optionViolations, taskWith, workloadsOf } from "./task-adapter.ts";
import type { EffectivePolicy } from "./compiled.ts";
import type { PlainValue } from "./words.ts";

const who = { uid: 1000, gid: 1000, groups: ["people"], groupIds: [1000, 2000] };
const read = (text: string): Task => readTask(`${text}\n`, { file: "t.yaml" });

function fields(text: string): Record<string, PlainValue>[] {
  return workloadsOf(read(text), who).map(({ workload }) => Object.fromEntries(workload));
}

function policyOf(task: Task, tree: object): EffectivePolicy {
  const kind = kindOf(task);
  const target = { level: "project" as const, id: "nlp", kinds: [kind] };
  const head = { name: "p", owner: null, description: null, target, mode: "enforce" as const, dialect: "v2" as const };
  const source = {
    policy: "p",
    scope: { level: "project" as const, id: "nlp" },
    revision: 1,
    mode: "enforce" as const,
    dialect: "v2" as const,
  };
  return { kind, parts: compilePolicy(tree, head, source).compiled, combine: "tighten" };
}

/** Violations as a user reads them, and the task as it would run. */
function under(policy: object, text: string): { violations: string[]; task: Task } {
  const task = read(text);
  const effective = policyOf(task, policy);
  const options = optionViolations(task, effective.parts);
  const asked = { kind: kindOf(task), project: "nlp", user: "u", groups: [], ways: workloadsOf(task, who), options };
  const found = judgeBy({ policy: effective, assets: new Map(), exceptions: [] }, asked, 0);
  return {
    violations: found.violations.map(({ field, message }) => `${field}: ${message}`),
    task: found.violations.length > 0 ? task : taskWith(task, found.effective, who),
  };
}

const violations = (policy: object, text: string): string[] => under(policy, text).violations;
const made = (policy: object, text: string): Task => {
  const { violations: found, task } = under(policy, text);
  expect(found).toEqual([]);
  return task;
};

describe("traps", () => {
  test("workdir is not workingDir", () => {
    expect(fields("workdir: /home/me\nrun: a")).toEqual([{ command: "a" }]);
    expect(made({ defaults: { workingDir: "/data" } }, "workdir: /home/me\nrun: a")).toMatchObject({
      workdir: { kind: "local", path: "/home/me" },
      launchSpec: { workingDir: "/data" },
    });
  });

  test("memory: 2 is 2Gi, exactly", () => {
    expect(fields("resources: {memory: 2}\nrun: a")[0]).toMatchObject({ "compute.cpuMemoryRequest": "2Gi" });
    const policy = { rules: { compute: { cpuMemoryRequest: { max: "2G" } } } };
    expect(violations(policy, "resources: {memory: 2}\nrun: a")).toEqual([
      "compute.cpuMemoryRequest: must be no greater than 2G",
    ]);
    expect(
      violations({ rules: { compute: { cpuMemoryRequest: { max: "2Gi" } } } }, "resources: {memory: 2GB}"),
    ).toEqual([]);
    expect(made({ defaults: { compute: { cpuMemoryRequest: "2G" } } }, "run: a").resources.memoryGb?.value).toBe(
      2e9 / 2 ** 30,
    );
  });

  test("4+ is 4", () => {
    const policy = {
      defaults: { compute: { cpuCoreRequest: 4 } },
      rules: { compute: { cpuCoreRequest: { canEdit: false } } },
    };
    expect(made(policy, "resources: {cpus: 4+}").resources.cpus).toEqual({ value: 4, exact: false });
    expect(violations({ rules: { compute: { cpuCoreRequest: { max: 3 } } } }, "resources: {cpus: 4+}")).toEqual([
      "compute.cpuCoreRequest: must be no greater than 3",
    ]);
  });

  test("every way is looked at and named; one that fails refuses all", () => {
    const policy = { rules: { compute: { gpuDevicesRequest: { max: 4 } } } };
    expect(violations(policy, "resources: {accelerators: [V100:2, H100:8]}")).toEqual([
      "ordered[1] compute.gpuDevicesRequest: must be no greater than 4",
    ]);
    expect(violations(policy, "resources: {any_of: [{accelerators: V100:8}, {cpus: 2}]}")).toEqual([
      "any_of[0] compute.gpuDevicesRequest: must be no greater than 4",
    ]);
    expect(violations(policy, "resources: {accelerators: H100:8}")).toEqual([
      "compute.gpuDevicesRequest: must be no greater than 4",
    ]);
  });

  test("accelerators are for each node", () => {
    expect(fields("num_nodes: 4\nresources: {accelerators: V100:2}\nrun: a")[0]).toMatchObject({
      "compute.gpuDevicesRequest": 2,
      numWorkers: 4,
    });
  });

  test("images by what they are, and with the registry of a login", () => {
    const policy = { rules: { image: { options: [{ value: "docker.io/library/ubuntu:latest" }] } } };
    expect(violations(policy, "resources: {image_id: docker:ubuntu}")).toEqual([]);
    expect(violations(policy, "resources: {image_id: docker:ubuntu:24.04}")).toHaveLength(1);
    const login = "{SKYPILOT_DOCKER_USERNAME: a, SKYPILOT_DOCKER_PASSWORD: b, SKYPILOT_DOCKER_SERVER: evil.example}";
    expect(fields(`resources: {image_id: docker:ubuntu}\nsecrets: ${login}`)[0]?.["image"]).toBe("evil.example/ubuntu");
    expect(violations(policy, `resources: {image_id: docker:ubuntu}\nsecrets: ${login}`)).toHaveLength(1);
  });

  test("many variables and many ways are looked at once each, or not at all", () => {
    const numbers = [...Array(1000).keys()];
    const envs = `{${numbers.map((at) => `A${at}: x`).join(", ")}}`;
    const block = `{environmentVariables: [${numbers.map((at) => `{name: B${at}, value: x}`).join(", ")}]}`;
    const task = read(`envs: ${envs}\nrun: a\nworkload: ${block}`);
    expect(workloadsOf(task, who)[0]?.workload.get("environmentVariables")).toHaveLength(2000);
    const ways = `{any_of: [${numbers.slice(1, 65).map((cpus) => `{cpus: ${cpus}}`)}]}`;
    const text = `resources: ${ways}\nenvs: ${envs}\nrun: a\n`;
    const lists = workloadsOf(read(text), who).map(({ workload }) => workload.get("environmentVariables"));
    expect(lists).toHaveLength(64);
    expect(new Set(lists).size).toBe(1);
    expect(() => fields(`${text}workload: ${block}`)).toThrow(
      "The task has 2000 variables, ports and mounts and 64 ways to run, more than can be looked at.",
    );
  });

  test("no login goes before an image that policies have judged", () => {
    const only = { rules: { image: { options: [{ value: "ubuntu" }] } } };
    const login = "{SKYPILOT_DOCKER_USERNAME: a, SKYPILOT_DOCKER_PASSWORD: b, SKYPILOT_DOCKER_SERVER: evil.example}";
    const items = ["USERNAME", "PASSWORD", "SERVER"].map(
      (part) => `{name: SKYPILOT_DOCKER_${part}, value: evil.example}`,
    );
    const block = `{environmentVariables: [${items.join(", ")}]}`;
    const refused = ["image: must be one of: ubuntu"];
    expect(violations(only, `resources: {image_id: docker:ubuntu}\nrun: a\nworkload: ${block}`)).toEqual(refused);
    expect(violations(only, `envs: ${login}\nrun: a\nworkload: {image: ubuntu}`)).toEqual(refused);
    expect(fields(`envs: ${login}\nrun: a\nworkload: {image: ubuntu}`)[0]?.["image"]).toBe("evil.example/ubuntu");
    const chosen = { defaults: { image: "ubuntu" }, rules: { image: { canEdit: false } } };
    const message = "image: SKYPILOT_DOCKER_SERVER of the task would make 'evil.example/ubuntu' of 'ubuntu'.";
    expect(() => made(chosen, `envs: ${login}\nrun: a`)).toThrow(message);
    expect(() => made(chosen, `secrets: ${login}\nrun: a`)).toThrow(message);
    const own = { defaults: { image: "evil.example/ubuntu" } };
    expect(made(own, `envs: ${login}\nrun: a`).image).toBe("evil.example/ubuntu");
    const instances = ["USERNAME", "PASSWORD", "SERVER"].map((part) => ({
      name: `SKYPILOT_DOCKER_${part}`,
      value: "r",
    }));
    const given = { defaults: { environmentVariables: { instances } } };
    expect(made(given, "resources: {image_id: docker:ubuntu}\nrun: a").image).toBe("ubuntu");
  });

  test("no option of an engine is an image, and no variable is longer than a program can be given", () => {
    const long = "x".repeat(200_000);
    for (const image of ["--privileged", "-v", "a b", "", "x".repeat(2000)]) {
      const task = read(`run: a\nworkload: {kind: training}`);
      expect(() => taskWith(task, [new Map([["image", image]])], who)).toThrow("names no image");
    }
    expect(() => made({}, "run: a\nworkload: {image: --privileged}")).toThrow("image: '--privileged' names no image");
    expect(() => made({}, `run: a\nworkload: {environmentVariables: {A: ${long}}}`)).toThrow("'A' is no variable");
    const many = [...Array(20).keys()].map((at) => `A${at}: ${"x".repeat(100_000)}`);
    expect(() => made({}, `run: a\nworkload: {environmentVariables: {${many.join(", ")}}}`)).toThrow(
      "the environment variables take",
    );
  });

  test("pools and types of nodes have one name", () => {
    const locked = { defaults: { nodePools: ["a"] }, rules: { nodePools: { canEdit: false } } };
    const typed = { rules: { nodeType: { options: [{ value: "a" }] } } };
    const pool = "'node-pool' has a field of its own, 'nodePools'.";
    for (const block of [
      "{labels: {node-pool: b}}",
      "{nodeAffinityRequired: {node-pool: b}}",
      "{nodeAffinityRequired: {nodeSelectorTerms: [{matchExpressions: [{key: node-pool, operator: In, values: [b]}]}]}}",
    ]) {
      expect(() => under(locked, `run: a\nworkload: ${block}`)).toThrow(pool);
    }
    expect(() => under(typed, "run: a\nworkload: {labels: {node-type: b}}")).toThrow("'nodeType'");
    const own = { defaults: { nodeAffinityRequired: { "node-pool": "b" } } };
    expect(made(own, "run: a").resources.labels).toEqual({ "node-pool": "b" });
    const names = (count: number): string => [...Array(count).keys()].map((at) => `p${at}`).join(", ");
    expect(() => under({}, `run: a\nworkload: {nodePools: [${names(20_000)}]}`)).toThrow("20000 ways to run the task");
    const expressions = `[{key: a, operator: In, values: [${names(5000)}]}]`;
    const many = `{nodeAffinityRequired: {nodeSelectorTerms: [{matchExpressions: ${expressions}}]}}`;
    expect(() => under({}, `run: a\nworkload: ${many}`)).toThrow("it has more than 64 choices.");
  });

  test("no step leads from an address that is allowed to another", () => {
    const bucket = { rules: { storage: { s3: { attributes: { bucket: { options: [{ value: "ok" }] } } } } } };
    expect(violations(bucket, "file_mounts: {/a: 's3://ok/../bad/x'}\nrun: a")).toEqual([
      "storage.s3[/a].bucket: must be one of: ok",
    ]);
    expect(violations(bucket, "file_mounts: {/a: 's3://ok/..x/.y'}\nrun: a")).toEqual([]);
    for (const url of ["https://h/good/../bad.git", "https://h/good/%2E%2e/bad.git", "git@h:../bad.git"]) {
      expect(() => fields(`workdir: {url: '${url}'}\nrun: a`)).toThrow("has a step '.' or '..'");
    }
    expect(fields("workdir: {url: 'https://h/a..b/.c.git'}\nrun: a")).toHaveLength(1);
  });

  test("the image that is called docker is no other image", () => {
    const only = { rules: { image: { options: [{ value: "ubuntu" }] } } };
    expect(violations(only, "resources: {image_id: docker:docker:ubuntu}\nrun: a")).toHaveLength(1);
    expect(made(only, "run: a\nworkload: {image: docker:ubuntu}").image).toBe("ubuntu");
  });

  test("each port of a range, once", () => {
    expect(fields("resources: {ports: [8080, 10022-10024, 8000-8000]}\nrun: a")[0]?.["ports"]).toEqual(
      [8080, 10022, 10023, 10024, 8000].map((container) => ({ container })),
    );
    const policy = { rules: { ports: { attributes: { container: { max: 9000 } } } } };
    expect(violations(policy, "resources: {ports: 8999-9001}")).toEqual([
      "ports[9001].container: must be no greater than 9000",
    ]);
    expect(violations(policy, "resources: {ports: 1-60000}")).toContain(
      "ports: are more than 200, and the policy looks at each of them; name those that the job listens on",
    );
    expect(violations({ rules: { compute: { cpuCoreRequest: { max: 9 } } } }, "resources: {ports: 1-60000}")).toEqual(
      [],
    );
  });

  test("a locked variable is locked in envs, in secrets and in -e", () => {
    const policy = {
      defaults: { environmentVariables: { instances: [{ name: "PROXY", value: "p" }] } },
      rules: { environmentVariables: { instances: { locked: ["PROXY"] } } },
    };
    const locked = ["environmentVariables[PROXY]: is locked by the policy and cannot be modified"];
    expect(violations(policy, "envs: {PROXY: x}\nrun: a")).toEqual(locked);
    expect(violations(policy, "secrets: {PROXY: x}\nrun: a")).toEqual(locked);
    expect(violations(policy, "resources: {image_id: docker:a}\nconfig: {docker: {run_options: '-ePROXY=x'}}")).toEqual(
      locked,
    );
    expect(made(policy, "run: a").envs).toEqual({ PROXY: "p" });
    expect(made(policy, "envs: {PROXY: p}\nrun: a").envs).toEqual({ PROXY: "p" });
  });

  test("a secret's value is never among what policies see", () => {
    const [seen] = fields("envs: {B: 1}\nsecrets: {A: hush, B: hush}\nrun: a");
    expect(JSON.stringify(seen)).not.toContain("hush");
    expect(seen?.["environmentVariables"]).toEqual([
      { name: "A", value: hiddenSecret },
      { name: "B", value: hiddenSecret },
    ]);
  });

  test("a range of published ports is no way around a rule on ports", () => {
    const policy = { rules: { ports: { attributes: { container: { max: 9000 } } } } };
    const text =
      "resources: {image_id: docker:a}\nconfig: {docker: {run_options: '--publish 1-65000:1-65000'}}\nrun: a";
    expect(violations(policy, text)[0]).toContain("'--publish' is no option that policies can look at");
    expect(violations({ rules: { compute: { cpuCoreRequest: { max: 9 } } } }, text)).toEqual([]);
    expect(violations({ rules: { compute: { cpuCoreLimit: { max: 9 } } } }, text)).toHaveLength(1);
  });

  test("options of the container undo nothing", () => {
    const text = (options: string): string =>
      `resources: {image_id: docker:a}\nconfig: {docker: {run_options: '${options}'}}\nrun: a`;
    const closed = { rules: { security: { capabilities: { blocked: true }, hostIpc: { canEdit: false } } } };
    expect(violations(closed, text("--cap-add=SYS_ADMIN"))).toEqual([
      "security.capabilities: is blocked by the policy",
    ]);
    expect(violations(closed, text("--ipc=host"))).toHaveLength(1);
    expect(violations(closed, text("--device /dev/sda")).sort()).toEqual([
      "config.docker.run_options: '--device' is no option that policies can look at, and the policy has rules on security.capabilities; leave it out",
      "config.docker.run_options: '/dev/sda' is no option that policies can look at, and the policy has rules on security.capabilities; leave it out",
    ]);
    expect(violations({ rules: { category: { required: false } } }, text("--device /dev/sda"))).toEqual([]);
    const mounts = { rules: { storage: { hostPath: { instances: { canAdd: false } } } } };
    expect(violations(mounts, text("-v /etc:/x"))).toEqual([
      "storage.hostPath[/x]: cannot be added; the policy does not allow new items here",
    ]);
  });

  test("kinds", () => {
    expect(kindOf(read("run: a"))).toBe("training");
    expect(kindOf(read("setup: a"))).toBe("workspace");
    expect(kindOf(read("num_nodes: 2"))).toBe("distributed");
    expect(kindOf(read("run: a\nworkload: {interactive: true}"))).toBe("workspace");
  });

  test("labels choose nodes, two of them by names of their own", () => {
    const [seen] = fields("resources: {labels: {node-type: dgx, node-pool: a, disk: ssd}}\nrun: a");
    expect(seen).toMatchObject({ nodeType: "dgx", nodePools: ["a"], labels: [{ name: "disk", value: "ssd" }] });
  });

  test("a MIG kind, a part of a device, a device by its memory", () => {
    expect(fields("resources: {accelerators: A100-MIG-1g.10gb.me:1}")[0]).toEqual({
      "compute.gpuDevicesRequest": 1,
      "compute.gpuRequestType": "migProfile",
      "compute.migProfile": "1g.10gb+me",
    });
    expect(fields("resources: {accelerators: H100:0.5}")[0]).toEqual({
      "compute.gpuDevicesRequest": 1,
      "compute.gpuRequestType": "portion",
      "compute.gpuPortionRequest": 0.5,
    });
    expect(fields("resources: {accelerators: 80GB+}")[0]).toMatchObject({ "compute.gpuMemoryRequest": "80Gi" });
  });

  test("priorities are steps", () => {
    const policy = { rules: { priorityClass: { options: ["low", "medium"] } } };
    expect(violations(policy, "resources: {priority: 249}\nrun: a")).toEqual([]);
    expect(violations(policy, "resources: {priority: 250}\nrun: a")).toHaveLength(1);
  });

  test("files: repositories, buckets, volumes", () => {
    const text =
      "workdir: {url: 'https://h/a.git', ref: main}\nfile_mounts: {/d: {source: s3://b/x, mode: COPY}, /w: 'gs://g'}\nvolumes: {~/v: data}\nrun: a";
    expect(fields(text)[0]).toMatchObject({
      "storage.git": [{ repository: "https://h/a.git", branch: "main", path: "~/sky_workdir" }],
      "storage.s3": [
        { bucket: "b", path: "/d" },
        { bucket: "gs://g", path: "/w" },
      ],
      "storage.pvc": [{ claimName: "data", existingPvc: true, path: "~/v" }],
    });
  });
});

describe("what policies set reaches the job", () => {
  test("limits, folders and rights: the launch spec, and `workload:` of the written task", () => {
    const task = made(
      {
        defaults: {
          compute: { cpuCoreLimit: 8, cpuMemoryLimit: "1.5Gi" },
          createHomeDir: true,
          terminationGracePeriodSeconds: 60,
          security: { allowPrivilegeEscalation: false },
          storage: { emptyDirVolume: { instances: [{ path: "/s", medium: "Memory", sizeLimit: "1G" }] } },
        },
      },
      "run: a",
    );
    expect(task.launchSpec).toEqual({
      cpuCoreLimit: 8,
      memoryLimitBytes: 1.5 * 2 ** 30,
      noNewPrivileges: true,
      graceSeconds: 60,
      scratchHome: true,
      scratch: [{ path: "/s", memory: true, sizeBytes: 1e9 }],
    });
    const { launchSpec: _, ...rest } = task;
    expect(readTask(writeTask(task), { file: "t" })).toEqual(rest);
  });

  test("options of the container, checked again on the node where the task has none of its own", () => {
    const security = {
      readOnlyRootFilesystem: true,
      capabilities: ["CAP_NET_RAW"],
      seccompProfileType: "Unconfined",
      hostNetwork: false,
    };
    const policy = {
      defaults: {
        image: "base:1",
        imagePullPolicy: "always",
        security,
        compute: { largeShmRequest: true, cpuMemoryRequest: "2Gi" },
      },
    };
    expect(made(policy, "run: a")).toMatchObject({
      image: "base:1",
      launchSpec: {
        container: {
          pull: "always",
          readOnlyRoot: true,
          capabilities: ["NET_RAW"],
          seccomp: "unconfined",
          hostNetwork: false,
          shmBytes: 2 ** 31,
          optionsChecked: true,
        },
      },
    });
  });

  test("numbers of devices without a kind: any; memory: any with as much", () => {
    expect(made({ defaults: { compute: { gpuDevicesRequest: 2 } } }, "run: a").resources.accelerators).toEqual({
      kind: "1GB",
      count: 2,
      memory: { gb: 1, orMore: true },
    });
    const memory = {
      defaults: { compute: { gpuDevicesRequest: 1, gpuRequestType: "memory", gpuMemoryRequest: "20Gi" } },
    };
    expect(made(memory, "run: a").resources.accelerators).toEqual({
      kind: "20GB",
      count: 1,
      memory: { gb: 20, orMore: true },
    });
    const part = { defaults: { compute: { gpuRequestType: "portion", gpuPortionRequest: 0.5 } } };
    expect(made(part, "resources: {accelerators: H100}\nrun: a").resources.accelerators).toEqual({
      kind: "H100",
      count: 0.5,
    });
  });

  test("a slice goes to the kind that the task names", () => {
    const policy = { defaults: { compute: { gpuRequestType: "migProfile", migProfile: "1g.10gb+me" } } };
    expect(made(policy, "resources: {accelerators: A100}\nrun: a").resources.accelerators).toEqual({
      kind: "A100-MIG-1g.10gb.me",
      count: 1,
    });
  });

  test("pools in their order, before the order of the ways", () => {
    const { resources } = made(
      { defaults: { nodePools: ["x", "y"] } },
      "resources: {any_of: [{cpus: 1}, {cpus: 2}]}\nrun: a",
    );
    expect(
      [resources, ...(resources.others ?? [])].map(({ cpus, labels }) => `${labels?.["node-pool"]}${cpus?.value}`),
    ).toEqual(["x1", "x2", "y1", "y2"]);
    expect(resources.anyOrder).toBeUndefined();
  });

  test("labels, node type, affinity", () => {
    const terms = [{ matchExpressions: [{ key: "rack", operator: "In", values: ["a", "b"] }] }];
    const policy = {
      defaults: {
        nodeType: "dgx",
        nodeAffinityRequired: { nodeSelectorTerms: terms },
        labels: { instances: [{ name: "disk", value: "ssd" }] },
      },
    };
    const { resources } = made(policy, "run: a");
    expect([resources.labels, ...(resources.others ?? []).map(({ labels }) => labels)]).toEqual([
      { disk: "ssd", "node-type": "dgx", rack: "a" },
      { disk: "ssd", "node-type": "dgx", rack: "b" },
    ]);
    expect(resources.anyOrder).toBe(true);
  });

  test("the task's own fields: run, variables, ports, priority, preemption, files", () => {
    const task = made(
      {
        defaults: {
          command: "train.sh",
          priorityClass: "low",
          preemptibility: "preemptible",
          environmentVariables: { instances: [{ name: "A", value: "1" }] },
          ports: { instances: [{ container: 8888, toolType: "jupyter" }] },
          storage: {
            git: { instances: [{ name: "code", repository: "https://h/x.git", branch: "dev" }] },
            s3: { instances: [{ bucket: "b", path: "/b", url: "http://minio:9000" }] },
            pvc: { instances: [{ claimName: "data", existingPvc: true, path: "/data" }] },
          },
        },
      },
      "workload: {kind: training}\nenvs: {B: 2}",
    );
    expect(task).toMatchObject({
      run: "train.sh",
      envs: { A: "1", B: "2", AWS_ENDPOINT_URL: "http://minio:9000" },
      ports: ["8888"],
      workdir: { kind: "git", url: "https://h/x.git", ref: "dev" },
      fileMounts: [{ destination: "/b", source: { kind: "uri", uri: "s3://b" }, mode: "MOUNT" }],
      volumes: [{ destination: "/data", name: "data" }],
      resources: { priority: -500, preemptible: true, recovers: true },
    });
  });

  test("folders of the node are mounts of the container", () => {
    const policy = {
      defaults: { storage: { hostPath: { instances: [{ path: "/etc/ssl", mountPath: "/ssl", readOnly: true }] } } },
    };
    expect(made(policy, "resources: {image_id: docker:a}\nrun: a").imageOptions).toEqual([
      "--volume",
      "/etc/ssl:/ssl:ro",
    ]);
  });

  test("what a policy asks for and nothing here does is left out", () => {
    const task = made({ defaults: { restartPolicy: "Never", tty: false } }, "run: a");
    expect(task).toEqual(read("run: a"));
  });
});

describe("what nothing can carry is refused by name", () => {
  test.each<[object, string, string]>([
    [
      { security: { runAsUid: 500 } },
      "run: a",
      "security.runAsUid: 500 is not you (uid 1000). A job runs as the user who sends it; as anybody else it could read and write that user's files.",
    ],
    [{ security: { runAsGid: 7 } }, "run: a", "security.runAsGid: 7 is not you (gid 1000)."],
    [
      { security: { supplementalGroups: "2000,7" } },
      "run: a",
      "security.supplementalGroups: 7 is no group that you are known to be in.",
    ],
    [
      { security: { uidGidSource: "fromTheImage" } },
      "run: a",
      "security.uidGidSource: a job runs as the user who sends it, whatever user its image names.",
    ],
    [
      { security: { readOnlyRootFilesystem: true } },
      "run: a",
      "security.readOnlyRootFilesystem: it is an option of a container, and the task has none.",
    ],
    [{ security: { hostNetwork: false } }, "run: a", "security.hostNetwork: it is an option of a container"],
    [{ security: { capabilities: ["NET_RAW"] } }, "run: a", "security.capabilities: it is an option of a container"],
    [{ compute: { cpuCoreLimit: 0 } }, "run: a", "compute.cpuCoreLimit: it must be above 0"],
    [
      { compute: { gpuDevicesRequest: 1, migProfile: "1g.5gb" } },
      "run: a",
      "compute.migProfile: '1g.5gb' is a slice of some kind of GPU, and the task names none.",
    ],
    [
      { compute: { gpuDevicesRequest: 1, gpuRequestType: "memory", gpuMemoryRequest: "90Gi" } },
      "resources: {accelerators: H100}\nrun: a",
      "compute.gpuMemoryRequest: a H100 has 80 GB, less than what is to be asked for.",
    ],
    [{ workingDir: "data" }, "run: a", "workingDir: it must be an absolute path."],
    [
      { cleanPodPolicy: "None" },
      "num_nodes: 2\nrun: a",
      "cleanPodPolicy: when a job ends, all of its ranks are ended, and their nodes are free.",
    ],
    [{ nodeAffinityRequired: { a: ["b"] } }, "run: a", "nodeAffinityRequired: nodes are chosen by equal labels"],
    [
      { nodeAffinityRequired: { disk: "hdd" } },
      "resources: {labels: {disk: ssd}}\nrun: a",
      "nodeAffinityRequired: no node could ever meet it: it asks for two values of one label.",
    ],
    [
      { storage: { git: { instances: [{ name: "code", repository: "https://u:p@h/a" }] } } },
      "run: a",
      "storage.git[].repository: an address of a repository without a password is needed.",
    ],
    [
      { storage: { git: { instances: [{ name: "code", repository: "https://h/a", secretName: "s" }] } } },
      "run: a",
      "storage.git[].secretName: no credentials are kept here",
    ],
    [
      { storage: { s3: { instances: [{ bucket: "b", path: "/b", accessKeySecret: "s" }] } } },
      "run: a",
      "storage.s3[].accessKeySecret: no credentials are kept here",
    ],
    [
      { storage: { pvc: { instances: [{ claimName: "d", path: "/d", existingPvc: true, readOnly: true }] } } },
      "run: a",
      "storage.pvc[].readOnly: whether a volume can be written is said where an admin publishes it",
    ],
    [
      {
        storage: {
          pvc: { instances: [{ claimName: "d", path: "/d", existingPvc: false, claimInfo: { size: "1Gi" } }] },
        },
      },
      "run: a",
      "storage.pvc[].existingPvc: no volumes are made here",
    ],
    [
      { storage: { hostPath: { instances: [{ path: "/a", mountPath: "/b" }] } } },
      "run: a",
      "storage.hostPath: a job without an image sees the node's folders where they are",
    ],
  ])("%j for %j", (defaults, text, message) => {
    const task = read(text);
    const [first] = policyOf(task, { defaults }).parts;
    const there = workloadsOf(task, who).map(({ workload }) => {
      const items = [...(first?.items ?? [])].map(([path, { instances }]): [string, PlainValue] => [
        path,
        [...instances],
      ]);
      return new Map([...(first?.defaults ?? []), ...items, ...workload]);
    });
    expect(() => taskWith(task, there, who)).toThrow(message);
  });

  test("one's own uid, gid and groups are fine", () => {
    const policy = {
      defaults: { security: { runAsUid: 1000, runAsGid: 1000, supplementalGroups: "2000", runAsNonRoot: true } },
    };
    expect(made(policy, "run: a").launchSpec).toBeUndefined();
  });

  test("root is root", () => {
    const task = read("run: a\nworkload: {security: {runAsNonRoot: true}}");
    expect(() => workloadsOf(task, { ...who, uid: 0 })).toThrow("security.runAsNonRoot: you are root.");
    const policy = { defaults: { security: { runAsNonRoot: true } } };
    const text = "resources: {image_id: docker:a}\nconfig: {docker: {run_options: '--user 0'}}";
    expect(() => under(policy, text)).toThrow("'--user' among the container's options asks for root");
  });

  test("a user's own word for somebody else, or for the machine's own folders", () => {
    expect(() => fields("run: a\nworkload: {security: {runAsUid: 5}}")).toThrow("security.runAsUid: 5 is not you");
    const text =
      "resources: {image_id: docker:a}\nrun: a\nworkload: {storage: {hostPath: [{path: /etc, mountPath: /e}]}}";
    expect(() => under({}, text)).toThrow("storage.hostPath[].path: '/etc' is the machine's own");
  });

  test("one value for the whole job", () => {
    const policy = { rules: { compute: { cpuCoreLimit: { defaultFrom: { field: "cpuCoreRequest", factor: 2 } } } } };
    expect(() => under(policy, "resources: {any_of: [{cpus: 1}, {cpus: 2}]}\nrun: a")).toThrow(
      "compute.cpuCoreLimit: it would be another for any_of[0] than for any_of[1], and one value holds for the whole job.",
    );
    expect(made(policy, "resources: {any_of: [{cpus: 2, memory: 1}, {cpus: 2}]}\nrun: a").launchSpec).toEqual({
      cpuCoreLimit: 4,
    });
  });
});
