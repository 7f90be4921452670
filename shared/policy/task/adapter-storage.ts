/**
 * Files of a task as the storage fields of policies, and back: repositories, buckets, published volumes, folders of the
 * node, empty folders. Pure. A local folder that is copied (`workdir`, `file_mounts`) is no storage that a policy knows.
 * It must never mount what a job could not have without the policy. Called by the adapter of tasks only.
 */
import { SkyError } from "../../errors.ts";
import type { FileMount, Task, VolumeMount } from "../../task.ts";
import { holdsPassword } from "../../task-files.ts";
import { shownDestination, workdirDestination } from "../../task-paths.ts";
import type { Item, PlainValue } from "../words.ts";

const bucketUri = /^(s3|gs|r2|hf|cos|oci|nebius|cw):\/\/([^/]+)/i;
const commitPattern = /^[0-9a-f]{40}$/i;

/** By canonical path; paths inside are as people write them (`~/data`, `/data`). */
export function storageFields({ workdir, fileMounts = [], volumes = [] }: Task): Map<string, Item[]> {
  const git: Item[] = [];
  const s3: Item[] = [];
  const all =
    workdir === undefined ? fileMounts : [...fileMounts, { destination: workdirDestination, source: workdir }];
  for (const { destination, source } of all) {
    const path = shownDestination(destination);
    if (source.kind === "git") {
      git.push({ repository: source.url, ...refOf(source.ref), path });
    }
    const bucket = source.kind === "uri" ? bucketUri.exec(source.uri) : null;
    if (bucket !== null && source.kind === "uri") {
      const [, scheme = "", first = ""] = bucket;
      // Programs that fetch may take `b/../c` for the bucket `c`.
      const name = hasDots(source.uri) ? source.uri.slice(scheme.length + 3) : first;
      s3.push({ bucket: scheme.toLowerCase() === "s3" ? name : `${scheme.toLowerCase()}://${name}`, path });
    }
  }
  const pvc = volumes.map(
    ({ destination, name }): Item => ({ claimName: name, existingPvc: true, path: shownDestination(destination) }),
  );
  return new Map([
    ["storage.git", git],
    ["storage.s3", s3],
    ["storage.pvc", pvc],
    ["storage.hostPath", []],
    ["storage.emptyDirVolume", []],
  ]);
}

/** Whether an address has steps that lead elsewhere than it is read. */
export function hasDots(address: string): boolean {
  return /(^|[/:\\])(\.|%2e){1,2}([/\\?#]|$)/i.test(address);
}

function refOf(ref: string | null): Item {
  return ref === null ? {} : commitPattern.test(ref) ? { revision: ref } : { branch: ref };
}

/** What cannot be carried; `path` is that of the field, `attribute` one of its item. */
export function cannotCarry(path: string, why: string, hint: string | null = null): SkyError {
  return new SkyError("NotSupportedError", `${path}: ${why}`, hint);
}

/** Null for what is not set: an empty text sets nothing either. */
function textIn(item: Item, name: string): string | null {
  const value = item[name];
  return value === undefined || value === null || value === "" || typeof value === "object" ? null : String(value);
}

/** As `FileMount.destination`. */
function destinationIn(field: string, item: Item, name: string): string {
  const text = textIn(item, name);
  const path = text?.replace(/^~\//, "").replace(/\/+$/, "") ?? "";
  const steps = path.split("/").filter((step) => step !== "" && step !== ".");
  if (steps.length === 0 || path.startsWith("~") || steps.includes("..") || /[\0$]/.test(path)) {
    throw cannotCarry(`${field}[].${name}`, `'${text ?? ""}' is no place that something can be laid at.`);
  }
  return `${path.startsWith("/") ? "/" : ""}${steps.join("/")}`;
}

/** The words for attributes that nothing carries, when they are set. */
function refuseAttributes(field: string, item: Item, refused: Readonly<Record<string, string>>): void {
  for (const [name, why] of Object.entries(refused)) {
    const value = item[name];
    if (value !== undefined && value !== null && value !== "" && value !== false) {
      throw cannotCarry(`${field}[].${name}`, why);
    }
  }
}

const noCredentials = "no credentials are kept here; give the job a secret, such as --secret GIT_TOKEN.";

/** A repository that policies add: the working folder where the task has none, else a folder of its own. */
export function withGit(task: Task, item: Item): Task {
  const field = "storage.git";
  refuseAttributes(field, item, { secretName: noCredentials, username: noCredentials, passwordSecret: noCredentials });
  const url = textIn(item, "repository");
  if (url === null || /[\s\0]|^-/.test(url) || hasDots(url) || holdsPassword(url)) {
    throw cannotCarry(`${field}[].repository`, "an address of a repository without a password is needed.");
  }
  const ref = textIn(item, "revision") ?? textIn(item, "branch");
  if (ref !== null && /^-|[\s\0]/.test(ref)) {
    throw cannotCarry(`${field}[].${textIn(item, "revision") === null ? "branch" : "revision"}`, "it names nothing.");
  }
  const source = { kind: "git" as const, url, ref };
  const destination = textIn(item, "path") === null ? workdirDestination : destinationIn(field, item, "path");
  if (destination === workdirDestination) {
    if (task.workdir !== undefined) {
      throw cannotCarry(`${field}[].path`, "the task has a working folder already; give the repository a path.");
    }
    return { ...task, workdir: source };
  }
  return withMount(task, { destination, source, mode: "COPY" });
}

/** A bucket that policies add. Its server goes to the tools that fetch as they are told of it: by a variable. */
export function withBucket(task: Task, item: Item): Task {
  const field = "storage.s3";
  const why = "no credentials are kept here; the tools that fetch buckets find the user's own.";
  refuseAttributes(field, item, { accessKeySecret: why, secretKeyOfAccessKeyId: why, secretKeyOfSecretKey: why });
  const bucket = textIn(item, "bucket")?.replace(/^s3:\/\//, "") ?? "";
  const uri = bucketUri.test(bucket) ? bucket : `s3://${bucket}`;
  if (!bucketUri.test(uri) || /[\s\0]/.test(uri)) {
    throw cannotCarry(`${field}[].bucket`, "the name of a bucket is needed.");
  }
  const url = textIn(item, "url");
  const there = task.envs[endpointVariable] ?? task.secrets?.[endpointVariable];
  if (url !== null && there !== undefined && there !== url) {
    throw cannotCarry(`${field}[].url`, `a job's buckets are of one server, which ${endpointVariable} names already.`);
  }
  const destination = destinationIn(field, item, "path");
  const added = withMount(task, { destination, source: { kind: "uri", uri }, mode: "MOUNT" });
  return url === null || there !== undefined ? added : { ...added, envs: { ...added.envs, [endpointVariable]: url } };
}

const endpointVariable = "AWS_ENDPOINT_URL";

/** A volume that policies add, by claim or by id: one that an admin publishes under that name. */
export function withVolume(task: Task, field: "storage.pvc" | "storage.dataVolume", item: Item): Task {
  const isClaim = field === "storage.pvc";
  if (isClaim && item["existingPvc"] === false) {
    throw cannotCarry(`${field}[].existingPvc`, "no volumes are made here; an admin publishes them (`volumes`).");
  }
  refuseAttributes(field, item, {
    readOnly: "whether a volume can be written is said where an admin publishes it (`volumes`, `read_only`).",
    ephemeral: "no volumes are made or deleted here; `storage.emptyDirVolume` ends with the job.",
  });
  const name = textIn(item, isClaim ? "claimName" : "id");
  if (name === null) {
    throw cannotCarry(`${field}[].${isClaim ? "claimName" : "id"}`, "the name of a published volume is needed.");
  }
  const destination = destinationIn(field, item, isClaim ? "path" : "mountPath");
  requireFree(task, destination, field);
  const volume: VolumeMount = { destination, name };
  return { ...task, volumes: [...(task.volumes ?? []), volume] };
}

function withMount(task: Task, mount: FileMount): Task {
  requireFree(task, mount.destination, mount.source.kind === "git" ? "storage.git" : "storage.s3");
  return { ...task, fileMounts: [...(task.fileMounts ?? []), mount] };
}

function requireFree({ fileMounts = [], volumes = [] }: Task, destination: string, field: string): void {
  if ([...fileMounts, ...volumes].some((one) => one.destination === destination)) {
    throw cannotCarry(field, `something else of the task lies at '${shownDestination(destination)}' already.`);
  }
}

/** What no job may be given by its own word, the places below them included. */
const guardedPlaces = ["/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib", "/var/run"];

/**
 * A folder of the node in the job's container. `own`: the task asks for it, not a policy. The user's rights hold in it:
 * the container runs as the user.
 */
export function withHostPath(task: Task, item: Item, own: boolean): Task {
  const field = "storage.hostPath";
  const path = placeIn(field, item, "path");
  const mountPath = textIn(item, "mountPath") === null ? path : placeIn(field, item, "mountPath");
  if (own && (path === "/" || guardedPlaces.some((place) => path === place || path.startsWith(`${place}/`)))) {
    throw cannotCarry(`${field}[].path`, `'${path}' is the machine's own and is not handed into containers.`);
  }
  const isReadOnly = item["readOnly"] === true;
  if (task.image === undefined) {
    if (path === mountPath && !isReadOnly) {
      return task;
    }
    throw cannotCarry(
      field,
      "a job without an image sees the node's folders where they are, with the rights of its user.",
      "Give the task an image (image_id: docker:IMAGE), or ask an admin to publish the folder (`volumes`).",
    );
  }
  const follows = item["mountPropagation"] === "HostToContainer";
  const options = [...(isReadOnly ? ["ro"] : []), ...(follows ? ["rslave"] : [])];
  const words = ["--volume", [path, mountPath, ...(options.length === 0 ? [] : [options.join(",")])].join(":")];
  return { ...task, imageOptions: [...(task.imageOptions ?? []), ...words] };
}

/** An absolute path without `..` and what parts the words of a mount. */
function placeIn(field: string, item: Item, name: string): string {
  const text = textIn(item, name) ?? "";
  const steps = text.split("/").filter((step) => step !== "" && step !== ".");
  if (!text.startsWith("/") || steps.includes("..") || /[:,\0\n]/.test(text)) {
    throw cannotCarry(`${field}[].${name}`, `'${text}' is no absolute path without '..', ':' and ','.`);
  }
  return `/${steps.join("/")}`;
}

/** An empty folder of the launch spec. */
export function scratchOf(
  item: Item,
  bytesIn: (path: string, value: PlainValue) => number,
): { path: string; memory?: true; sizeBytes?: number } {
  const field = "storage.emptyDirVolume";
  const size = item["sizeLimit"] ?? null;
  return {
    path: placeIn(field, item, "path"),
    ...(item["medium"] === "Memory" ? { memory: true as const } : {}),
    ...(size === null ? {} : { sizeBytes: Math.max(1, Math.floor(bytesIn(`${field}[].sizeLimit`, size))) }),
  };
}
