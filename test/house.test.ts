/**
 * The house rules as a test: which folder may import what, who alone may use a library, no barrels, no cycles, file
 * names and lengths, a header in every file. It reads the sources and nothing else. The table is that of
 * docs/architecture.md; a change here is a change of the design.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folders = ["shared", "coordinator", "agent", "system", "doctor", "client", "scripts", "test"];
const linesMax = 400;
/** A table of cases may be long. */
const testLinesMax = 600;
/** What a package exports has to be named in one place. */
const packageEntry = "client/sdk/public/sky.ts";
const forbiddenNames = /^(utils?|helpers?|common|managers?|services?|handlers?|base|index|misc)(\.|$)/;

interface Source {
  path: string;
  text: string;
  lines: number;
  imports: { target: string; typeOnly: boolean }[];
}

interface Rule {
  /** The longest matching folder counts. */
  folder: string;
  /** Folders of ours that may be imported. */
  own: string[];
  /** Packages, and `node:*`. */
  packages: string[];
}

const rules: Rule[] = [
  { folder: "shared", own: ["shared"], packages: ["zod", "yaml", "fastest-levenshtein"] },
  { folder: "system", own: ["shared", "system"], packages: ["node:*", "koffi", "ssh2"] },
  { folder: "coordinator/core", own: ["shared", "coordinator/core"], packages: [] },
  { folder: "agent/core", own: ["shared", "agent/core"], packages: [] },
  {
    folder: "coordinator",
    own: ["shared", "system", "coordinator"],
    packages: ["node:*", "zod", "yaml", "bullmq", "ioredis", "ssh2", "pino", "hono", "@hono/*", "yauzl", "yazl"],
  },
  { folder: "agent/skylet", own: ["shared", "agent/skylet"], packages: ["node:*", "zod"] },
  {
    folder: "agent",
    own: ["shared", "system", "agent/*", "agent/core", "agent/accelerators"],
    packages: ["node:*", "zod", "yaml", "ssh2", "pino", "systeminformation"],
  },
  { folder: "doctor", own: ["shared", "system", "doctor"], packages: ["node:*", "zod", "yaml"] },
  {
    folder: "client",
    // Policies run in the same way on both sides; nothing else of `system` is a client's.
    own: ["shared", "system/policy", "client"],
    packages: ["node:*", "zod", "yaml", "ssh2", "commander", "picocolors", "fastest-levenshtein", "ignore", "sucrase"],
  },
];

/** Modules that only the named files of a folder may import. */
const owners = [
  { module: "bullmq", folder: "coordinator", files: ["coordinator/queue.ts"] },
  {
    module: "ioredis",
    folder: "coordinator",
    files: ["coordinator/queue.ts", "coordinator/store.ts", "coordinator/redis.ts"],
  },
  {
    module: "node:child_process",
    folder: "coordinator",
    files: ["coordinator/accounts.ts", "coordinator/backup/processes.ts"],
  },
  { module: "yauzl", folder: "coordinator", files: ["coordinator/zips/zip-tree.ts"] },
  { module: "yazl", folder: "coordinator", files: ["coordinator/api/routes-skypilot-files.ts"] },
  { module: "sucrase", folder: "client", files: ["client/policy/hooks.ts"] },
  { module: "node:child_process", folder: "system", files: ["system/policy/worker-process.ts", "system/journal.ts"] },
  // It runs shell commands: only in the program that is killed when it is late, never in the daemon.
  { module: "systeminformation", folder: "agent", files: ["agent/hardware.ts"] },
  { module: "node:child_process", folder: "agent", files: ["agent/spawn.ts", "agent/skylet/"] },
  { module: "node:child_process", folder: "doctor", files: ["doctor/probes.ts"] },
  {
    module: "node:child_process",
    folder: "client",
    files: [
      "client/ssh/",
      "client/ansible/",
      "client/files/git.ts",
      "client/commands/admin/state.ts",
      "client/commands/admin/doctor.ts",
    ],
  },
];

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

function importsOf(text: string): Source["imports"] {
  const code = withoutComments(text);
  const found: Source["imports"] = [];
  for (const match of code.matchAll(/^(?:import|export)\s+(type\s)?[^;"'`]*?from\s*"([^"]+)"/gm)) {
    found.push({ target: match[2] ?? "", typeOnly: match[1] !== undefined });
  }
  for (const match of code.matchAll(/^import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm)) {
    found.push({ target: match[1] ?? match[2] ?? "", typeOnly: false });
  }
  return found;
}

function sources(): Source[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true }).flatMap((entry) => {
      const path = relative(root, join(entry.parentPath, entry.name));
      if (!entry.isFile() || !path.endsWith(".ts") || path.includes("node_modules")) {
        return [];
      }
      const text = readFileSync(join(root, path), "utf8");
      return [{ path, text, lines: text.split("\n").length - 1, imports: importsOf(text) }];
    }),
  );
}

const all = sources();
/** Tests, and what stands in for a neighbour in them (`stand-in-….ts`). */
const isTest = (path: string): boolean => /\.test\.ts$|\/stand-in-[^/]*\.ts$/.test(path);
const product = all.filter(({ path }) => !isTest(path) && !/^(test|scripts)\//.test(path));

function inFolder(path: string, folder: string): boolean {
  return folder.endsWith("/*") ? dirname(path) === folder.slice(0, -2) : path.startsWith(`${folder}/`);
}

function packageAllowed(target: string, allowed: string[]): boolean {
  const name = target.startsWith("@") ? target.split("/").slice(0, 2).join("/") : (target.split("/")[0] ?? "");
  return allowed.some((entry) => (entry.endsWith("*") ? target.startsWith(entry.slice(0, -1)) : name === entry));
}

function resolve(path: string, target: string): string {
  return normalize(join(dirname(path), target));
}

/** Every wrong import as `file -> target`. */
function wrongImports(files: Source[]): string[] {
  return files.flatMap(({ path, imports }) => {
    const rule = rules
      .filter(({ folder }) => inFolder(path, folder))
      .sort((a, b) => b.folder.length - a.folder.length)[0];
    return imports.flatMap(({ target }) => {
      const fine = target.startsWith(".")
        ? rule?.own.some((folder) => inFolder(resolve(path, target), folder))
        : packageAllowed(target, rule?.packages ?? []);
      return fine === true ? [] : [`${path} -> ${target}`];
    });
  });
}

function cycles(files: Source[]): string[] {
  const graph = new Map(
    files.map(({ path, imports }) => [
      path,
      imports
        .filter(({ target, typeOnly }) => target.startsWith(".") && !typeOnly)
        .map(({ target }) => resolve(path, target)),
    ]),
  );
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: string[]): void => {
    if (trail.includes(path)) {
      found.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
      return;
    }
    if (!done.has(path)) {
      for (const next of graph.get(path) ?? []) {
        visit(next, [...trail, path]);
      }
      done.add(path);
    }
  };
  for (const path of graph.keys()) {
    visit(path, []);
  }
  return found;
}

describe("the house", () => {
  test("is there", () => {
    expect(product.length).toBeGreaterThan(20);
  });

  test("each folder imports only what the table allows", () => {
    expect(wrongImports(product)).toEqual([]);
  });

  test("the table is really read: a wrong import is found", () => {
    const made = (path: string, target: string): Source => {
      const text = `import { x } from "${target}";\n`;
      return { path, text, lines: 1, imports: importsOf(text) };
    };
    const wrong = [
      made("agent/loop.ts", "bullmq"),
      made("agent/core/reduce.ts", "node:fs"),
      made("agent/skylet/main.ts", "ssh2"),
      made("agent/loop.ts", "./skylet/main.ts"),
      made("client/main.ts", "../coordinator/loop.ts"),
      made("shared/ids.ts", "../test/help/until.ts"),
    ];
    expect(wrongImports(wrong)).toHaveLength(wrong.length);
    expect(wrongImports([made("agent/loop.ts", "./core/reduce.ts"), made("client/ssh/connect.ts", "ssh2")])).toEqual(
      [],
    );
  });

  test("libraries with a single owner are used by that owner only", () => {
    const strangers = owners.flatMap(({ module, folder, files }) =>
      product
        .filter(({ path, imports }) => inFolder(path, folder) && imports.some(({ target }) => target === module))
        .filter(({ path }) => !files.some((file) => (file.endsWith("/") ? path.startsWith(file) : path === file)))
        .map(({ path }) => `${path} -> ${module}`),
    );
    expect(strangers).toEqual([]);
  });

  test("cores know no clock, no chance and no process", () => {
    const words =
      /\bDate\b|\bMath\.random\b|\bset(Timeout|Interval|Immediate)\b|\bprocess\.|\bconsole\.|\bperformance\b|\bcrypto\b/;
    const impure = product
      .filter(({ path }) => /^(coordinator|agent)\/core\//.test(path))
      .flatMap(({ path, text }) => {
        const match = withoutComments(text).match(words);
        return match === null ? [] : [`${path}: ${match[0]}`];
      });
    expect(impure).toEqual([]);
  });

  test("no import cycles", () => {
    expect(cycles(all)).toEqual([]);
  });

  test("no barrels: no file passes on everything of another, or nothing but others' things", () => {
    const barrels = all.filter(({ text }) => {
      const exports = withoutComments(text).match(/^export\s.*/gm) ?? [];
      const passedOn = exports.filter((line) => /^export\s+(type\s+)?[*{]/.test(line) && /from\s*"/.test(line));
      return (
        exports.some((line) => line.startsWith("export *")) ||
        (passedOn.length > 0 && passedOn.length === exports.length)
      );
    });
    expect(barrels.map(({ path }) => path)).toEqual([packageEntry]);
    const importers = all.filter(({ path, imports }) =>
      imports.some(({ target }) => target.startsWith(".") && resolve(path, target) === packageEntry),
    );
    expect(importers.map(({ path }) => path)).toEqual([]);
  });

  test("no file is named after nothing", () => {
    expect(all.map(({ path }) => path).filter((path) => forbiddenNames.test(path.split("/").at(-1) ?? ""))).toEqual([]);
  });

  test(`no source is longer than ${linesMax} lines`, () => {
    const long = all.filter(({ path, lines }) => lines > (isTest(path) ? testLinesMax : linesMax));
    expect(long.map(({ path, lines }) => `${path}: ${lines}`)).toEqual([]);
  });

  test("every file but tests begins by saying what it is for", () => {
    const files = all.filter(({ path }) => !path.endsWith(".test.ts"));
    expect(files.filter(({ text }) => !/^\/\*\*\n \* \S/.test(text)).map(({ path }) => path)).toEqual([]);
  });
});
