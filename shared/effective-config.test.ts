/** The effective config shows every key, and reads back as what it was made of. */
import { expect, test } from "vitest";
import * as z from "zod";
import { parseConfig } from "./config-file.ts";
import { effectiveConfig } from "./effective-config.ts";

const schema = z.strictObject({
  cluster: z.string(),
  address: z.string().optional(),
  listen: z.strictObject({ port: z.int().default(22), host: z.string().default("on") }).prefault({}),
  nodes: z.array(z.strictObject({ name: z.string(), address: z.string().optional() })),
  deny: z.array(z.string()).default([]),
  fast: z.boolean().default(false),
});

test("every key with its value, in the schema's order", () => {
  const config = parseConfig("nodes: [{name: n1}, {name: n2, address: '::1'}]\ncluster: '010'\n", "f", schema);
  const text = effectiveConfig(config, schema);
  expect(text).toBe(`cluster: "010"
# address: not set
listen:
  port: 22
  host: "on"
nodes:
  - name: "n1"
    # address: not set
  - name: "n2"
    address: "::1"
deny: []
fast: false
`);
  expect(parseConfig(text, "f", schema)).toEqual(config);
});

test("whatever a value looks like to YAML, it reads back", () => {
  const nodes = ["yes", "1e3", "2020-01-01", "~", "a: b # c", "line\nbreak", '"\\', "ü €", ""].map((name) => ({
    name,
  }));
  const config = { ...parseConfig("cluster: x\nnodes: []", "f", schema), nodes, deny: ["off", "=", "0x1f"] };
  expect(parseConfig(effectiveConfig(config, schema), "f", schema)).toEqual(config);
});
