/**
 * `sky policy check -f`: what policies in files make of a task, with no cluster, by the same engine. All that binds there
 * is in the files and in the product's own rules; what the machines of a cluster can do is not known here, and is said to
 * be so. It reads the named files alone. Called by check.ts.
 */
import { basename, resolve } from "node:path";
import { SkyError } from "../../../shared/errors.ts";
import { builtinPolicies, builtinScope } from "../../../shared/policy/builtin.ts";
import { checkOf } from "../../../shared/policy/check-result.ts";
import { checkTogether, effectiveFor } from "../../../shared/policy/together/combine.ts";
import type { CompiledPolicy, PolicyDocument, PolicyHead } from "../../../shared/policy/compiled.ts";
import { caseFor, judgeBy } from "../../../shared/policy/judge.ts";
import { kindOf } from "../../../shared/policy/task/kind.ts";
import { readPolicy } from "../../../shared/policy/read/document.ts";
import { formOf } from "../../../shared/policy/read/head.ts";
import type { Asset, Item, Scope, WorkloadKind } from "../../../shared/policy/words.ts";
import { assetSchema, type PolicyCheckResult } from "../../../shared/policy-api.ts";
import type { Task } from "../../../shared/task.ts";
import { readTask } from "../../../shared/task-file.ts";
import { plainValue, readYaml, type YamlMapping } from "../../../shared/yaml11.ts";
import { type Context, UsageError } from "../context.ts";
import { readSmallFile } from "../entrypoint.ts";

/** Stands for the one tenant and the one cluster, which need no name here. */
const here = "here";

interface Given {
  policies: PolicyDocument[];
  assets: Map<string, Asset>;
}

/** Null: it is none, or no YAML, which the reader of policies explains better than others. */
function mappingOf(text: string, file: string): YamlMapping | null {
  try {
    const [root] = readYaml(text, file);
    return root?.kind === "map" ? root : null;
  } catch {
    return null;
  }
}

/** A file holds a policy, or an asset (`id`, `field`, `spec`). A bare policy is taken as the cluster's, for this kind. */
async function readGiven(context: Context, files: readonly string[], kind: WorkloadKind): Promise<Given> {
  const given: Given = { policies: [], assets: new Map() };
  for (const file of files) {
    const text = await readSmallFile(resolve(context.cwd, file), "the policy file");
    const map = mappingOf(text, file);
    if (map !== null && ["id", "field", "spec"].every((key) => map.entries.has(key))) {
      const { id, field, spec, credentials } = readAsset(text, file);
      given.assets.set(id, { id, field, spec: spec as Item, credentials });
      continue;
    }
    const name = basename(file)
      .replace(/\.ya?ml$/, "")
      .replace(/[^A-Za-z0-9._-]/g, "-");
    const bare: Partial<PolicyHead> = { name, target: { level: "cluster", id: null, kinds: [kind] } };
    given.policies.push(readPolicy(text, { file, head: map !== null && formOf(map) === "bare" ? bare : {} }));
  }
  return given;
}

/** Throws SkyError("InvalidPolicyError") for a file that holds no asset. */
export function readAsset(text: string, file: string): ReturnType<typeof assetSchema.parse> {
  const [document, ...others] = readYaml(text, file);
  const asset = assetSchema.safeParse(document === undefined ? null : plainValue(document));
  if (!asset.success || others.length > 0) {
    const [issue] = asset.error?.issues ?? [];
    const why = issue === undefined ? "one document is allowed" : `${issue.path.join(".")}: ${issue.message}`;
    throw new SkyError("InvalidPolicyError", `${file} is no asset: ${why}`, "It has `id`, `field` and `spec`.");
  }
  return asset.data;
}

function compiledOf({ head, compiled }: PolicyDocument): CompiledPolicy[] {
  const scope = { level: head.target.level, id: head.target.id ?? here };
  return compiled.map((one) => ({ ...one, source: { ...one.source, policy: head.name, scope } }));
}

/** Names of this level in the files. */
function namesOf({ policies }: Given, level: Scope["level"]): string[] {
  return [...new Set(policies.flatMap(({ head }) => (head.target.level === level ? (head.target.id ?? here) : [])))];
}

/** The scopes that bind, widest first. Throws UsageError where the files leave open which. */
function scopesOf(given: Given, task: Task, project: string | undefined): { scopes: Scope[]; project: string | null } {
  const projects = namesOf(given, "project");
  const named = project ?? task.workload?.project ?? null;
  if (named === null && projects.length > 1) {
    throw new UsageError(`The policies are of several projects: ${projects.join(", ")}.`, "Say which: --project NAME");
  }
  const departments = namesOf(given, "department");
  if (departments.length > 1) {
    throw new UsageError(
      `The policies are of several departments: ${departments.join(", ")}.`,
      "Give those of one; a project is in one department.",
    );
  }
  const own = named ?? projects[0] ?? null;
  const wide = (["tenant", "cluster", "department"] as const).flatMap((level) =>
    namesOf(given, level).map((id) => ({ level, id })),
  );
  const scopes: Scope[] = [builtinScope, ...wide, ...(own === null ? [] : [{ level: "project", id: own } as const])];
  return { scopes, project: own };
}

function inProject(project: string | null): string {
  return project === null ? "" : ` of project '${project}'`;
}

/** Scopes meet as with `tighten`, which a cluster does when its config says nothing. */
export async function checkOffline(
  context: Context,
  { files, task: taskFile, project: named }: { files: readonly string[]; task: string; project: string | undefined },
): Promise<PolicyCheckResult> {
  const task = readTask(await readSmallFile(resolve(context.cwd, taskFile), "the task file"), { file: taskFile });
  const given = await readGiven(context, files, kindOf(task));
  const { scopes, project } = scopesOf(given, task, named);
  const all = [...builtinPolicies(0), ...given.policies.flatMap(compiledOf)];
  const combine = "tighten";
  const warnings = checkTogether(all, { combine, assets: given.assets });
  const bind = (kind: WorkloadKind) => effectiveFor(all, { kind, scopes, combine });
  const who = {
    ...{ name: context.env["USER"] ?? "you", groups: [] },
    ...{ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  };
  const asked = caseFor(task, who, project, bind);
  const policy = bind(asked.kind);
  const judgement = judgeBy({ policy, assets: given.assets, exceptions: [] }, asked, Date.now());
  const result = checkOf(task, judgement, who);
  const idle = given.policies
    .filter(({ head }) => !policy.parts.some(({ source }) => source.policy === head.name))
    .map(({ head }) => `Policy '${head.name}' binds no ${asked.kind} workload${inProject(project)}.`);
  const told = given.policies.flatMap((document) => document.warnings);
  return { ...result, notices: [...new Set([...told, ...warnings, ...idle, ...result.notices])] };
}
