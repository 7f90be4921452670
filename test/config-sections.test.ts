/** docs/config.md names every section of SkyPilot's config, and whether it has an effect, as the program says. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { configSections } from "../shared/config-sections.ts";

const text = readFileSync(join(import.meta.dirname, "../docs/config.md"), "utf8");
const rows = text
  .slice(text.indexOf("## What has an effect"))
  .split("\n")
  .filter((line) => line.startsWith("| `"));

test.each([...configSections])("%s", (section, { idle }) => {
  const named = rows.filter((row) => row.split("|")[1]?.includes(`\`${section}`));
  const clouds = rows.filter((row) => row.includes("and the other clouds"));
  const found = named.length > 0 ? named : clouds;
  expect(found, `a row of docs/config.md for ${section}`).toHaveLength(1);
  expect(/\| none/.test(found[0] ?? "")).toBe(idle !== undefined);
});
