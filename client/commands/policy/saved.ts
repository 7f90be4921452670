/**
 * The verbs about saved policies: list, get, apply, delete, rollback, history, diff. A policy's file goes to the
 * coordinator as it is, so that `get` gives the same bytes back; whether it is sound is the coordinator's to say. Called
 * by client/program-policy.ts.
 */
import { resolve } from "node:path";
import type { PolicyApplyResult } from "../../../shared/policy-api.ts";
import { appliedText, diffText, gradesText, historyText, policiesText, type Page } from "../../output/policy-text.ts";
import { plain } from "../../output/table.ts";
import { type Context, UsageError } from "../context.ts";
import { readSmallFile } from "../entrypoint.ts";
import { type PolicyFlags, show, withPolicyCalls } from "./calls.ts";

/** Where a document without an envelope stands. */
export interface PlaceFlags {
  name?: string;
  scope?: "tenant" | "cluster" | "department" | "project";
  id?: string;
  kind?: string[];
  mode?: "enforce" | "warn" | "audit";
}

export interface ApplyFlags extends PolicyFlags, PlaceFlags {
  file?: string[];
  dryRun?: boolean;
}

export interface DiffFlags extends PolicyFlags, PlaceFlags {
  file?: string[];
  jobs: number;
}

export function pageOf(context: Context): Page {
  const { screen } = context;
  return { now: context.now(), columns: screen.columns, colors: screen.colors };
}

/** The one file of `-f`, whose text goes to the coordinator. Throws UsageError for none or several. */
export async function policyFile(context: Context, files: readonly string[] | undefined): Promise<string> {
  const [file, ...others] = files ?? [];
  if (file === undefined || others.length > 0) {
    throw new UsageError("Give one policy file with -f FILE.");
  }
  return readSmallFile(resolve(context.cwd, file), "the policy file");
}

/** As the bodies of the API have it; what was not said is not sent. */
function headOf({ name, scope, id, kind, mode }: PlaceFlags): Record<string, unknown> {
  return {
    ...(name === undefined ? {} : { name }),
    ...(scope === undefined ? {} : { scope }),
    ...(id === undefined ? {} : { scope_id: id }),
    ...(kind === undefined ? {} : { workloads: kind }),
    ...(mode === undefined ? {} : { mode }),
  };
}

export async function list(context: Context, flags: PolicyFlags): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.list());
  show(context, flags, result, (one) => policiesText(one, pageOf(context)));
  return 0;
}

export async function get(
  context: Context,
  name: string,
  flags: PolicyFlags & { revision?: number; grades?: boolean },
): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.get(name, flags.revision));
  show(context, flags, result, (one) =>
    flags.grades === true ? gradesText(one.grades, pageOf(context)) : one.text.replace(/\n$/, ""),
  );
  return 0;
}

/** Saves every file in turn; the first that is refused ends it, and says which were saved before. */
export async function apply(context: Context, flags: ApplyFlags): Promise<number> {
  const files = flags.file ?? [];
  if (files.length === 0) {
    throw new UsageError("Give at least one policy file with -f FILE.");
  }
  const texts: { file: string; text: string }[] = [];
  for (const file of files) {
    texts.push({ file, text: await readSmallFile(resolve(context.cwd, file), "the policy file") });
  }
  const results: PolicyApplyResult[] = [];
  await withPolicyCalls(context, flags, async (calls) => {
    for (const { file, text } of texts) {
      try {
        results.push(await calls.apply({ text, ...headOf(flags), validateOnly: flags.dryRun === true }));
      } catch (error) {
        if (files.length > 1) {
          const saved = results.map(({ name }) => name).join(", ");
          context.screen.note(
            `${plain(file)} was refused; ${saved === "" ? "nothing was" : `${saved}: already`} saved.`,
          );
        }
        throw error;
      }
    }
  });
  show(context, flags, results, (all) => all.map((one) => appliedText(one, pageOf(context))).join("\n"));
  return 0;
}

export async function remove(context: Context, name: string, flags: PolicyFlags & { yes?: boolean }): Promise<number> {
  const { screen } = context;
  if (flags.yes !== true && !(await screen.confirm(`Delete policy '${plain(name)}'? What it demands ends at once.`))) {
    screen.note("Nothing was done.");
    return 1;
  }
  await withPolicyCalls(context, flags, async (calls) => calls.delete(name));
  screen.print(`Policy ${plain(name)} is deleted. Take it back: sky policy history ${plain(name)}`);
  return 0;
}

export async function rollback(context: Context, name: string, revision: number, flags: PolicyFlags): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.rollback(name, revision));
  show(context, flags, result, (one) => appliedText(one, pageOf(context)));
  return 0;
}

export async function history(context: Context, name: string, flags: PolicyFlags): Promise<number> {
  const result = await withPolicyCalls(context, flags, async (calls) => calls.history(name));
  show(context, flags, result, (one) => historyText(one, pageOf(context)));
  return 0;
}

export async function diff(context: Context, flags: DiffFlags): Promise<number> {
  const text = await policyFile(context, flags.file);
  const body = { text, ...headOf(flags), jobs: flags.jobs };
  const result = await withPolicyCalls(context, flags, async (calls) => calls.diff(body));
  show(context, flags, result, diffText);
  return 0;
}
