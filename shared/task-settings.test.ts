/** Secrets, images, ports, config, callbacks, pipelines, and every field that has no meaning on one's own machines. */
import { describe, expect, test } from "vitest";
import { SkyError } from "./errors.ts";
import type { Task } from "./task.ts";
import { readPipeline, readTask, writeTask } from "./task-file.ts";
import { configRefusals, resourceRefusals, taskRefusals } from "./task-refusals.ts";

function read(text: string, secretOverrides: Record<string, string> = {}): Task {
  return readTask(text, { file: "t.yaml", secretOverrides });
}

function faultOf(text: string, secretOverrides: Record<string, string> = {}): string {
  try {
    read(text, secretOverrides);
  } catch (error) {
    if (error instanceof SkyError) {
      return error.message;
    }
    throw error;
  }
  throw new Error("accepted");
}

describe("secrets", () => {
  test("as envs, with flags over them", () => {
    const task = read("secrets: {A: yes, B: , C: ''}\nrun: a\n", { B: "given", D: "more" });
    expect(task.secrets).toEqual({ A: "True", B: "given", C: "", D: "more" });
    expect(task.envs).toEqual({});
    expect(read(writeTask(task))).toEqual(task);
    expect("secrets" in read("secrets: {}\nrun: a\n")).toBe(false);
  });

  test.each([
    [
      "{A: }",
      "t.yaml:1: Secret variable 'A' is None. Please set a value for it in task YAML or with --secret flag. " +
        'To set it to be empty, use an empty string (A: "" in task YAML or --secret A="" in CLI).',
    ],
    ["{A: secrets:personal.TOKEN}", "'secrets.A' names a secret that a server keeps."],
    ["{secrets:TOKEN: x}", "'secrets.secrets:TOKEN' names a secret that a server keeps."],
    ["['secrets:TOKEN']", "'secrets' as a list names secrets that a server keeps."],
    ["{A-B: x}", "Secret variable 'A-B' has an invalid name"],
    ["{SKYPILOT_DOCKER_USERNAME: u}", "A registry's login needs SKYPILOT_DOCKER_USERNAME, SKYPILOT_DOCKER_PASSWORD"],
  ])("refused: %s", (value, text) => {
    expect(faultOf(`secrets: ${value}\nrun: a\n`)).toContain(text);
  });

  test("no message holds a secret", () => {
    const fault = faultOf('secrets: {A: "hunter2\\0"}\nrun: a\n') + faultOf("run: a\n", { "A-B": "hunter2" });
    expect(fault).not.toContain("hunter2");
  });
});

describe("containers", () => {
  test.each([
    ["docker:python:3.12-slim", "python:3.12-slim"],
    ["docker:ghcr.io/a/b@sha256:0f", "ghcr.io/a/b@sha256:0f"],
    ["{null: docker:a}", "a"],
  ])("image_id: %s", (value, image) => {
    const task = read(`resources: {image_id: ${value}}\nrun: a\n`);
    expect(task.image).toBe(image);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each([
    ["ami-1", "'image_id' must be docker:IMAGE"],
    ["{us-east-1: docker:a}", "'image_id' must be docker:IMAGE"],
    ["docker:--privileged", "names no image"],
    ["'docker:a b'", "names no image"],
  ])("refused image_id: %s", (value, text) => {
    expect(faultOf(`resources: {image_id: ${value}}\nrun: a\n`)).toContain(text);
  });

  test.each([
    ["--shm-size=2g", ["--shm-size=2g"]],
    ["[--shm-size=2g, -v /a:/b, '-e ''X=a b''']", ["--shm-size=2g", "-v", "/a:/b", "-e", "X=a b"]],
    ["[]", undefined],
  ])("run_options: %s", (value, options) => {
    const task = read(`resources: {image_id: docker:a}\nconfig: {docker: {run_options: ${value}}}\nrun: a\n`);
    expect(task.imageOptions).toEqual(options);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each([
    ["[a, {b: c}]", "'config.docker.run_options' must be options as on a command line"],
    ['"-e \'X"', "'config.docker.run_options' must be options as on a command line"],
  ])("refused run_options: %s", (value, text) => {
    expect(faultOf(`resources: {image_id: docker:a}\nconfig: {docker: {run_options: ${value}}}\nrun: a\n`)).toContain(
      text,
    );
  });

  test("options without an image", () => {
    expect(faultOf("config: {docker: {run_options: --rm}}\nrun: a\n")).toContain("need a container");
  });

  test("SkyPilot's client moves the config into the resources", () => {
    const text = "resources: {image_id: {null: docker:a}, _cluster_config_overrides: {docker: {run_options: [--rm]}}}";
    expect(read(`${text}\nrun: a\n`)).toMatchObject({ image: "a", imageOptions: ["--rm"] });
  });
});

describe("ports", () => {
  test.each([
    ["8080", ["8080"]],
    ["'80'", ["80"]],
    ["9000-9010", ["9000-9010"]],
    ["'80, 443'", ["80", "443"]],
    ["[80, '90-95', 80]", ["80", "90-95"]],
  ])("%s", (value, ports) => {
    const task = read(`resources: {ports: ${value}}\nrun: a\n`);
    expect(task.ports).toEqual(ports);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each(["0", "70000", "90-80", "http", "[a]", "{a: b}", "1.5"])("refused: %s", (value) => {
    expect(faultOf(`resources: {ports: ${value}}\nrun: a\n`)).toContain("t.yaml:1: 'ports' must be ports from 1 to");
  });
});

describe("fields without a meaning here", () => {
  const notes = [
    ..."_metadata _user_specified_yaml _docker_login_config _docker_username_for_runpod _is_image_managed".split(" "),
    ..."_requires_fuse _no_missing_accel_warnings".split(" "),
  ];
  const cases = [
    ...Object.entries(taskRefusals).map(([name, refusal]) => [name, name, refusal.reason] as const),
    ...Object.entries(resourceRefusals).map(([name, refusal]) => [`resources.${name}`, name, refusal.reason] as const),
    ...Object.entries(configRefusals).map(([name, refusal]) => [`config.${name}`, name, refusal.reason] as const),
  ].filter(([, name]) => !notes.includes(name));

  test.each(cases)("%s", (path, name, reason) => {
    const [parent, child] = path.split(".");
    const text = child === undefined ? `${name}: something` : `${parent}: {${name}: something}`;
    expect(faultOf(`${text}\nrun: a\n`)).toBe(`Invalid task YAML: t.yaml:1: '${path}' cannot be used here. ${reason}`);
    // A null asks for nothing.
    expect(read(`${text.replace("something", "null")}\nrun: a\n`).run).toBe("a");
  });

  test("what SkyPilot's client writes into every task asks for nothing", () => {
    const text = [
      "name: x",
      "resources:",
      "  disk_size: 256",
      "  use_spot: false",
      "  autostop: false",
      "  labels: {}",
      "  ports:",
      "  infra: '*'",
      "  accelerators: {V100: 1}",
      "  _cluster_config_overrides: {}",
      "  _is_image_managed: false",
      "num_nodes: 1",
      "file_mounts: {}",
      "file_mounts_mapping: {/home/a/code: /up/code}",
      "_metadata: {git_commit: abc}",
      "_user_specified_yaml: 'run: a'",
      "run: a",
    ].join("\n");
    expect(read(text)).toEqual({
      name: "x",
      numNodes: 1,
      resources: { accelerators: { kind: "V100", count: 1 }, cpus: null, memoryGb: null },
      sourceNames: { "/home/a/code": "/up/code" },
      envs: {},
      setup: null,
      run: "a",
    });
  });

  test.each([
    ["resources: {disk_size: 512}", "resources.disk_size"],
    ["resources: {autostop: 10m}", "resources.autostop"],
    ["resources: {any_of: [{use_spot: true}, {cpus: 2}]}", "resources.any_of[].use_spot"],
    ["api_server_access: false", "api_server_access"],
    ["config: {active_workspace: research}", "config.active_workspace"],
    ["config: {nvidia_gpus: {disable_ecc: true}}", "config.nvidia_gpus"],
  ])("%s", (text, path) => {
    expect(faultOf(`${text}\nrun: a\n`)).toContain(`'${path}' cannot be used here. `);
  });

  test.each(["api_server_access: true", "config: {active_workspace: default, hooks: []}", "inputs: {}"])(
    "%s asks for nothing",
    (text) => {
      expect(read(`${text}\nrun: a\n`).run).toBe("a");
    },
  );

  test("an unknown key of config names the near one", () => {
    expect(faultOf("config: {dcker: {}}\nrun: a\n")).toContain("unknown field 'config.dcker'. Did you mean 'docker'?");
  });
});

test("event_callback and the SDK's command generator", () => {
  const task = read("event_callback: |\n  curl x\nrun_generator: '(rank) => `echo ${rank}`'\n");
  expect(task).toMatchObject({ eventCallback: "curl x\n", runGenerator: "(rank) => `echo ${rank}`", run: null });
  expect(read(writeTask(task))).toEqual(task);
  expect(faultOf("run: a\nrun_generator: b\n")).toContain("'run' and 'run_generator' exclude each other.");
});

describe("files with several tasks", () => {
  const pipeline = (text: string) => readPipeline(text, { file: "t.yaml" });

  test.each([
    ["run: a\n", { name: null, execution: "serial", runs: ["a"] }],
    ["run: a\n---\nrun: b\n", { name: null, execution: "serial", runs: ["a", "b"] }],
    ["name: p\n---\nrun: a\n---\nrun: b\n", { name: "p", execution: "serial", runs: ["a", "b"] }],
    ["name: p\nexecution: serial\n---\nrun: a\n", { name: "p", execution: "serial", runs: ["a"] }],
    ["name: g\nexecution: parallel\n---\nname: x\nrun: a\n", { name: "g", execution: "parallel", runs: ["a"] }],
  ])("%j", (text, { name, execution, runs }) => {
    const read = pipeline(text);
    expect([read.name, read.execution, read.tasks.map(({ run }) => run)]).toEqual([name, execution, runs]);
  });

  test("a group's primary tasks and delays", () => {
    const header = "name: g\nexecution: parallel\nprimary_tasks: [server]\n";
    const tasks = "---\nname: server\nrun: a\n---\nname: client\nrun: b\n";
    const delays = "termination_delay: {default: 30s, client: 2m}\n";
    expect(pipeline(`${header}${delays}${tasks}`)).toMatchObject({
      primaryTasks: ["server"],
      terminationDelays: { default: 30, client: 120 },
    });
    expect(pipeline(`${header}termination_delay: 30s\n${tasks}`).terminationDelays).toEqual({ default: 30 });
  });

  test.each([
    ["name: g\nexecution: both\n---\nrun: a\n", "t.yaml:2: 'execution: both' is not known. Known: serial, parallel."],
    ["name: g\nprimary_tasks: [a]\n---\nname: a\nrun: a\n", "'primary_tasks' belongs to groups"],
    [
      "execution: parallel\nprimary_tasks: [b]\n---\nname: a\nrun: a\n",
      "must be a list of names of tasks in this file",
    ],
    ["name: p\n---\nrun: a\n---\nruns: b\n", "t.yaml:5: unknown field 'runs'. Did you mean 'run'?"],
  ])("refused: %j", (text, fault) => {
    expect(() => pipeline(text)).toThrow(fault);
  });
});
