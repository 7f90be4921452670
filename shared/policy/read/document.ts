/**
 * Reads a policy's document, whichever form it has: our envelope, a bare document of defaults and rules, or V1's as Run:ai's
 * cluster keeps it. Every fault is told at once with its line, and what was read as something else than it says is told as
 * a warning. It is given the text and must never open a file. Called by the coordinator when a policy is saved or loaded, by
 * `sky policy check` and `test`, and by cases.ts.
 */
import { messageOf, SkyError } from "../../errors.ts";
import { policyBytesMax } from "../../policy-api.ts";
import { readYaml, type YamlMapping, type YamlNode } from "../../yaml11.ts";
import type { CompiledPolicy, PolicyDocument, PolicyHead } from "../compiled.ts";
import { compiledOf, type Draft, type DraftContext } from "./draft.ts";
import { DocumentFaults } from "./faults.ts";
import { formOf, readHead } from "./head.ts";
import { tooDeepAt, treeOf } from "./nodes.ts";
import { readV1 } from "./v1.ts";
import { readV2 } from "./v2.ts";
import type { PolicySource } from "../words.ts";

/**
 * `head`: what was said beside the document, for what it does not say itself. Throws SkyError("InvalidPolicyError") with
 * `file:line: …` for every fault.
 */
export function readPolicy(
  text: string,
  { file, head: given }: { file: string; head?: Partial<PolicyHead> },
): PolicyDocument {
  const report = new DocumentFaults(file);
  const map = mappingOf(parse(text, file), report);
  const { head, body } = readHead(map, given ?? {}, report);
  const source: PolicySource = {
    policy: head.name,
    scope: { level: head.target.level, id: head.target.id ?? "" },
    revision: 0,
    mode: head.mode,
    dialect: head.dialect,
  };
  const compiled = compile(body, head, source, report);
  report.refuse();
  return { head, compiled, warnings: report.warnings };
}

/**
 * What a document says, without its head: `tree` is a whole document of any form, parsed already; kinds and dialect are the
 * head's, everything else the source's. Throws SkyError("InvalidPolicyError") with every fault, a line each.
 */
export function compilePolicy(
  tree: unknown,
  head: PolicyHead,
  source: PolicySource,
): { compiled: CompiledPolicy[]; warnings: string[] } {
  const report = new DocumentFaults(null);
  const map = mappingOf(treeOf(tree, "InvalidPolicyError"), report);
  const spec = formOf(map) === "envelope" ? map.entries.get("spec")?.node : undefined;
  const compiled = compile(spec?.kind === "map" ? spec : map, head, source, report);
  report.refuse();
  return { compiled, warnings: report.warnings };
}

function compile(map: YamlMapping, head: PolicyHead, source: PolicySource, report: DocumentFaults): CompiledPolicy[] {
  const context: DraftContext = { dialect: head.dialect, kinds: head.target.kinds, report };
  const drafts: Draft[] = head.dialect === "v1" ? [readV1(map, context)] : readV2(map, context);
  return drafts.flatMap((draft) => compiledOf(draft, source, context));
}

function mappingOf(root: YamlNode, report: DocumentFaults): YamlMapping {
  if (root.kind === "map") {
    return root;
  }
  if (root.kind === "list" || root.value !== null) {
    report.fault("a policy must be a mapping of keys to values", root.line);
    report.refuse();
  }
  return { kind: "map", line: 1, entries: new Map() };
}

function parse(text: string, file: string): YamlNode {
  const report = new DocumentFaults(file);
  if (text.length > policyBytesMax) {
    throw new SkyError("InvalidPolicyError", `${file} is larger than ${policyBytesMax / 1024} KiB.`);
  }
  let documents: YamlNode[];
  try {
    documents = readYaml(text, file);
  } catch (error) {
    throw new SkyError("InvalidPolicyError", `${messageOf(error)}${missingColon(text, messageOf(error))}`);
  }
  const [root, second] = documents;
  if (second !== undefined) {
    report.fault(`holds ${documents.length} documents; put each policy in a file of its own`, second.line);
    report.refuse();
  }
  const found = root ?? { kind: "map", line: 1, entries: new Map() };
  const line = tooDeepAt(found);
  if (line !== null) {
    report.fault("is nested too deeply", line);
    report.refuse();
  }
  return found;
}

/** In the documents a colon is missing, and YAML's own words say nothing of it. */
function missingColon(text: string, message: string): string {
  const line = Number(/:(\d+): /.exec(message)?.[1] ?? 0);
  const words = /^\s*(instances|attributes|defaults|rules|spec|items|itemRules|value)\s*$/i;
  const found = text
    .split("\n")
    .slice(Math.max(0, line - 3), line)
    .flatMap((one) => words.exec(one.slice(0, 200))?.[1] ?? []);
  return found.length === 0 ? "" : `; missing ':' after ${found.at(-1)}?`;
}
