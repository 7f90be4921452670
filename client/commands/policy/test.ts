/**
 * `sky policy test FILE|DIR`: runs files of cases (policies, a workload, what must come of it) on this machine, a line a
 * case and a sum at the end, for the CI of whoever writes policies. It needs no cluster. It must never count a file that
 * holds no case as passed. Called by client/program-policy.ts.
 */
import { readFileSync, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { SkyError } from "../../../shared/errors.ts";
import { type CaseResult, runCases } from "../../../shared/policy/cases.ts";
import { policyBytesMax } from "../../../shared/policy-api.ts";
import { readYaml } from "../../../shared/yaml11.ts";
import { plain } from "../../output/table.ts";
import { type Context, UsageError } from "../context.ts";
import { readSmallFile } from "../entrypoint.ts";

const filesMax = 1_000;
const depthMax = 8;

/** Files of cases below a folder, by name. */
async function filesIn(folder: string, depth = 0): Promise<string[]> {
  const entries = (await readdir(folder, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  const found: string[] = [];
  for (const entry of entries) {
    if (entry.isDirectory() && depth < depthMax) {
      found.push(...(await filesIn(join(folder, entry.name), depth + 1)));
    } else if (entry.isFile() && /\.ya?ml$/.test(entry.name)) {
      found.push(join(folder, entry.name));
    }
    if (found.length > filesMax) {
      throw new UsageError(`There are more than ${filesMax} files in ${folder}.`, "Name a smaller folder.");
    }
  }
  return found;
}

/** Policies lie beside their cases in a folder: those are mappings, and cases are lists. */
async function holdsCases(path: string): Promise<boolean> {
  const text = await readSmallFile(path, "the file of cases");
  try {
    return readYaml(text, path)[0]?.kind !== "map";
  } catch {
    return true;
  }
}

/** A policy's text by its name in a file of cases; null: it cannot be read. */
function openBeside(path: string): (name: string) => string | null {
  return (name) => {
    const full = resolve(dirname(path), name);
    try {
      const { size } = statSync(full);
      return size > policyBytesMax ? null : readFileSync(full, "utf8");
    } catch {
      return null;
    }
  };
}

/** What was named, folders replaced by the files of cases in them; as they are called in messages. */
async function filesOf(context: Context, names: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const name of names) {
    const found = await stat(resolve(context.cwd, name)).catch(() => null);
    if (found?.isDirectory() !== true) {
      files.push(name);
      continue;
    }
    const all = await filesIn(resolve(context.cwd, name));
    const inside: string[] = [];
    for (const file of all) {
      inside.push(...((await holdsCases(file)) ? [file] : []));
    }
    if (inside.length === 0) {
      throw new SkyError("ValueError", `No file of cases (.yaml) is in ${plain(name)}.`);
    }
    files.push(...inside);
  }
  return files;
}

export interface TestFlags {
  output: "table" | "json";
}

/** Resolves with 0 when every case passed, else 1. */
export async function test(context: Context, names: readonly string[], flags: TestFlags): Promise<number> {
  const { screen } = context;
  const { green, red } = screen.colors;
  const all: (CaseResult & { file: string })[] = [];
  for (const file of await filesOf(context, names)) {
    const text = await readSmallFile(resolve(context.cwd, file), "the file of cases");
    const results = runCases(text, file, openBeside(resolve(context.cwd, file))).map((result) => ({ file, ...result }));
    all.push(...results);
    for (const { id, passed, text: why } of flags.output === "json" ? [] : results) {
      screen.print(`${passed ? green("ok    ") : red("FAILED")} ${plain(id)}`);
      for (const line of why === "" ? [] : why.split("\n")) {
        screen.print(`       ${plain(line)}`);
      }
    }
  }
  const failed = all.filter(({ passed }) => !passed).length;
  if (flags.output === "json") {
    screen.print(JSON.stringify({ passed: all.length - failed, failed, cases: all }, null, 2));
  } else {
    screen.print(`${all.length - failed} passed, ${failed} failed`);
  }
  return failed === 0 && all.length > 0 ? 0 : 1;
}
