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

it("without any config says so", async () => {
  expect((await person.sky(["config", "show"])).out).toMatch(/^No config: /);
});

it("sends what the files say, without what only a server may say; a faulty file is found before the first connection", async () => {
  await person.initialize();
  writeFileSync(join(person.home, ".sky.yaml"), "admin_policy: mine.Policy\ndocker:\n  run_options: [--a]\n");
  expect((await person.sky(["exec", "lab", "-d", "--config", "aws.vpc_name=x", "--", "true"])).code).toBe(0);
  expect(sentTo("/exec")).toMatchObject({
    override_skypilot_config: { docker: { run_options: ["--a"] }, aws: { vpc_name: "x" } },
  });
  expect(JSON.stringify(sentTo("/exec"))).not.toContain("mine.Policy");
  writeFileSync(join(person.home, ".sky.yaml"), "dockr: {}\n");
  person.head.calls.length = 0;
  const { code, err } = await person.sky(["exec", "lab", "-d", "--", "true"]);
  expect([code, err]).toEqual([
    1,
    "Error: Invalid config YAML .sky.yaml:1: unknown key 'dockr'. Did you mean 'docker'?\n",
  ]);
  expect(person.head.calls).toEqual([]);
});
