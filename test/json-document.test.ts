/**
 * docs/json.md names every key of every listing's `--output json`. The keys are read from the schemas by which the client
 * checks what it prints, so a key cannot come, go or change its name without the page, and so a release note, knowing.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { describe, expect, it } from "vitest";
import { adminNodesResultSchema, unknownResultSchema } from "../shared/admin-api.ts";
import { nodesResultSchema, queueResultSchema } from "../shared/api.ts";
import { explainResultSchema } from "../shared/explain-api.ts";
import { filesUsageSchema } from "../shared/files.ts";
import { heldResultSchema } from "../shared/held-api.ts";
import { doctorResultSchema } from "../shared/inspect-api.ts";
import {
  assetsResultSchema,
  decisionsResultSchema,
  exceptionsResultSchema,
  policiesResultSchema,
  policyApplyResultSchema,
  policyCheckResultSchema,
  policyDiffResultSchema,
  policyEffectiveResultSchema,
  policyGetResultSchema,
  policyHistoryResultSchema,
  policySecretsResultSchema,
} from "../shared/policy-api.ts";
import { ownQuotaResultSchema, quotasResultSchema, windowsResultSchema } from "../shared/scheduling-api.ts";
import { usageResultSchema } from "../shared/usage-api.ts";

const page = readFileSync(join(import.meta.dirname, "../docs/json.md"), "utf8");

interface JsonSchema {
  type?: string;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  $ref?: string;
}

/** `rows[].keys.user`: every key of a schema, at most so deep; `{}` stands for names that the cluster gives. */
function keysOf(schema: JsonSchema, before = "", depth = 5): string[] {
  if (depth === 0) {
    return [];
  }
  const inner = (schema.anyOf ?? []).flatMap((one) => keysOf(one, before, depth));
  const items = schema.items === undefined ? [] : keysOf(schema.items, `${before}[]`, depth);
  const named = Object.entries(schema.properties ?? {}).flatMap(([key, one]) => {
    const path = before === "" ? key : `${before}.${key}`;
    return [path, ...keysOf(one, path, depth - 1)];
  });
  const { additionalProperties: any } = schema;
  const free = typeof any === "object" ? keysOf(any, `${before}{}`, depth - 1) : [];
  return [...inner, ...items, ...named, ...free];
}

/** What one command prints; `{}` in front: an object with a key for each cluster. */
const listings: [heading: string, schema: z.ZodType][] = [
  ["sky queue", z.record(z.string(), queueResultSchema)],
  ["sky explain", explainResultSchema],
  ["sky gpus list", z.record(z.string(), nodesResultSchema)],
  ["sky quota", z.record(z.string(), ownQuotaResultSchema)],
  ["sky files", z.record(z.string(), filesUsageSchema)],
  ["sky usage", z.record(z.string(), usageResultSchema)],
  ["sky policy list", policiesResultSchema],
  ["sky policy get", policyGetResultSchema],
  ["sky policy apply", z.array(policyApplyResultSchema)],
  ["sky policy history", policyHistoryResultSchema],
  ["sky policy diff", policyDiffResultSchema],
  ["sky policy check", policyCheckResultSchema],
  ["sky policy explain", policyEffectiveResultSchema],
  ["sky policy log", decisionsResultSchema],
  ["sky policy exception list", exceptionsResultSchema],
  ["sky policy asset list", assetsResultSchema],
  ["sky policy secret list", policySecretsResultSchema],
  ["sky admin nodes", adminNodesResultSchema],
  ["sky admin unknown", unknownResultSchema],
  ["sky admin doctor", doctorResultSchema],
  ["sky admin quota", quotasResultSchema],
  ["sky admin windows", windowsResultSchema],
  ["sky admin release", heldResultSchema],
];

const section = (heading: string): string => page.split(/^## /m).find((one) => one.startsWith(`${heading}\n`)) ?? "";

describe("docs/json.md", () => {
  it.each(listings)("names the keys of %s", (heading, schema) => {
    const keys = [...new Set(keysOf(z.toJSONSchema(schema, { io: "output", unrepresentable: "any" }) as JsonSchema))];
    const shown = [...section(heading).matchAll(/`([^`]+)`/g)].map(([, key]) => key ?? "");
    expect(shown.filter((key) => keys.includes(key)).sort()).toEqual([...keys].sort());
  });

  it.each([
    ["sky status", ["name", "initialized", "user", "head_ip", "resources", "command", "launched_at", "file"]],
    ["sky check", ["enabled", "user", "reason", "hint", "nodes", "nodes[].name", "nodes[].state"]],
    ["sky api status", ["request_id", "name", "status", "user", "cluster", "created_at", "finished_at"]],
    ["sky api info", ["cluster", "status", "message", "version", "commit", "api_version", "user"]],
    ["sky policy test", ["passed", "failed", "cases", "cases[].file", "cases[].id", "cases[].passed", "cases[].text"]],
    ["sky config show", ["key", "value", "origin", "no_effect"]],
  ])("names the keys of %s", (heading, keys) => {
    const shown = new Set([...section(heading).matchAll(/`([^`]+)`/g)].map(([, key]) => key));
    expect(keys.filter((key) => ![key, `[].${key}`, `{}.${key}`].some((one) => shown.has(one)))).toEqual([]);
  });
});
