/**
 * What a task brings along beside `file_mounts` (shared/task-mounts.ts): `workdir` and `volumes`. Reads the YAML tree,
 * writes all of it back, and says which local files a client must upload. It must never look at a file system: whether
 * a source exists is the client's to say, and whether a volume does the coordinator's.
 */
import type { TaskFields } from "./task-fields.ts";
import { checkedText, destinationOf, requireFew, shownDestination, uriPattern } from "./task-paths.ts";
import type { FileMount, FileSource, Task, VolumeMount } from "./task.ts";
import type { YamlEntry } from "./yaml11.ts";

const gitUrl = /^(?:(?:https?|ssh|git|file):\/\/[^\s]+|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s]+)$/;

/** Told of an address with a password in it: git shows its arguments to everybody on the machine. */
export const passwordInUrl =
  "holds a password, which everybody on the machine could see. Give it as a secret instead: --secret GIT_TOKEN.";

export function holdsPassword(url: string): boolean {
  return /^[a-z]+:\/\/[^/@\s]*:[^/@\s]*@/i.test(url);
}

const gitNames = { what: "'workdir'", path: "workdir.", supported: ["url", "ref"], refused: {} };
const volumeNames = { what: "a volume", path: "volumes.", supported: ["name", "sub_path", "size"], refused: {} };

/** `workdir`: a folder of the user's machine, or `{url, ref}` of a git repository; null when there is none. */
export function readWorkdir(fields: TaskFields, entry: YamlEntry | undefined): FileSource | null {
  if (entry === undefined) {
    return null;
  }
  if (entry.node.kind !== "map") {
    const path = checkedText(fields, entry);
    if (path !== null && uriPattern.test(path)) {
      fields.fault(
        entry,
        "'workdir' must be a folder of your machine, or a git repository as {url: URL, ref: BRANCH}.",
      );
      return null;
    }
    return path === null ? null : { kind: "local", path };
  }
  const source = fields.of(entry.node, gitNames);
  const url = checkedText(fields, source.get("url"));
  const ref = checkedText(fields, source.get("ref"));
  if (!source.has("url")) {
    fields.fault(entry, "'workdir' names no git repository: it needs 'url'.");
  } else if (url !== null && !gitUrl.test(url)) {
    fields.fault(entry, "'workdir.url' is no address of a git repository, such as https://HOST/PATH or git@HOST:PATH.");
  } else if (url !== null && holdsPassword(url)) {
    fields.fault(entry, `'workdir.url' ${passwordInUrl}`);
  }
  if (ref !== null && /^-|[\s\0]/.test(ref)) {
    fields.fault(entry, "'workdir.ref' must be a branch, a tag or a commit.");
  }
  return url === null ? null : { kind: "git", url, ref };
}

/** `volumes`: names of what an admin publishes, by where a job sees them. */
export function readVolumes(fields: TaskFields, entry: YamlEntry | undefined): VolumeMount[] {
  const volumes: VolumeMount[] = [];
  for (const volume of fields.entries(entry)) {
    const destination = destinationOf(fields, volume);
    const read = destination === null ? null : readVolume(fields, volume, destination);
    if (read !== null) {
      volumes.push(read);
    }
  }
  requireFew(fields, entry, volumes.length);
  return volumes;
}

function readVolume(fields: TaskFields, volume: YamlEntry, destination: string): VolumeMount | null {
  if (volume.node.kind !== "map") {
    const name = checkedText(fields, volume);
    return name === null ? null : { destination, name };
  }
  const entries = fields.of(volume.node, volumeNames);
  const size = entries.get("size");
  const name = checkedText(fields, entries.get("name"));
  if (size !== undefined) {
    fields.fault(
      size,
      "'volumes.size' would make a disk for the job; no disks are made here. Use a folder of your home.",
    );
    return null;
  }
  if (name === null) {
    fields.fault(volume, "A volume needs the 'name' under which an admin publishes it.");
    return null;
  }
  const subPath = checkedText(fields, entries.get("sub_path"));
  if (subPath !== null && (subPath.startsWith("/") || subPath.split("/").includes(".."))) {
    fields.fault(volume, "'sub_path' must lie inside the volume: no '/' in front and no '..'.");
  }
  return { destination, name, ...(subPath === null ? {} : { subPath: subPath.replace(/\/+$/, "") }) };
}

/** The sources that a client must upload before it sends the task: each text once, as it stands in the task. */
export function localSourcesOf({ workdir, fileMounts }: Pick<Task, "workdir" | "fileMounts">): string[] {
  const sources = [...(fileMounts ?? []).map(({ source }) => source), ...(workdir === undefined ? [] : [workdir])];
  return [...new Set(sources.flatMap((source) => (source.kind === "local" ? [source.path] : [])))];
}

/** The fields as values that JSON writes and these functions read back. */
export function filesValue({ workdir, fileMounts, volumes, sourceNames }: Task): Record<string, unknown> {
  return {
    ...(workdir === undefined ? {} : { workdir: workdirValue(workdir) }),
    ...(fileMounts === undefined
      ? {}
      : {
          file_mounts: Object.fromEntries(
            fileMounts.map((mount) => [shownDestination(mount.destination), mountValue(mount)]),
          ),
        }),
    ...(volumes === undefined
      ? {}
      : {
          volumes: Object.fromEntries(
            volumes.map((volume) => [shownDestination(volume.destination), volumeValue(volume)]),
          ),
        }),
    ...(sourceNames === undefined ? {} : { file_mounts_mapping: sourceNames }),
  };
}

function workdirValue(source: FileSource): unknown {
  switch (source.kind) {
    case "local":
      return source.path;
    case "git":
      return { url: source.url, ...(source.ref === null ? {} : { ref: source.ref }) };
    case "uri":
      return source.uri;
  }
}

function mountValue({ source, mode, readOnly }: FileMount): unknown {
  const plain = workdirValue(source);
  if (source.kind === "local" || (mode === "COPY" && readOnly !== true)) {
    return plain;
  }
  return { source: plain, mode, ...(readOnly === true ? { config: { mount: { read_only: true } } } : {}) };
}

function volumeValue({ name, subPath }: VolumeMount): unknown {
  return subPath === undefined ? name : { name, sub_path: subPath };
}
