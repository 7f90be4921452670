/**
 * `file_mounts` of a task: local sources, addresses, and the object form of buckets with its modes and presets. Reads a
 * YAML tree. A bucket is never made, renamed or deleted, and a local source is only ever copied; what would need more is
 * refused. Called by shared/task-reader.ts.
 */
import { storeSource } from "./task-buckets.ts";
import { isNull, shownText, type TaskFields } from "./task-fields.ts";
import { checkedText, destinationOf, pathLengthMax, requireFew, sourceOf, workdirDestination } from "./task-paths.ts";
import { mountCachedRefusal, mountRefusals } from "./task-refusals.ts";
import type { FileMount, FileSource, VolumeMount } from "./task.ts";
import type { YamlEntry } from "./yaml11.ts";

const modes = ["MOUNT", "COPY", "MOUNT_CACHED"] as const;
type Mode = FileMount["mode"];
/** SkyPilot's presets: what the files are for, in place of mode and read-only. */
const presets: Readonly<Record<string, { mode: Mode; readOnly: boolean }>> = {
  MODEL_CHECKPOINT_RO: { mode: "MOUNT", readOnly: true },
  MODEL_CHECKPOINT_RW: { mode: "MOUNT_CACHED", readOnly: false },
  DATASET_RO: { mode: "MOUNT", readOnly: true },
  DATASET_RW: { mode: "MOUNT", readOnly: false },
};
const mountNames = {
  what: "a file mount",
  path: "file_mounts.",
  supported: ["name", "source", "store", "persistent", "mode", "type", "config", "_bucket_sub_path"],
  refused: mountRefusals,
};
const mountConfigNames = {
  what: "'config'",
  path: "file_mounts.config.",
  supported: ["mount"],
  refused: { mount_cached: mountCachedRefusal },
};
const mountOptionNames = { what: "'mount'", path: "file_mounts.config.mount.", supported: ["read_only"], refused: {} };

/** `file_mounts` in the file's order; volumes among them (`store: volume`) come apart. */
export function readFileMounts(
  fields: TaskFields,
  entry: YamlEntry | undefined,
  hasWorkdir: boolean,
): { mounts: FileMount[]; volumes: VolumeMount[] } {
  const mounts: FileMount[] = [];
  const volumes: VolumeMount[] = [];
  for (const mount of fields.entries(entry)) {
    const destination = destinationOf(fields, mount);
    if (destination === null) {
      continue;
    }
    if (destination === workdirDestination && hasWorkdir) {
      fields.fault(
        mount,
        "Cannot use '~/sky_workdir' as a destination path of a file mount, as it will be used by the workdir. " +
          "If uploading a file/folder to the workdir is needed, please specify the full path to the file/folder.",
      );
    } else if (mount.node.kind === "map") {
      const read = readStorage(fields, mount, destination);
      mounts.push(...read.mounts);
      volumes.push(...read.volumes);
    } else {
      const source = sourceOf(fields, mount);
      if (source !== null) {
        mounts.push({ destination, source, mode: "COPY" });
      }
    }
  }
  requireFew(fields, entry, mounts.length);
  return { mounts, volumes };
}

/** The object form of a mount. */
function readStorage(
  fields: TaskFields,
  mount: YamlEntry,
  destination: string,
): { mounts: FileMount[]; volumes: VolumeMount[] } {
  const none = { mounts: [], volumes: [] };
  const entries = fields.of(mount.node, mountNames);
  const name = checkedText(fields, entries.get("name"));
  const store = checkedText(fields, entries.get("store"))?.toLowerCase() ?? null;
  const subPath = checkedText(fields, entries.get("_bucket_sub_path"));
  if (store === "volume") {
    if (name === null) {
      fields.fault(mount, "A mount with 'store: volume' must give the volume's name.");
      return none;
    }
    return { mounts: [], volumes: [{ destination, name }] };
  }
  const sources = sourcesOf(fields, mount, entries.get("source"), { name, store, subPath });
  const { mode, readOnly } = accessOf(fields, mount, entries);
  const isLocal = sources.some(({ kind }) => kind === "local");
  if (isLocal && mode !== null && mode !== "COPY") {
    fields.fault(
      mount,
      `A local source is copied to the job's nodes and nothing is written back, so it cannot be mounted with ${mode}. ` +
        "Write `mode: COPY`, or use a volume.",
    );
  }
  if (isLocal && (name !== null || store !== null)) {
    fields.fault(
      mount,
      "No bucket is made here: a local source is copied to the job's nodes. Remove 'name' and 'store'.",
    );
  }
  const persistent = entries.get("persistent");
  if (persistent !== undefined && !fields.flag(persistent) && !isLocal) {
    fields.fault(
      persistent,
      "'persistent: false' would delete the bucket with the cluster; buckets are never deleted here.",
    );
  }
  const mounts = mountsOf(fields, mount, destination, sources, { mode, readOnly });
  if (mounts.some((one) => one.destination.length > pathLengthMax || addressOf(one).length > pathLengthMax)) {
    fields.fault(mount, `A destination or an address is longer than ${pathLengthMax} characters.`);
  }
  return { mounts, volumes: [] };
}

function addressOf({ source }: FileMount): string {
  return source.kind === "uri" ? source.uri : "";
}

/** Several sources lie beneath the destination by their own names, as SkyPilot lays them into a bucket. */
function mountsOf(
  fields: TaskFields,
  mount: YamlEntry,
  destination: string,
  sources: readonly FileSource[],
  { mode, readOnly }: { mode: Mode | null; readOnly: boolean },
): FileMount[] {
  const isList = sources.length > 1;
  const seen = new Set<string>();
  return sources.map((source): FileMount => {
    if (source.kind !== "uri") {
      const base = source.kind === "local" ? (source.path.replace(/\/+$/, "").split(/[/\\]/).at(-1) ?? "") : "";
      if (isList && (base === "" || base === "." || base === ".." || base === "~" || seen.has(base))) {
        fields.fault(
          mount,
          "Each of several sources must have a name of its own: it lies beneath the destination by it.",
        );
      }
      seen.add(base);
      return { destination: isList ? `${destination}/${base}` : destination, source, mode: "COPY" };
    }
    if (mode !== "COPY" && /^https?:/i.test(source.uri)) {
      fields.fault(mount, "A web address can only be copied: write `mode: COPY`.");
    }
    return { destination, source, mode: mode ?? "MOUNT", ...(readOnly ? { readOnly: true } : {}) };
  });
}

function accessOf(
  fields: TaskFields,
  mount: YamlEntry,
  entries: ReadonlyMap<string, YamlEntry>,
): { mode: Mode | null; readOnly: boolean } {
  const preset = oneOf(fields, entries.get("type"), Object.keys(presets));
  const mode = oneOf(fields, entries.get("mode"), modes);
  const config = entries.get("config");
  const options = config === undefined ? undefined : fields.of(config.node, mountConfigNames).get("mount");
  const readOnly = options !== undefined && fields.flag(fields.of(options.node, mountOptionNames).get("read_only"));
  const known = preset === null ? undefined : presets[preset];
  const access = { mode: mode ?? known?.mode ?? null, readOnly: readOnly || known?.readOnly === true };
  if (access.readOnly && access.mode === "COPY") {
    fields.fault(mount, "Only what is mounted can be read-only; a copy is the job's own.");
  }
  return access;
}

function oneOf<const Word extends string>(
  fields: TaskFields,
  entry: YamlEntry | undefined,
  words: readonly Word[],
): Word | null {
  const text = fields.text(entry);
  const found = words.find((word) => word === text?.toUpperCase()) ?? null;
  if (entry !== undefined && text !== null && found === null) {
    fields.fault(entry, `'${entry.key}: ${shownText(text)}' is not known. Known: ${words.join(", ")}.`);
  }
  return found;
}

function sourcesOf(
  fields: TaskFields,
  mount: YamlEntry,
  entry: YamlEntry | undefined,
  bucket: { name: string | null; store: string | null; subPath: string | null },
): FileSource[] {
  if (entry === undefined || isNull(entry.node)) {
    const source = storeSource(bucket.name, bucket.store, bucket.subPath);
    if ("problem" in source) {
      fields.fault(mount, source.problem);
      return [];
    }
    return [{ kind: "uri", uri: source.uri }];
  }
  if (entry.node.kind === "list") {
    const items = entry.node.items.map((node): YamlEntry => ({ key: "source", keyLine: node.line, node }));
    const sources = items.map((item) => sourceOf(fields, item)).filter((source) => source !== null);
    if (sources.length === 0 || sources.some(({ kind }) => kind !== "local")) {
      fields.fault(entry, "'source' as a list must name paths of your machine.");
    }
    return sources;
  }
  const source = sourceOf(fields, entry);
  if (source?.kind !== "uri") {
    return source === null ? [] : [source];
  }
  if (bucket.name !== null && source.uri.split("/")[2] !== bucket.name) {
    fields.fault(mount, "Give either 'name' or the bucket's address as 'source': a bucket is not renamed.");
  }
  return [{ kind: "uri", uri: bucket.subPath === null ? source.uri : `${source.uri}/${bucket.subPath}` }];
}
