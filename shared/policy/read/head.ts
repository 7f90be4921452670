/**
 * What stands around a policy: its name, whom it binds, its mode; from our envelope, from V1's kind and namespace, or beside
 * a bare document. Pure. It must never know whether a project or department exists: the coordinator does. Used by
 * read-document.ts.
 */
import { nearMatch } from "../../near-match.ts";
import type { YamlMapping } from "../../yaml11.ts";
import type { PolicyHead } from "../compiled.ts";
import { kindNamed } from "../fields/fields.ts";
import type { PolicyKind } from "./draft.ts";
import { type DocumentFaults, shortened, suggested } from "./faults.ts";
import { isNullNode, textOf } from "./nodes.ts";
import { policyModes, workloadKinds } from "../words.ts";

type Target = PolicyHead["target"];
type Form = "envelope" | "v1" | "bare";

const firstKinds = ["InteractivePolicy", "TrainingPolicy", "DistributedPolicy", "InferencePolicy"];
const envelopeKind = "WorkloadPolicy";
const envelopeVersion = "policy/v1";
const levels = ["tenant", "cluster", "department", "project"] as const;
/** As policyNameSchema in policy-api.ts. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const textMax = 500;

export function formOf(map: YamlMapping): Form {
  const kind = textOf(map.entries.get("kind")?.node);
  const version = textOf(map.entries.get("apiVersion")?.node);
  if ((kind !== null && firstKinds.includes(kind)) || version?.startsWith("run.ai/") === true) {
    return "v1";
  }
  const isWrapped = ["kind", "apiVersion", "target"].some((key) => map.entries.has(key));
  return isWrapped ? "envelope" : "bare";
}

/** A kind by any of its names; `fallback`: for kinds without a policy. */
function kindByName(name: string): { kind: PolicyKind; fault: "" } | { kind: null; fault: string } {
  const kind = name.toLowerCase() === "fallback" ? "fallback" : kindNamed(name);
  if (kind !== null) {
    return { kind, fault: "" };
  }
  const known = [...workloadKinds, "fallback"];
  const near = nearMatch(name, known);
  const hint = near === null ? `known are ${known.join(", ")}` : `did you mean "${near}"?`;
  return { kind: null, fault: `"${shortened(name)}" is no kind of workloads; ${hint}` };
}

/** The head, and the mapping that holds what the policy says. Faults go to the report; the head is of use without any. */
export function readHead(
  map: YamlMapping,
  given: Partial<PolicyHead>,
  report: DocumentFaults,
): { head: PolicyHead; body: YamlMapping } {
  const form = formOf(map);
  const own = form === "v1" ? firstHead(map, report) : form === "envelope" ? envelopeHead(map, report) : {};
  const name = agreed("name", own.name, given.name, map.line, report);
  if (name === undefined) {
    report.fault(form === "bare" ? "the policy has no name: give one beside it" : "metadata.name is missing", map.line);
  } else if (!namePattern.test(name)) {
    report.fault(`"${shortened(name)}" is not a policy's name: letters, digits, ".", "_" and "-"`, map.line);
  }
  const target = agreedTarget(own.target, given.target, map.line, report);
  const spec = map.entries.get("spec");
  if (form === "envelope" && spec !== undefined && spec.node.kind !== "map" && !isNullNode(spec.node)) {
    report.fault("spec must hold defaults and rules", spec.keyLine);
  }
  const inner: YamlMapping =
    spec?.node.kind === "map" ? spec.node : { kind: "map", line: map.line, entries: new Map() };
  return {
    head: {
      name: name ?? "",
      owner: own.owner ?? given.owner ?? null,
      description: own.description ?? given.description ?? null,
      target: target ?? { level: "cluster", id: null, kinds: [] },
      mode: given.mode ?? own.mode ?? "enforce",
      dialect: form === "v1" ? "v1" : "v2",
    },
    body: form === "envelope" ? inner : map,
  };
}

/** What the document says, which nobody beside it may contradict. */
function agreed(
  word: string,
  own: string | undefined,
  given: string | undefined,
  line: number,
  report: DocumentFaults,
): string | undefined {
  if (own !== undefined && given !== undefined && own !== given) {
    report.fault(`${word}: the document says "${shortened(own)}", and beside it stands "${shortened(given)}"`, line);
  }
  return own ?? given;
}

function agreedTarget(
  own: Target | undefined,
  given: Target | undefined,
  line: number,
  report: DocumentFaults,
): Target | undefined {
  const base = own ?? given;
  if (base === undefined) {
    report.fault(
      'the policy does not say what it binds: give a scope and workloads beside it, or "target" in it',
      line,
    );
    return undefined;
  }
  if (own !== undefined && given !== undefined) {
    agreed("scope", own.level, given.level, line, report);
    agreed("scope's id", own.id ?? undefined, given.id ?? undefined, line, report);
    const kinds = [...own.kinds].sort().join(", ");
    agreed("workloads", kinds, given.kinds.length === 0 ? undefined : [...given.kinds].sort().join(", "), line, report);
  }
  const isNamed = base.level === "project" || base.level === "department";
  if (isNamed && (base.id ?? given?.id ?? null) === null) {
    report.fault(`the policy does not say which ${base.level} it binds`, line);
  }
  if (base.kinds.length === 0) {
    report.fault("the policy does not say which workloads it binds", line);
  }
  return { ...base, id: base.id ?? given?.id ?? null };
}

/** Keys of a mapping that are not known are told. */
function onlyKnown(map: YamlMapping, known: readonly string[], place: string, report: DocumentFaults): void {
  for (const { key, keyLine } of map.entries.values()) {
    if (!known.includes(key)) {
      const near = suggested(key, known);
      report.unknown(`${place}${key}`, near === null ? null : `${place}${near}`, keyLine);
    }
  }
}

function mappingAt(map: YamlMapping, key: string, report: DocumentFaults): YamlMapping | null {
  const entry = map.entries.get(key);
  if (entry === undefined || isNullNode(entry.node)) {
    return null;
  }
  if (entry.node.kind !== "map") {
    report.fault(`${key} must be a mapping`, entry.keyLine);
    return null;
  }
  return entry.node;
}

function checkWord(map: YamlMapping, key: string, known: readonly string[], report: DocumentFaults): void {
  const entry = map.entries.get(key);
  const text = textOf(entry?.node);
  if (entry !== undefined && (text === null || !known.includes(text))) {
    report.fault(`${key}: must be one of: ${known.join(", ")}`, entry.keyLine);
  }
}

type OwnHead = Partial<Omit<PolicyHead, "dialect">>;

function envelopeHead(map: YamlMapping, report: DocumentFaults): OwnHead {
  onlyKnown(map, ["apiVersion", "kind", "metadata", "target", "mode", "spec"], "", report);
  checkWord(map, "apiVersion", [envelopeVersion], report);
  checkWord(map, "kind", [envelopeKind, ...firstKinds], report);
  checkWord(map, "mode", policyModes, report);
  const metadata = mappingAt(map, "metadata", report);
  const own: OwnHead = {};
  if (metadata !== null) {
    onlyKnown(metadata, ["name", "owner", "description"], "metadata.", report);
    for (const key of ["name", "owner", "description"] as const) {
      const entry = metadata.entries.get(key);
      const text = textOf(entry?.node);
      if (text !== null && text !== "" && text.length <= textMax) {
        own[key] = text;
      } else if (entry !== undefined && !isNullNode(entry.node)) {
        report.fault(`metadata.${key}: must be a text of at most ${textMax} characters`, entry.keyLine);
      }
    }
  }
  const mode = policyModes.find((one) => one === textOf(map.entries.get("mode")?.node));
  const target = readTarget(map, report);
  return { ...own, ...(mode === undefined ? {} : { mode }), ...(target === null ? {} : { target }) };
}

function readTarget(map: YamlMapping, report: DocumentFaults): Target | null {
  const target = mappingAt(map, "target", report);
  if (target === null) {
    return null;
  }
  onlyKnown(target, ["scope", "id", "workloads"], "target.", report);
  const scope = target.entries.get("scope");
  const word = textOf(scope?.node);
  const level = levels.find((one) => one === word?.toLowerCase());
  if (level === undefined) {
    report.fault(`target.scope: must be one of: ${levels.join(", ")}`, scope?.keyLine ?? target.line);
  }
  const id = textOf(target.entries.get("id")?.node);
  if (id !== null && !/^[^\s\p{Cc}]{1,64}$/u.test(id)) {
    report.fault("target.id: is no name of a scope", target.entries.get("id")?.keyLine ?? target.line);
  }
  return { level: level ?? "cluster", id, kinds: readKinds(target, report) };
}

function readKinds(target: YamlMapping, report: DocumentFaults): PolicyKind[] {
  const entry = target.entries.get("workloads");
  if (entry === undefined || isNullNode(entry.node)) {
    return [];
  }
  const nodes = entry.node.kind === "list" ? entry.node.items : [entry.node];
  const kinds = new Set<PolicyKind>();
  for (const node of nodes.slice(0, 100)) {
    const read = kindByName(node.kind === "scalar" ? node.text : "");
    if (read.kind === null) {
      report.fault(`target.workloads: ${read.fault}`, node.line);
    } else {
      kinds.add(read.kind);
    }
  }
  return [...kinds];
}

function firstHead(map: YamlMapping, report: DocumentFaults): OwnHead {
  const version = textOf(map.entries.get("apiVersion")?.node);
  if (version !== null) {
    checkWord(map, "apiVersion", ["run.ai/v2alpha1", "run.ai/v1alpha1"], report);
  }
  checkWord(map, "kind", firstKinds, report);
  const kind = kindNamed(textOf(map.entries.get("kind")?.node) ?? "");
  if (!map.entries.has("kind")) {
    report.fault(`kind is missing: one of ${firstKinds.join(", ")}`, map.line);
  }
  const metadata = mappingAt(map, "metadata", report);
  const name = textOf(metadata?.entries.get("name")?.node);
  const namespace = metadata?.entries.get("namespace");
  const place = textOf(namespace?.node);
  const isProject = place?.startsWith("runai-") === true && place.length > "runai-".length;
  if (place !== "runai" && !isProject) {
    const text = place === null ? "is missing" : `"${shortened(place)}" is not known`;
    report.fault(`metadata.namespace ${text}: runai, or runai-PROJECT`, namespace?.keyLine ?? map.line);
  }
  const target: Target = {
    level: isProject ? "project" : "cluster",
    id: isProject ? (place?.slice("runai-".length) ?? null) : null,
    kinds: kind === null ? [] : [kind],
  };
  return { ...(name === null ? {} : { name }), ...(kind === null ? {} : { target }) };
}
