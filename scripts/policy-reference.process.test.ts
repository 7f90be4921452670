/**
 * The table of policy fields says what the catalog says.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { policyFields } from "../shared/policy/fields/fields.ts";
import { run } from "../test/help/run.ts";
import { checkout } from "./cluster/layout.ts";

test("docs/policies.md is up to date, and has every field", async () => {
  const argv = [process.execPath, "--import", "tsx", join(checkout, "scripts/policy-reference.ts"), "--check"];
  const result = await run(argv, { cwd: checkout, limitMs: 60_000, env: { PATH: process.env["PATH"] ?? "" } });
  expect(result).toMatchObject({ code: 0, stderr: "" });
  const lines = readFileSync(join(checkout, "docs/policies.md"), "utf8").split("\n");
  const missing = policyFields.filter(({ path }) => !lines.some((line) => line.startsWith(`| \`${path}\` |`)));
  expect(missing.map(({ path }) => path)).toEqual([]);
});
