/**
 * Every file of examples/ runs as its first lines say.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { sky } from "../help/sky.ts";
import { clusterName, jobLines, type Site, startSite } from "../help/site.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite();
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

/** What each example's own lines must hold, in any order. */
const expected: Record<string, RegExp[]> = {
  "hello.yaml": [/^Hello from skytest/, /rank 0 of 1/],
  "minimal.yaml": [/^running setup$/, /^task run finish$/],
  "env_check.yaml": [
    /^GREETING is: good morning$/,
    /^rank 0: the environment is right$/,
    /^rank 1: the environment is right$/,
  ],
  "multi_node.yaml": [/^I am rank 0 of 2; rank 0 is at 127\.0\.0\./, /^I am rank 1 of 2; rank 0 is at 127\.0\.0\./],
  "choice.yaml": [/^device: \d$/],
  "checkpoint.yaml": [/^begins at step 0 of 3$/, /^done with step 3 of 3$/],
  "gpu.yaml": [/^devices: \d,\d$/, /^devices per node: 2$/],
};

test("every example has a test", () => {
  const files = readdirSync(join(checkout, "examples")).filter((name) => name.endsWith(".yaml"));
  expect(files.sort()).toEqual(Object.keys(expected).sort());
});

describe.each(Object.entries(expected))("%s", (name, patterns) => {
  test("runs as its first lines say", async () => {
    const result = await sky(user, ["launch", "-c", clusterName, "-y", join(checkout, "examples", name)]);
    const lines = jobLines(result.stdout);
    for (const pattern of patterns) {
      expect(
        lines.filter((line) => pattern.test(line)),
        `${pattern} in:\n${result.stdout}\n${result.stderr}`,
      ).not.toEqual([]);
    }
    expect(result.code).toBe(0);
  });
});

test("--env replaces an example's value, with its blank", async () => {
  const file = join(checkout, "examples/env_check.yaml");
  const result = await sky(user, ["exec", clusterName, file, "--env", "GREETING=hello world"]);
  expect(jobLines(result.stdout)).toContain("GREETING is: hello world");
  expect(result.code).toBe(0);
});
