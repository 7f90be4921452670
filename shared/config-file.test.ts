/** Config files: every fault at once, each with its line, and near matches for mistyped keys. */
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { parseConfig } from "./config-file.ts";

const schema = z.strictObject({
  cluster: z.string(),
  port: z.int().max(65535).default(22),
  listen: z.strictObject({ address: z.string().default("127.0.0.1"), ttl: z.int().optional() }).prefault({}),
  nodes: z.array(z.strictObject({ name: z.string().regex(/^[a-z]+$/), key: z.string() })).default([]),
  ips: z.array(z.union([z.string(), z.strictObject({ host: z.string(), user: z.string().optional() })])).default([]),
  path: z.string().regex(/^\//, "must be an absolute path").optional(),
});

function faultOf(text: string): string {
  try {
    parseConfig(text, "/etc/c.yml", schema);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("accepted");
}

describe("parseConfig", () => {
  test("fills defaults in", () => {
    expect(parseConfig("cluster: lab\nlisten: {ttl: 5}\n", "f", schema)).toEqual({
      cluster: "lab",
      port: 22,
      listen: { address: "127.0.0.1", ttl: 5 },
      nodes: [],
      ips: [],
    });
  });

  test("lists every fault with its line", () => {
    const text = [
      "clutser: lab",
      "cluster: 010",
      "port: 70000",
      "listen:",
      "  adress: x",
      "nodes:",
      "- name: a",
      "- name: B",
      "  key: k",
      "  kex: z",
      "path: etc",
    ].join("\n");
    const lines = faultOf(text).split("\n");
    expect(lines[0]).toBe("/etc/c.yml:1: unknown key 'clutser'. Did you mean 'cluster'?");
    expect(lines[1]).toMatch(/^\/etc\/c\.yml:2: key 'cluster': .*expected string.*Put it in quotes to make it text\.$/);
    expect(lines[2]).toMatch(/^\/etc\/c\.yml:3: key 'port': .*65535/);
    expect(lines[3]).toBe("/etc/c.yml:5: unknown key 'listen.adress'. Did you mean 'address'?");
    expect(lines[4]).toBe("/etc/c.yml:7: key 'nodes[0].key' is missing.");
    expect(lines[5]).toMatch(/^\/etc\/c\.yml:8: key 'nodes\[1\]\.name'/);
    expect(lines[6]).toBe("/etc/c.yml:10: unknown key 'nodes[1].kex'. Did you mean 'key'?");
    expect(lines[7]).toBe("/etc/c.yml:11: key 'path': must be an absolute path.");
    expect(lines).toHaveLength(8);
  });

  test("an unknown key without a near one lists the known ones", () => {
    expect(faultOf("cluster: x\nzzzzzzz: 1\n")).toBe(
      "/etc/c.yml:2: unknown key 'zzzzzzz'. Known keys: cluster, port, listen, nodes, ips, path.",
    );
  });

  test("of alternatives, the one that was meant is explained", () => {
    expect(faultOf("cluster: x\nips:\n- a\n- {host: b, usr: c}\n")).toBe(
      "/etc/c.yml:4: unknown key 'ips[1].usr'. Did you mean 'user'?",
    );
  });

  test("an empty file misses what is required", () => {
    expect(faultOf("")).toBe("/etc/c.yml:1: key 'cluster' is missing.");
  });

  test("a list or several documents are refused", () => {
    expect(faultOf("- a\n")).toBe("/etc/c.yml:1: expected a mapping of keys to values.");
    expect(faultOf("cluster: a\n---\ncluster: b\n")).toBe("/etc/c.yml holds 2 YAML documents; it must hold one.");
  });

  test("syntax faults keep their line", () => {
    expect(faultOf("cluster: a\nport: 1\nport: 2\n")).toBe("/etc/c.yml:3: duplicate key 'port' (first in line 2)");
  });
});
