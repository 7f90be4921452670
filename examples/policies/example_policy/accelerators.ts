/** What resources of a task file say about accelerators, in all the forms in which that can be written. */

type Resources = Record<string, unknown>;

function isMapping(value: unknown): value is Resources {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The resources themselves, and each of their ways; changing one changes the resources. */
export function waysOf(resources: Resources): Resources[] {
  const lists = [resources["any_of"], resources["ordered"]].filter((list) => Array.isArray(list));
  return [resources, ...lists.flat().filter(isMapping)];
}

function ofText(text: string): [string, number] {
  const [kind = "", count = "1"] = text.split(":");
  return [kind.trim(), Number(count)];
}

function ofWay(accelerators: unknown): [string, number][] {
  if (typeof accelerators === "string") {
    return [ofText(accelerators)];
  }
  if (Array.isArray(accelerators)) {
    return accelerators.flatMap(ofWay);
  }
  return isMapping(accelerators)
    ? Object.entries(accelerators).map(([kind, count]) => (count === null ? ofText(kind) : [kind, Number(count)]))
    : [];
}

/** Kinds and counts for each node, of every way. */
export function acceleratorsOf(resources: Resources): [kind: string, count: number][] {
  return waysOf(resources).flatMap((way) => ofWay(way["accelerators"]));
}
