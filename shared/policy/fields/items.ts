/**
 * Items of itemized fields: which key an item goes by in locks and messages, and when two items are one. Attributes of an
 * item are named by their path inside it, flat (`claimInfo.size`). Keys that are paths are compared without what makes no
 * difference (`/data/`, `/data`), so that no spelling gets around a lock. Pure. Used by the readers, merge.ts and
 * rules.ts.
 */
import { fieldAt, type FieldSpec } from "./fields.ts";
import { isMapping, samePlain, sameValue } from "./values.ts";
import type { Item, PlainValue } from "../words.ts";

/** An item's own path for the key, without doubled and last slashes and `.`; other texts as they are. */
function keyText(name: string, value: PlainValue | undefined): string | null {
  if (value === undefined || value === null || value === "" || typeof value === "object") {
    return null;
  }
  const text = String(value);
  return /(^|\.)(mountPath|path)$/.test(name) ? plainPath(text) : text;
}

/** A path without doubled slashes, `.` and `..` that it can do without: `/a//b/./c/..` is `/a/b`. */
export function plainPath(path: string): string {
  const steps: string[] = [];
  for (const step of path.split("/")) {
    if (step === ".." && path.startsWith("/")) {
      steps.pop();
    } else if (step !== "" && step !== ".") {
      steps.push(step);
    }
  }
  return `${path.startsWith("/") ? "/" : ""}${steps.join("/")}`;
}

/** The text of one alternative (`key+effect+value`); null where none of its attributes is set. */
function alternativeKey(alternative: readonly string[], item: Item): string | null {
  const texts = alternative.map((name) => keyText(name, item[name]));
  return texts.every((text) => text === null) ? null : texts.map((text) => text ?? "").join("+");
}

/** Every key that an item has, the one it goes by first; a lock on any of them holds it. */
export function itemKeys(spec: FieldSpec, item: Item): string[] {
  const keys = [["name"], ...(spec.key ?? [])].flatMap((alternative) => alternativeKey(alternative, item) ?? []);
  return [...new Set(keys)];
}

/** The key that an item goes by in messages: `admin-port-a`, `8888`, `/data`. Empty: it has none at all. */
export function itemKey(spec: FieldSpec, item: Item): string {
  const keys = [...(spec.key ?? []), ["name"]].flatMap((alternative) => alternativeKey(alternative, item) ?? []);
  return keys[0] ?? "";
}

/** Whether two items are one: by name if both have one that is equal, else by the first natural key that both have. */
export function sameItem(spec: FieldSpec, one: Item, other: Item): boolean {
  const nameOf = (item: Item): string | null => keyText("name", item["name"]);
  if (nameOf(one) !== null && nameOf(one) === nameOf(other)) {
    return true;
  }
  for (const alternative of spec.key ?? []) {
    const [left, right] = [alternativeKey(alternative, one), alternativeKey(alternative, other)];
    if (alternative[0] !== "name" && left !== null && right !== null) {
      return left === right;
    }
  }
  return false;
}

/** Finds those of many items that could be one with another: items that are one share a key. */
export function itemIndex(spec: FieldSpec, items: readonly Item[]): (item: Item) => readonly Item[] {
  const byKey = new Map<string, Item[]>();
  for (const item of items) {
    for (const key of itemKeys(spec, item)) {
      const others = byKey.get(key);
      if (others === undefined) {
        byKey.set(key, [item]);
      } else {
        others.push(item);
      }
    }
  }
  return (item) => {
    const [first = "", ...more] = itemKeys(spec, item);
    const found = byKey.get(first) ?? [];
    return more.length === 0 ? found : [...new Set([...found, ...more.flatMap((key) => byKey.get(key) ?? [])])];
  };
}

/** Whether every attribute that an item sets (but its key's and `exclude`) is the same in the other. */
export function setsNothingNew(spec: FieldSpec, item: Item, other: Item): boolean {
  return Object.entries(item).every(([name, value]) => {
    const attribute = fieldAt(`${spec.path}[].${name}`);
    const there = other[name];
    if (name === "exclude" || value === null || there === undefined) {
      return name === "exclude" || value === null || there === value;
    }
    const isPath =
      typeof value === "string" && typeof there === "string" && keyText(name, value) === keyText(name, there);
    return isPath || (attribute === null ? samePlain(value, there) : sameValue(value, there ?? null, attribute));
  });
}

/** An item as documents show it, with `claimInfo: {size: …}` in place of `claimInfo.size`. */
export function nestedItem(item: Item): { [key: string]: PlainValue } {
  const nested: { [key: string]: PlainValue } = {};
  for (const [name, value] of Object.entries(item)) {
    const steps = name.split(".");
    const last = steps.pop() ?? name;
    let place = nested;
    for (const step of steps) {
      const inner = place[step];
      const made = isMapping(inner) ? inner : {};
      place[step] = made;
      place = made;
    }
    place[last] = value;
  }
  return nested;
}
