/**
 * What holds for every workload, whatever policies say: limits above requests, one way of sharing a GPU, one thing on one
 * mount point. Pure. Used by evaluate.ts only. It looks at values that fit their types alone; what does not is a violation
 * already.
 */
import type { LiveItem } from "./items.ts";
import { plainPath } from "../fields/items.ts";
import { shown, texts } from "./messages.ts";
import { compareAmounts, isWhole, parseDecimal, parseQuantity } from "../fields/quantity.ts";
import { devicesPath, portionPath } from "../together/virtual.ts";
import type { Item, PlainValue } from "../words.ts";

/** A contradiction: told at the first place; `with`: the others that it comes from. */
export interface Contradiction {
  path: string;
  label?: string;
  attribute?: string;
  message: string;
  /** Places, as messages.ts writes them. */
  with: readonly string[];
}

export interface Facts {
  /** Of scalars, arrays and objects. */
  value(path: string): PlainValue | undefined;
  items(path: string): readonly LiveItem[];
}

/** In no order. */
export function contradictions(facts: Facts): Contradiction[] {
  return [
    ...limitsBelowRequests(facts),
    ...sharing(facts),
    ...pairs(facts),
    ...volumeItems(facts),
    ...tolerationItems(facts),
    ...urlItems(facts),
    ...mountPoints(facts),
  ];
}

const one = { digits: 1n, scale: 0 };
const limited = [
  ["compute.cpuCoreLimit", "compute.cpuCoreRequest"],
  ["compute.cpuMemoryLimit", "compute.cpuMemoryRequest"],
  ["compute.gpuMemoryLimit", "compute.gpuMemoryRequest"],
  ["compute.gpuPortionLimit", "compute.gpuPortionRequest"],
] as const;

const lastName = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

function limitsBelowRequests(facts: Facts): Contradiction[] {
  return limited.flatMap(([path, other]) => {
    const [limit, request] = [parseQuantity(facts.value(path)), parseQuantity(facts.value(other))];
    if (limit === null || request === null || compareAmounts(limit, request) >= 0) {
      return [];
    }
    const message = `must be no less than ${lastName(other)} (${shown(facts.value(other) ?? null)})`;
    return [{ path, message, with: [other] }];
  });
}

function sharing(facts: Facts): Contradiction[] {
  const found: Contradiction[] = [];
  const gpu = parseDecimal(facts.value("gpu"));
  if (gpu !== null) {
    const isOdd = gpu.digits < 0n || (!isWhole(gpu) && compareAmounts(gpu, one) > 0);
    const message = isOdd ? "must be a whole number, or a part below 1" : `cannot be given beside ${devicesPath}`;
    found.push({ path: "gpu", message, with: isOdd ? [] : [devicesPath] });
  }
  for (const path of [portionPath, "compute.gpuPortionLimit"]) {
    const portion = parseDecimal(facts.value(path));
    if (portion !== null && (portion.digits <= 0n || compareAmounts(portion, one) > 0)) {
      found.push({ path, message: "must be greater than 0 and no greater than 1", with: [] });
    }
  }
  const type = facts.value("compute.gpuRequestType");
  const devices = parseDecimal(facts.value(devicesPath) ?? 1) ?? one;
  const path = "compute.gpuRequestType";
  if ((type === "memory" || type === "migProfile") && compareAmounts(devices, one) !== 0) {
    const message = "can be memory or migProfile only when gpuDevicesRequest is 1";
    return [...found, { path, message, with: [devicesPath] }];
  }
  return type === undefined ? found : [...found, ...measured(facts, type)];
}

/** A part of a GPU is given in what `gpuRequestType` says, and in nothing else. */
function measured(facts: Facts, type: PlainValue): Contradiction[] {
  const measures = [
    ["memory", "compute.gpuMemoryRequest"],
    ["portion", portionPath],
  ] as const;
  return measures.flatMap(([word, path]) => {
    const isGiven = facts.value(path) !== undefined;
    if (isGiven === (type === word)) {
      return [];
    }
    const message = `${isGiven ? "can be set only" : "is required"} when gpuRequestType is ${word}`;
    return [{ path, message, with: ["compute.gpuRequestType"] }];
  });
}

function pairs(facts: Facts): Contradiction[] {
  const found: Contradiction[] = [];
  const [parallelism, completions] = [facts.value("parallelism"), facts.value("completions")];
  const [at, all] = [parseDecimal(parallelism), parseDecimal(completions)];
  if (at !== null && all !== null && compareAmounts(at, all) > 0) {
    const message = `must be no greater than completions (${shown(completions ?? null)})`;
    found.push({ path: "parallelism", message, with: ["completions"] });
  }
  if (facts.value("tty") === true && facts.value("stdin") !== true) {
    found.push({ path: "tty", message: "can be true only when stdin is true", with: ["stdin"] });
  }
  const [users, groups] = ["servingPort.authorizedUsers", "servingPort.authorizedGroups"] as const;
  if (facts.value(users) !== undefined && facts.value(groups) !== undefined) {
    found.push({ path: groups, message: "cannot be set together with authorizedUsers", with: [users] });
  }
  return found;
}

function volumeItems(facts: Facts): Contradiction[] {
  const found: Contradiction[] = [];
  for (const { label, item } of facts.items("storage.pvc")) {
    if (item["existingPvc"] === false && item["claimInfo.size"] === undefined) {
      const place = { path: "storage.pvc", label, attribute: "claimInfo.size" };
      found.push({
        ...place,
        message: "is required when existingPvc is false",
        with: [`storage.pvc[${label}].existingPvc`],
      });
    }
  }
  const [first, ...others] = facts.items("storage.hostPath");
  const propagation = (item: Item | undefined): PlainValue => item?.["mountPropagation"] ?? "None";
  for (const { label, item } of others) {
    if (first !== undefined && propagation(item) !== propagation(first.item)) {
      const place = { path: "storage.hostPath", label, attribute: "mountPropagation" };
      const message = `must be the same for all hostPath entries (${shown(propagation(first.item))})`;
      found.push({ ...place, message, with: [`storage.hostPath[${first.label}].mountPropagation`] });
    }
  }
  return found;
}

function tolerationItems(facts: Facts): Contradiction[] {
  return facts.items("tolerations").flatMap(({ label, item: { value, operator, seconds, effect } }) => {
    const place = (attribute: string) => ({ path: "tolerations", label, attribute });
    const found: Contradiction[] = [];
    if (value !== undefined && value !== "" && operator !== undefined && operator !== "Equal") {
      const message = "can be set only when operator is Equal";
      found.push({ ...place("value"), message, with: [`tolerations[${label}].operator`] });
    }
    if (seconds !== undefined && effect !== "NoExecute") {
      const message = "can be set only when effect is NoExecute";
      found.push({ ...place("seconds"), message, with: [`tolerations[${label}].effect`] });
    }
    return found;
  });
}

function urlItems(facts: Facts): Contradiction[] {
  return facts.items("exposedUrls").flatMap(({ label, item: { authorizedUsers, authorizedGroups } }) => {
    const place = { path: "exposedUrls", label, attribute: "authorizedGroups" };
    const message = "cannot be set together with authorizedUsers";
    const isBoth = authorizedUsers !== undefined && authorizedGroups !== undefined;
    return isBoth ? [{ ...place, message, with: [`exposedUrls[${label}].authorizedUsers`] }] : [];
  });
}

/** In the order in which the later of two is told, with the attribute that says where it is mounted. */
const mounted = [
  ["storage.hostPath", "mountPath"],
  ["storage.git", "path"],
  ["storage.pvc", "path"],
  ["storage.nfs", "mountPath"],
  ["storage.s3", "path"],
  ["storage.dataVolume", "mountPath"],
  ["storage.configMapVolume", "mountPath"],
  ["storage.secretVolume", "mountPath"],
  ["storage.emptyDirVolume", "path"],
] as const;

function mountPoints(facts: Facts): Contradiction[] {
  const used = new Map<string, string>();
  const found: Contradiction[] = [];
  for (const [path, attribute] of mounted) {
    for (const { label, item } of facts.items(path)) {
      const mount = item[attribute];
      if (typeof mount !== "string" || mount === "") {
        continue;
      }
      const key = plainPath(mount);
      const earlier = used.get(key);
      if (earlier === undefined) {
        used.set(key, `${path}[${label}]`);
      } else {
        found.push({ path, label, message: texts.mountTwice(mount), with: [earlier] });
      }
    }
  }
  return found;
}
