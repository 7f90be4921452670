/** What flags make of a task file: they hold for every way in which the task may run. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { resourcesValue } from "../../shared/task-resources.ts";
import { type TaskFlags, taskOf } from "./entrypoint.ts";

const cwd = mkdtempSync(join(tmpdir(), "entrypoint-"));
afterAll(() => rmSync(cwd, { recursive: true, force: true }));

async function resources(yaml: string, flags: Partial<TaskFlags>): Promise<unknown> {
  writeFileSync(join(cwd, "t.yaml"), `resources: ${yaml}\nrun: a\n`);
  const task = await taskOf(["t.yaml"], { env: [], ...flags }, { cwd, env: {} });
  return resourcesValue(task.resources);
}

describe("flags over the file", () => {
  test.each<[string, Partial<TaskFlags>, unknown]>([
    ["{}", { gpus: "80GB+:2" }, { accelerators: "80GB+:2" }],
    ["{gpus: T4, cpus: 2}", { gpus: "L4:2" }, { accelerators: "L4:2", cpus: "2" }],
    ["{gpus: T4, cpus: 2}", { gpus: "none" }, { cpus: "2" }],
    [
      "{gpus: [T4, L4]}",
      { cpus: "4+" },
      {
        ordered: [
          { accelerators: "T4:1", cpus: "4+" },
          { accelerators: "L4:1", cpus: "4+" },
        ],
      },
    ],
    ["{gpus: {T4, L4}}", { gpus: "H100" }, { accelerators: "H100:1" }],
    [
      "{any_of: [{gpus: T4, labels: {a: x}}, {gpus: L4}]}",
      { memory: "16", label: ["a=y", "b=z"] },
      {
        any_of: [
          { accelerators: "T4:1", memory: "16", labels: { a: "y", b: "z" } },
          { accelerators: "L4:1", memory: "16", labels: { a: "y", b: "z" } },
        ],
      },
    ],
    [
      "{priority: 5, time: 1h}",
      { priority: "-5", time: "2h", exclusive: true, preemptible: true },
      { job_recovery: "EAGER_NEXT_REGION", priority: -5, time: "2h", exclusive: true, preemptible: true },
    ],
    ["{priority: 5}", { priority: "0" }, {}],
    ["{priority: 5, time: 90, exclusive: true}", {}, { priority: 5, time: "1h30m", exclusive: true }],
  ])("%s with %j", async (yaml, flags, expected) => {
    expect(await resources(yaml, flags)).toEqual(expected);
  });
});

describe("refused flags", () => {
  test.each<[Partial<TaskFlags>, string]>([
    [{ gpus: "[A100,H100]" }, 'The "accelerators" field as a str should be <name> or <name>:<cnt>'],
    [{ time: "soon" }, 'The "time" field should be like 2h'],
    [{ priority: "high" }, "Priority must be a whole number between -1000 and 1000. Found: 'high'"],
    [{ label: ["disk"] }, "--label disk: expected NAME=VALUE."],
    [{ label: ["-=x"] }, "--label: Invalid label '-=x'"],
    [{ cpus: "many" }, 'The "cpus" field should be either a number'],
  ])("%j", async (flags, text) => {
    await expect(resources("{}", flags)).rejects.toThrow(text);
  });
});

describe("what the task brings along", () => {
  const env = { MINE: "my own" };
  const task = (flags: Partial<TaskFlags>, yaml = "run: a\n"): ReturnType<typeof taskOf> => {
    writeFileSync(join(cwd, "b.yaml"), yaml);
    return taskOf(["b.yaml"], { env: [], ...flags }, { cwd, env });
  };

  test("options of a container in the file count for the image of the flag", async () => {
    const yaml = "config: {docker: {run_options: [--init]}}\nrun: a\n";
    expect(await task({ imageId: "docker:b" }, yaml)).toMatchObject({ image: "b", imageOptions: ["--init"] });
    await expect(task({}, yaml)).rejects.toThrow("need a container");
  });

  test("flags in place of the file's working folder, image and ports", async () => {
    const yaml = "workdir: ./code\nresources: {image_id: docker:a, ports: 80}\nrun: a\n";
    expect(await task({ workdir: "~/other", imageId: "docker:b", ports: ["90,91", "100-110"] }, yaml)).toMatchObject({
      workdir: { kind: "local", path: "~/other" },
      image: "b",
      ports: ["90", "91", "100-110"],
    });
    expect((await task({ gitUrl: "https://h/a.git", gitRef: "v1" }, yaml)).workdir).toEqual({
      kind: "git",
      url: "https://h/a.git",
      ref: "v1",
    });
    expect((await task({}, yaml)).workdir).toEqual({ kind: "local", path: "./code" });
  });

  test("secrets from the file, the secret file, the flags and the caller's environment", async () => {
    writeFileSync(join(cwd, "s.env"), "B=two\nC=three\n");
    const flags = { secretFile: "s.env", secret: ["C=four", "MINE", "D="] };
    const { secrets, envs } = await task(flags, "secrets: {A: one, B: null}\nrun: a\n");
    expect(secrets).toEqual({ A: "one", B: "two", C: "four", MINE: "my own", D: "" });
    expect(envs).toEqual({});
    expect((await taskOf(["echo", "x"], { env: [], secret: ["K=v"] }, { cwd, env })).secrets).toEqual({ K: "v" });
  });

  test.each<[Partial<TaskFlags>, string]>([
    [{ secret: ["1=hunter2"] }, "--secret 1: '1' cannot be the name of an environment variable."],
    [{ secret: ["NOT_SET"] }, "--secret NOT_SET: NOT_SET is not set in your environment."],
    [{ secretFile: "none.env" }, "Cannot read the secret file"],
    [{ imageId: "ami-1" }, "'image_id' must be docker:IMAGE"],
    [{ ports: ["x"] }, "'ports' must be ports from 1 to 65535"],
    [{ workdir: ".", gitUrl: "https://h/a" }, "--workdir and --git-url exclude each other"],
    [{ gitRef: "main" }, "--git-ref needs --git-url."],
  ])("refused: %j", async (flags, text) => {
    await expect(task(flags)).rejects.toThrow(text);
  });
});
