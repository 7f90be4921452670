/**
 * Destinations and sources of what a task brings along, as text: which paths a job may have something laid at, which
 * addresses a node can fetch. Pure; called by shared/task-files.ts and shared/task-mounts.ts. It must never look at a
 * file system, and its messages do not repeat sources, since a secret may have been put into one.
 */
import { shownText, type TaskFields } from "./task-fields.ts";
import type { FileSource } from "./task.ts";
import { textProblem } from "./task-variables.ts";
import type { YamlEntry } from "./yaml11.ts";

/** Where the files of `workdir` lie and scripts run, relative to the home. Source: SkyPilot (`~/sky_workdir`). */
export const workdirDestination = "sky_workdir";
/** An exec may bring its own besides those of an earlier launch; a payload holds 1000. */
const mountsMax = 300;
/** As in the protocol of files. */
export const pathLengthMax = 4096;
export const uriPattern = /^([a-z][a-z0-9+.-]*):\/\//i;
/** Schemes of what a node can fetch or mount. */
const bucketSchemes = ["s3", "gs", "r2", "hf", "cos", "oci", "nebius", "cw"];
const webSchemes = ["https", "http"];

/** A local path or an address that a node can fetch. */
export function sourceOf(fields: TaskFields, entry: YamlEntry): FileSource | null {
  const text = checkedText(fields, entry);
  const scheme = text === null ? undefined : uriPattern.exec(text)?.[1]?.toLowerCase();
  if (text === null || scheme === undefined) {
    return text === null ? null : { kind: "local", path: text };
  }
  if (![...bucketSchemes, ...webSchemes].includes(scheme)) {
    const known = [...bucketSchemes, ...webSchemes].map((word) => `${word}://`).join(", ");
    fields.fault(
      entry,
      `'${shownText(entry.key)}': nothing is fetched from ${shownText(scheme)}:// here. Known: ${known}.`,
    );
    return null;
  }
  return { kind: "uri", uri: text };
}

/** As `FileMount.destination`; null when it is refused. */
export function destinationOf(fields: TaskFields, entry: YamlEntry): string | null {
  const written = entry.key;
  const shown = shownText(written);
  const path = written.replace(/^~(?=\/|$)\/?/, "");
  if (written.length > pathLengthMax || textProblem(written) !== null) {
    fields.fault(entry, "A destination must be a path of at most 4096 characters.");
  } else if (written.endsWith("/")) {
    const text = `File mount paths cannot end with a slash (try "/mydir: /mydir" or "/myfile: /myfile"). Found: target=${shown}`;
    fields.fault(entry, text);
  } else if (uriPattern.test(written)) {
    fields.fault(entry, "File mount destination paths cannot be cloud storage");
  } else if (path === "" || path.startsWith("~")) {
    fields.fault(
      entry,
      `'${shown}' cannot be a destination: name a path in your own home (~/PATH) or an absolute one.`,
    );
  } else if (path.split("/").includes("..")) {
    fields.fault(entry, `'${shown}' cannot be a destination: it must not contain '..'.`);
  } else {
    const plain = path.split("/").filter((name) => name !== "" && name !== ".");
    const result = `${path.startsWith("/") ? "/" : ""}${plain.join("/")}`;
    if (result !== "" && result !== "/") {
      return result;
    }
    fields.fault(entry, `'${shown}' cannot be a destination: name a path in it.`);
  }
  return null;
}

export function requireFew(fields: TaskFields, entry: YamlEntry | undefined, count: number): void {
  if (entry !== undefined && count > mountsMax) {
    fields.fault(entry, `'${entry.key}' has more than ${mountsMax} entries. Bring folders, not single files.`);
  }
}

/** Text of a path or a name; null when it is absent or refused. */
export function checkedText(fields: TaskFields, entry: YamlEntry | undefined): string | null {
  const text = fields.text(entry);
  if (entry === undefined || text === null) {
    return null;
  }
  const problem = text === "" ? "must not be empty." : textProblem(text);
  if (problem !== null || text.length > pathLengthMax) {
    fields.fault(entry, `'${shownText(entry.key)}' ${problem ?? `is longer than ${pathLengthMax} characters.`}`);
    return null;
  }
  return text;
}

/** Two things cannot lie in one place; `entries` for the lines of the faults. */
export function refuseSameDestination(
  fields: TaskFields,
  entry: YamlEntry | undefined,
  mounts: readonly { destination: string }[],
): void {
  const seen = new Set<string>();
  for (const { destination } of mounts) {
    if (seen.has(destination) && entry !== undefined) {
      fields.fault(entry, `Two things are to be laid at '${shownText(shownDestination(destination))}'.`);
    }
    seen.add(destination);
  }
}

/** As people write it. */
export function shownDestination(destination: string): string {
  return destination.startsWith("/") ? destination : `~/${destination}`;
}
