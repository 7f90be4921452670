/** `sky config show`, and config files that go along with a task, as a person sees them. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Person, startPerson } from "../test/help/person.ts";

let person: Person;
beforeEach(async () => {
  person = await startPerson();
  const config = { docker: { run_options: ["--init"] }, jobs: { bucket: "s3://x" } };
  person.head.pages.set("/onprem/config", { cluster: "lab", config });
});
afterEach(() => person.close());

const sentTo = (path: string): unknown => person.head.calls.findLast((call) => call.path === path)?.body;

it("shows every value with its origin, the server's where a cluster is known", async () => {
  writeFileSync(
    join(person.home, ".sky", "config.yaml"),
    "docker:\n  run_options: [--shm-size=8g]\napi_server:\n  endpoint: http://x\n",
  );
  const alone = await person.sky(["config", "show", "--origin"]);
  expect([alone.code, alone.out]).toEqual([
    0,
    [
      "KEY                  VALUE              ORIGIN",
      'docker.run_options   ["--shm-size=8g"]  ~/.sky/config.yaml',
      "api_server.endpoint  http://x           ~/.sky/config.yaml",
      "",
    ].join("\n"),
  ]);
  expect(alone.err).toContain("'api_server' has no effect here: `sky` reaches a cluster over SSH");
  await person.initialize();
  const lab = await person.sky(["config", "show", "--config", "docker.run_options=--rm", "-o", "json"]);
  expect(JSON.parse(lab.out)).toEqual([
    { key: "docker.run_options", value: "--rm", origin: "--config", no_effect: null },
    { key: "jobs.bucket", value: "s3://x", origin: "server (lab)", no_effect: expect.stringMatching(/not served yet/) },
  ]);
});

it("shows the config of a task file above the files and below the command line", async () => {
  await person.initialize();
  writeFileSync(join(person.home, ".sky.yaml"), "docker:\n  run_options: [--project]\naws:\n  vpc_name: mine\n");
  const task = "envs: {NEEDED: null}\nconfig:\n  docker:\n    run_options: [--shm-size=2g]\nrun: train\n";
  writeFileSync(join(person.home, "task.yaml"), task);
  const shown = await person.sky(["config", "show", "lab", "task.yaml", "--origin"]);
  expect([shown.code, shown.out.split("\n").slice(0, 4)]).toEqual([
    0,
    [
      "KEY                 VALUE              ORIGIN",
      'docker.run_options  ["--shm-size=2g"]  task.yaml (config)',
      "jobs.bucket         s3://x             server (lab)",
      "aws.vpc_name        mine               .sky.yaml",
    ],
  ]);
  const words = ["config", "show", "task.yaml", "--config", "docker.run_options=--rm", "-o", "json"];
  expect((JSON.parse((await person.sky(words)).out) as unknown[])[0]).toMatchObject({
    value: "--rm",
    origin: "--config",
  });
  writeFileSync(join(person.home, "task.yaml"), "run: a\nconfig:\n  aws: {vpc_name: x}\n");
  const { code, err } = await person.sky(["config", "show", "task.yaml"]);
  expect([code, err]).toEqual([
    1,
    expect.stringContaining("task.yaml:3: 'config.aws' cannot be used here. It is about"),
  ]);
  expect((await person.sky(["config", "show", "lab", "other"])).code).toBe(2);
});

it("sends a task that names the cluster as this machine does without that name, and any other name along", async () => {
  await person.initialize();
  for (const [infra, sent] of [
    ["ssh/lab", false],
    ["ssh/head", true],
  ] as const) {
    writeFileSync(join(person.home, "task.yaml"), `resources: {infra: ${infra}}\nrun: a\n`);
    expect((await person.sky(["exec", "lab", "-d", "task.yaml"])).code).toBe(0);
    expect((sentTo("/exec") as { task: string }).task.includes('"infra":"ssh/head"')).toBe(sent);
  }
});

it("without any config says so", async () => {
  expect((await person.sky(["config", "show"])).out).toMatch(/^No config: /);
});

it("sends what the files say, without what only a server may say; a faulty file is found before the first connection", async () => {
  await person.initialize();
  writeFileSync(join(person.home, ".sky.yaml"), "allowed_clouds: [mine]\ndocker:\n  run_options: [--a]\n");
  expect((await person.sky(["exec", "lab", "-d", "--config", "aws.vpc_name=x", "--", "true"])).code).toBe(0);
  expect(sentTo("/exec")).toMatchObject({
    override_skypilot_config: { docker: { run_options: ["--a"] }, aws: { vpc_name: "x" } },
  });
  expect(JSON.stringify(sentTo("/exec"))).not.toContain("mine");
  writeFileSync(join(person.home, ".sky.yaml"), "dockr: {}\n");
  person.head.calls.length = 0;
  const { code, err } = await person.sky(["exec", "lab", "-d", "--", "true"]);
  expect([code, err]).toEqual([
    1,
    "Error: Invalid config YAML .sky.yaml:1: unknown key 'dockr'. Did you mean 'docker'?\n",
  ]);
  expect(person.head.calls).toEqual([]);
});
