/**
 * Tasks and resources as programs build them: every form that is taken, every one that is refused, and that a program and
 * a task file mean the same.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { readTask } from "../../../shared/task-file.ts";
import { InvalidTaskError, NotSupportedError, ValueError } from "./exceptions.ts";
import { Resources, type ResourcesOptions } from "./resources.ts";
import { Storage } from "./storage.ts";
import { Dag, onlyTask } from "./dag.ts";
import { plainTask, Task } from "./task.ts";

const folder = mkdtempSync(join(tmpdir(), "sky-sdk-task-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the coordinator will read. */
const sent = (task: Task): ReturnType<typeof readTask> => readTask(task.toYaml(), { file: "sent" });

describe("Task", () => {
  test("says what a task file says", () => {
    const task = new Task({ name: "train", setup: "make", run: "echo 'a: b'\n", numNodes: 2, envs: { GREETING: "on" } })
      .setResources(new Resources({ accelerators: "V100:2", cpus: "8+", memory: "32GB", priority: 5 }))
      .updateEnvs({ EPOCHS: "1e3" });
    const file = [
      "name: train",
      "num_nodes: 2",
      "resources: {accelerators: 'V100:2', cpus: 8+, memory: 32GB, priority: 5}",
      "envs: {GREETING: 'on', EPOCHS: '1e3'}",
      "setup: make",
      "run: |",
      "  echo 'a: b'",
    ].join("\n");
    expect(sent(task)).toEqual(readTask(`${file}\n`, { file: "file" }));
    expect(plainTask(task)).toEqual(sent(task));
  });

  test("has what it was given, and defaults", () => {
    const empty = new Task();
    expect([empty.name, empty.setup, empty.run, empty.workdir, empty.numNodes]).toEqual([null, null, null, null, 1]);
    expect(empty.envs).toEqual({});
    expect(empty.fileMounts).toEqual({});
    const task = new Task({ name: "a", run: "true", numNodes: 3, envs: { A: "1" } });
    expect([task.name, task.run, task.numNodes, task.envs]).toEqual(["a", "true", 3, { A: "1" }]);
    task.envs["A"] = "changed";
    expect(task.envs).toEqual({ A: "1" });
    expect(new Task({ name: null, run: undefined as never }).run).toBeNull();
  });

  test("set takes the place of what was said, update is beside it", () => {
    const task = new Task({ envs: { A: "1" } }).updateEnvs([["B", "2"]]);
    expect(task.envs).toEqual({ A: "1", B: "2" });
    expect(task.setEnvs({ C: "3" }).envs).toEqual({ C: "3" });
    expect(task.setEnvs(null).envs).toEqual({});
  });

  test("is read from a file, with the file's lines in its errors, and can be changed then", () => {
    const file = join(folder, "task.yaml");
    writeFileSync(file, "name: train\nenvs: {N: 010}\nresources: {cpus: 2}\nrun: echo $N\n");
    const task = Task.fromYaml(file).updateEnvs({ M: "x" });
    expect(task.envs).toEqual({ N: "8", M: "x" });
    expect(sent(task)).toMatchObject({ name: "train", run: "echo $N", resources: { cpus: { value: 2, exact: true } } });
    writeFileSync(file, "name: train\nrunn: echo\n");
    expect(() => Task.fromYaml(file)).toThrow(InvalidTaskError);
    expect(() => Task.fromYaml(file)).toThrow(/task\.yaml:2: unknown field 'runn'.*run/s);
    writeFileSync(file, "just text\n");
    expect(() => Task.fromYaml(file)).toThrow(ValueError);
    expect(() => Task.fromYaml(join(folder, "none.yaml"))).toThrow(/Cannot read the task file .*none\.yaml/);
  });

  test("shows no secret when it is printed", () => {
    const task = new Task({ run: "true", secrets: { TOKEN: "hush-hush" } });
    expect(inspect(task, { depth: 9 }) + JSON.stringify(task) + Object.values(task).join()).not.toContain("hush-hush");
    expect(sent(task).secrets).toEqual({ TOKEN: "hush-hush" });
    expect(sent(task.updateSecrets({ MORE: "a" })).secrets).toEqual({ TOKEN: "hush-hush", MORE: "a" });
    expect(sent(task.setSecrets(null)).secrets ?? {}).toEqual({});
  });

  test("mounts files and storage", () => {
    const task = new Task({ run: "true" })
      .setFileMounts({ "~/.netrc": "/home/alice/.netrc" })
      .updateFileMounts({ "/tmp/a": "/srv/a" })
      .setStorageMounts({ "/tmp/b/": new Storage({ source: "s3://bucket/b", mode: "COPY" }) });
    expect(Object.keys(task.fileMounts)).toEqual(["~/.netrc", "/tmp/a", "/tmp/b"]);
    expect(sent(task).fileMounts).toMatchObject([
      { destination: ".netrc", source: { kind: "local", path: "/home/alice/.netrc" } },
      { destination: "/tmp/a", source: { kind: "local", path: "/srv/a" } },
      { destination: "/tmp/b", source: { kind: "uri", uri: "s3://bucket/b" }, mode: "COPY" },
    ]);
    task.updateStorageMounts({ "/tmp/c": new Storage({ source: "gs://c" }) });
    expect(Object.keys(task.fileMounts)).toHaveLength(4);
    expect(Object.keys(task.setStorageMounts(null).fileMounts)).toEqual(["~/.netrc", "/tmp/a"]);
    expect(Object.keys(task.setFileMounts(null).fileMounts)).toEqual([]);
  });

  test("brings a workdir, volumes, an image, ports and an event script", () => {
    const task = new Task({
      run: "true",
      workdir: "/srv/a",
      volumes: { "/data": "sets" },
      eventCallback: "echo $JOB_STATUS",
    });
    expect(task.workdir).toBe("/srv/a");
    expect(sent(task.setResources(new Resources({ imageId: "docker:ubuntu:24.04", ports: [8080] })))).toMatchObject({
      workdir: { kind: "local", path: "/srv/a" },
      volumes: [{ destination: "/data", name: "sets" }],
      eventCallback: "echo $JOB_STATUS",
      image: "ubuntu:24.04",
      ports: ["8080"],
    });
    const url = "https://example.org/a.git";
    expect(sent(new Task({ workdir: { url, ref: "main" } })).workdir).toEqual({ kind: "git", url, ref: "main" });
  });

  test("keeps what policies speak of, of a file and of a program", () => {
    const fields = { "compute.cpuCoreLimit": 8, createHomeDir: true };
    const task = new Task({
      run: "true",
      workload: { project: "nlp", compute: { cpuCoreLimit: 8 }, createHomeDir: true },
    });
    expect(sent(task.setEnvs({ A: "1" })).workload).toEqual({ project: "nlp", fields });
    const file = join(folder, "workload.yaml");
    writeFileSync(file, task.toYaml());
    expect(sent(Task.fromYaml(file).updateEnvs({ B: "2" })).workload).toEqual({ project: "nlp", fields });
  });

  const refused: [string, () => unknown, typeof ValueError | typeof NotSupportedError, RegExp][] = [
    ["a misspelt option", () => new Task({ runs: "x" } as never), ValueError, /unknown option 'runs'/],
    ["no object", () => new Task("train" as never), ValueError, /must be an object/],
    ["a number as script", () => new Task({ run: 5 as never }), InvalidTaskError, /'run' must be text/],
    ["no nodes", () => new Task({ numNodes: 0 }), InvalidTaskError, /^'num_nodes' must be a whole number/],
    ["a bad name", () => new Task({ name: "-x" }), InvalidTaskError, /Invalid name '-x'/],
    ["a number in envs", () => new Task({ envs: { A: 1 as never } }), ValueError, /must be strings; 'A' is 1/],
    ["a bad variable", () => new Task().setEnvs({ "1A": "" }), InvalidTaskError, /'1A' has an invalid name/],
    ["a null secret", () => new Task().setSecrets({ A: null as never }), ValueError, /must be strings; 'A' is null/],
    ["a slash at an end", () => new Task().setFileMounts({ "/a/": "/b" }), ValueError, /slash: '\/a\/'/],
    ["a slash at the other", () => new Task().setFileMounts({ "/a": "/b/" }), ValueError, /slash: '\/b\/'/],
    [
      "no Storage",
      () => new Task().setStorageMounts({ "/a": {} as never }),
      ValueError,
      /must be of the class Storage/,
    ],
    ["an image by itself", () => new Task({ dockerImage: "x" }), NotSupportedError, /'dockerImage' has no meaning/],
    ["nodes to avoid", () => new Task({ blockedResources: [] }), NotSupportedError, /'blockedResources'/],
    ["no Resources", () => new Task().setResources("V100" as never), ValueError, /setResources takes/],
    ["none at all", () => new Task().setResources([]), ValueError, /setResources takes/],
  ];
  test.each(refused)("refuses %s", (_what, make, type, text) => {
    expect(make).toThrow(type);
    expect(make).toThrow(text);
  });

  test("stays what it was when a setter refuses", () => {
    const task = new Task({ envs: { A: "1" } });
    expect(() => task.setEnvs({ "1A": "" })).toThrow(InvalidTaskError);
    expect(task.envs).toEqual({ A: "1" });
  });
});

describe("Resources", () => {
  const config = (options: ResourcesOptions): unknown =>
    sent(new Task({ run: "true" }).setResources(new Resources(options))).resources;
  const v100 = { kind: "V100", count: 2 };

  test.each<[string, ResourcesOptions, object]>([
    ["a kind", { accelerators: "V100" }, { accelerators: { kind: "V100", count: 1 } }],
    ["a kind and a count", { accelerators: "V100:2" }, { accelerators: v100 }],
    ["an object", { accelerators: { V100: 2 } }, { accelerators: v100 }],
    ["a share", { accelerators: "V100:0.5" }, { accelerators: { kind: "V100", count: 0.5 } }],
    ["a list", { accelerators: ["V100:2", "A100"] }, { accelerators: v100, others: [expect.anything()] }],
    ["a set", { accelerators: new Set(["V100:2", "A100"]) }, { accelerators: v100, anyOrder: true }],
    ["numbers", { cpus: 4, memory: 1.5 }, { cpus: { value: 4, exact: true }, memoryGb: { value: 1.5, exact: true } }],
    ["at least", { cpus: "4+", memory: "16+" }, { cpus: { value: 4, exact: false } }],
    ["the place here", { cloud: "Local" }, {}],
    ["no spot", { useSpot: false }, {}],
    ["recovery", { jobRecovery: "FAILOVER" }, { recovers: true }],
    ["labels", { labels: { disk: "nvme" } }, { labels: { disk: "nvme" } }],
    ["time", { time: "90m" }, { timeLimitSeconds: 5400 }],
    ["an image", { imageId: "docker:ubuntu:24.04", cpus: 1 }, { cpus: { value: 1 } }],
    ["SkyPilot's size of a disk", { diskSize: 256 }, {}],
    ["a node alone", { exclusive: true, priority: -7 }, { exclusive: true, priority: -7 }],
    ["preemptible", { preemptible: true }, { preemptible: true }],
    ["nulls", { cpus: null, region: null, accelerators: null }, { cpus: null, accelerators: null }],
  ])("takes %s", (_what, options, expected) => {
    expect(config(options)).toMatchObject(expected);
  });

  test.each<[string, ResourcesOptions, typeof ValueError | typeof NotSupportedError, RegExp]>([
    [
      "instance types",
      { instanceType: "p3" },
      NotSupportedError,
      /'instanceType' has no meaning here\. .*no types to rent/,
    ],
    ["regions", { region: "eu" }, NotSupportedError, /'region'.*stand where they stand/],
    ["zones", { zone: "a" }, NotSupportedError, /'zone'/],
    ["disks", { diskSize: 100 }, NotSupportedError, /'diskSize' has no meaning here\. \S/],
    ["tiers", { diskTier: "best" }, NotSupportedError, /'diskTier'/],
    ["TPU arguments", { acceleratorArgs: { tpu_vm: true } }, NotSupportedError, /'acceleratorArgs'/],
    ["spot", { useSpot: true }, NotSupportedError, /'useSpot'/],
    ["clouds", { cloud: "aws" }, NotSupportedError, /part of no cloud/],
    ["a misspelt field", { acelerators: "V100" } as never, ValueError, /unknown option 'acelerators'/],
    ["no CPUs", { cpus: 0 }, InvalidTaskError, /"cpus"/],
    ["a bad size", { memory: "lots" }, InvalidTaskError, /"memory"/],
    ["a bad kind", { accelerators: "V100:x" }, InvalidTaskError, /V100:x/],
    ["a priority off the scale", { priority: 1001 }, InvalidTaskError, /Priority must be/],
  ])("refuses %s", (_what, options, type, text) => {
    expect(() => new Resources(options)).toThrow(type);
    expect(() => new Resources(options)).toThrow(text);
  });

  test("never changes; a copy may differ", () => {
    const labels = { disk: "nvme" };
    const resources = new Resources({ cpus: 4, labels });
    labels.disk = "tape";
    expect(resources.labels).toEqual({ disk: "nvme" });
    expect(Object.isFrozen(resources)).toBe(true);
    const copy = resources.copy({ cpus: null, memory: "8+" });
    expect([copy.cpus, copy.memory, copy.labels]).toEqual([null, "8+", { disk: "nvme" }]);
    expect(resources.cpus).toBe(4);
    expect(() => resources.copy({ zone: "a" })).toThrow(NotSupportedError);
  });

  test("several are a preference or a free choice", () => {
    const [one, other] = [new Resources({ accelerators: "V100" }), new Resources({ cpus: 4 })];
    const ways = (task: Task): unknown => sent(task.setEnvs({ A: "" })).resources;
    expect(ways(new Task().setResources([one, other]))).toMatchObject({ others: [{ cpus: { value: 4 } }] });
    expect(ways(new Task().setResources(new Set([one, other])))).toMatchObject({ anyOrder: true });
    const task = new Task().setResources([one, other]).setResourcesOverride({ memory: 8 });
    expect(ways(task)).toMatchObject({ memoryGb: { value: 8 }, others: [{ memoryGb: { value: 8 } }] });
    expect(ways(new Task().setResourcesOverride({ cpus: 2 }))).toMatchObject({ cpus: { value: 2 } });
  });
});

describe("Storage", () => {
  test.each([
    ["none", {}, /without a source/],
    ["a bucket by name", { name: "mine" }, /without a source/],
    ["a store", { source: "s3://a", stores: ["s3"] }, /neither made nor removed/],
    ["one that goes", { source: "s3://a", persistent: false }, /neither made nor removed/],
    ["a mode that is none", { source: "s3://a", mode: "SYNC" as never }, /'SYNC' is no StorageMode/],
  ])("refuses %s", (_what, options, text) => {
    expect(() => new Storage(options)).toThrow(text);
  });
});

describe("Dag", () => {
  test("holds one task", () => {
    const task = new Task({ run: "true" });
    const dag = new Dag().add(task);
    expect(onlyTask(dag)).toBe(task);
    expect(onlyTask(task)).toBe(task);
    expect(() => dag.add(task)).toThrow(NotSupportedError);
    expect(() => onlyTask(new Dag())).toThrow(/no task/);
    expect(() => onlyTask("task.yaml" as never)).toThrow(/must be a Task or a Dag, not 'task.yaml'/);
  });
});
