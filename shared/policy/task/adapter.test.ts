/** The traps between task files and policies, each with a policy that somebody would try to get around. */
import { describe, expect, test } from "vitest";
import { who, read, fields, under, violations, made } from "../../../test/help/policed-task.ts";
import { hiddenSecret, taskWith, workloadsOf } from "./adapter.ts";
import { kindOf } from "./kind.ts";

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
    const ways = `{any_of: [${numbers
      .slice(1, 65)
      .map((cpus) => `{cpus: ${cpus}}`)
      .join(", ")}]}`;
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
