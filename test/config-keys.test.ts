/**
 * Every key of the two config files is in four places that must agree: the schema, the role's defaults, the role's
 * template and docs/admin/config.md. The schema is what counts; names and default values are compared with it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { z } from "zod";
import { agentConfigSchema } from "../agent/config.ts";
import { coordinatorConfigSchema } from "../coordinator/config.ts";

const root = join(import.meta.dirname, "..");
const documentText = readFileSync(join(root, "docs/admin/config.md"), "utf8");

/** A key without a default, and a key that may be left out. */
const required = Symbol("required");
const unset = Symbol("not set");

/** Keys whose variable is not `sky_ROLE_PATH`; null: no variable, the value is read from a machine. */
const namedOtherwise: Record<string, string | null> = {
  cluster: "sky_cluster",
  node: "sky_node_name",
  admin_group: "sky_admin_group",
  "users.min_uid": "sky_users_min_uid",
  "users.allow": "sky_users_allow",
  "users.deny": "sky_users_deny",
  "users.deny_groups": "sky_users_deny_groups",
  "nodes[].name": "sky_node_name",
  "nodes[].key": null,
  "nodes[].address": "sky_node_address",
  "nodes[].labels": "sky_node_labels",
  "coordinator.host_key": null,
};

/** Where the role's default is another than the program's, on purpose. */
const defaultsOfRoles: Record<string, unknown> = {
  // Agents of other machines must reach it.
  "listen.address": "0.0.0.0",
  "coordinator.port": "{{ hostvars[groups.sky_head[0]].sky_coordinator_listen_port | default(7422) }}",
};

/** Of the coordinator's nodes, what the template calls the parts of one. */
const loopNames: Record<string, string> = {
  "nodes[].name": "node.name",
  "nodes[].key": "node.key",
  "nodes[].address": "node.address",
  "nodes[].labels": "node.labels",
};

type Schema = z.core.$ZodType;

/** Every leaf of the schema with its default. */
function leaves(schema: Schema, path: string, fallback: unknown): Map<string, unknown> {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if (def.type === "default") {
    return leaves(def.innerType, path, def.defaultValue);
  }
  if (def.type === "optional") {
    return leaves(def.innerType, path, unset);
  }
  if ("innerType" in def) {
    return leaves(def.innerType, path, fallback);
  }
  if (def.type === "object") {
    const inner = Object.entries(def.shape).flatMap(([key, one]) => [
      ...leaves(one, path === "" ? key : `${path}.${key}`, required),
    ]);
    return new Map(inner);
  }
  // A list that may be left out has one variable for all of it.
  if (fallback === required && def.type === "array" && (def.element as z.core.$ZodTypes)._zod.def.type === "object") {
    return leaves(def.element, `${path}[]`, required);
  }
  return new Map([[path, fallback]]);
}

interface Row {
  key: string;
  variable: string;
  value: string;
}

/** The rows of the table under a heading of the document. */
function rowsUnder(heading: string): Row[] {
  const section = documentText.split(`## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) => {
    const [key = "", variable = "", value = ""] = line
      .split("|")
      .slice(1)
      .map((cell) => cell.trim());
    return { key: key.replaceAll("`", ""), variable: variable.replaceAll("`", ""), value };
  });
}

const roles = [
  { role: "coordinator", file: "coordinator.yaml", schema: coordinatorConfigSchema },
  { role: "agent", file: "agent.yaml", schema: agentConfigSchema },
];

describe.each(roles)("$file", ({ role, file, schema }) => {
  const keys = leaves(schema, "", required);
  const defaults = parse(readFileSync(join(root, `ansible/roles/${role}/defaults/main.yml`), "utf8")) as Record<
    string,
    unknown
  >;
  const template = readFileSync(join(root, `ansible/roles/${role}/templates/${file}.j2`), "utf8");
  const rows = rowsUnder(file);

  const variableOf = (key: string): string | null => {
    const other = namedOtherwise[key];
    return other === undefined ? `sky_${role}_${key.replaceAll(".", "_")}` : other;
  };

  test("the schema is really read", () => {
    expect([...keys.keys()]).toContain("users.deny_groups");
    expect(keys.size).toBeGreaterThan(15);
    expect(keys.get("log_level")).toBe("info");
  });

  test("the role's defaults have every key, with the program's default", () => {
    for (const [key, value] of keys) {
      const variable = variableOf(key);
      if (variable !== null) {
        expect(Object.keys(defaults), key).toContain(variable);
        const wanted = key in defaultsOfRoles ? defaultsOfRoles[key] : value === unset ? "" : value;
        expect([variable, wanted === required ? required : defaults[variable]]).toEqual([variable, wanted]);
      }
    }
  });

  test("the role's defaults have no key that the program lacks", () => {
    const known = new Set([...keys.keys()].map(variableOf));
    const own = Object.keys(defaults).filter((name) => name.startsWith(`sky_${role}_`));
    expect(own.filter((name) => !known.has(name) && name !== "sky_agent_up_seconds")).toEqual([]);
  });

  test("the template writes every key, each from its variable, and nothing else", () => {
    const written = writtenBy(template);
    for (const [key, value] of keys) {
      const source = loopNames[key] ?? variableOf(key) ?? "sky_host_key_public";
      expect([key, written.get(key)?.expression]).toEqual([key, expect.stringContaining(source)]);
      expect([key, written.get(key)?.guard]).toEqual([key, value === unset ? expect.stringContaining(source) : null]);
    }
    expect([...written.keys()].filter((key) => !keys.has(key))).toEqual([]);
  });

  test("the document has every key, its variable and its default, and nothing else", () => {
    expect(rows.map(({ key }) => key)).toEqual([...keys.keys()]);
    for (const { key, variable, value } of rows) {
      expect([key, variable]).toEqual([key, variableOf(key) ?? ""]);
      const own = variable === "" ? undefined : defaults[variable];
      if (own !== undefined && !textOf(own).includes("{{")) {
        const shown = keys.get(key) === unset ? "*not set*" : own === "" ? "*required*" : `\`${textOf(own)}\``;
        expect([key, value.startsWith(shown)]).toEqual([key, true]);
      }
      expect([key, value.includes("(program:")]).toEqual([key, differs(keys.get(key), own)]);
      const program = /\(program: `?([^`)]+)`?\)/.exec(value)?.[1];
      if (program !== undefined) {
        expect([key, program]).toEqual([key, keys.get(key) === required ? "required" : textOf(keys.get(key))]);
      }
    }
  });
});

/** Whether the document must name the program's own default beside the role's. */
function differs(program: unknown, role: unknown): boolean {
  if (program === required) {
    return role !== "";
  }
  return program !== unset && JSON.stringify(program) !== JSON.stringify(role);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

interface Written {
  expression: string;
  /** The condition under which the line is written; null: always. */
  guard: string | null;
}

/** The keys that a template writes, by their paths: mappings by indentation, one list with a loop. */
function writtenBy(text: string): Map<string, Written> {
  const found = new Map<string, Written>();
  const path: { indent: number; key: string }[] = [];
  let guard: string | null = null;
  for (const line of text.split("\n")) {
    const condition = /^\{% (?:if (.*)|endif) %\}$/.exec(line);
    if (condition !== null) {
      guard = condition[1] ?? null;
      continue;
    }
    const [, blank = "", dash, key, value] = /^( *)(- )?([a-z0-9_]+):(?: (.*))?$/.exec(line) ?? [];
    if (key === undefined) {
      expect(line, "a line that this test cannot read").toMatch(/^$|^#|^\{% (for .*|endfor) %\}$/);
      continue;
    }
    const indent = blank.length + (dash?.length ?? 0);
    while ((path.at(-1)?.indent ?? -1) >= indent) {
      path.pop();
    }
    path.push({ indent, key });
    if (value !== undefined) {
      const full = path.map((part) => part.key).join(".");
      found.set(full.replace(/^nodes\./, "nodes[]."), { expression: value, guard });
    }
  }
  return found;
}
