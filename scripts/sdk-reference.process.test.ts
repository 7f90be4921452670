/**
 * The reference of the SDK says what the sources say.
 */
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkout } from "./cluster/layout.ts";
import { run } from "../test/help/run.ts";

test("docs/sdk.md is up to date", async () => {
  const argv = [process.execPath, "--import", "tsx", join(checkout, "scripts/sdk-reference.ts"), "--check"];
  const result = await run(argv, { cwd: checkout, limitMs: 60_000, env: { PATH: process.env["PATH"] ?? "" } });
  expect(result).toMatchObject({ code: 0, stderr: "" });
});
