/**
 * The launch spec of a task: what the processes of its job are held to on their nodes. Made from the effective values of
 * policies and of `workload:`; a value that no node could carry out is refused by name. Pure. It must never drop a value
 * that protects: what asks for a container is refused where the task has none. Called by task-adapter.ts only.
 */
import { type LaunchSpec, launchSpecSchema } from "../../launch-spec.ts";
import type { Task } from "../../task.ts";
import { optionFieldsOf } from "./run-options.ts";
import { itemsOf } from "./adapter-fields.ts";
import { cannotCarry, scratchOf } from "./adapter-storage.ts";
import { amountIn, bytesIn, textOf } from "./adapter-ways.ts";
import type { PlainValue, Workload } from "../words.ts";

type ContainerSpec = NonNullable<LaunchSpec["container"]>;

/** Of /dev/shm for a job that has no memory of its own to measure it by. */
const shmBytesDefault = 64 * 2 ** 30;
const needsImage = "it is an option of a container, and the task has none.";
const imageHint = "Give the task an image (image_id: docker:IMAGE).";

/** `value`: what is effective and not the task's own already; undefined: nothing. */
type Given = (path: string) => PlainValue | undefined;

/** Null: nothing at all. `given` tells only what the task's own fields do not say. */
export function launchSpecOf(task: Task, effective: Workload, given: Given): LaunchSpec | null {
  const cores = given("compute.cpuCoreLimit");
  const memory = given("compute.cpuMemoryLimit");
  const grace = given("terminationGracePeriodSeconds");
  const folder = given("workingDir");
  const scratch = itemsOf(given("storage.emptyDirVolume")).map((item) => scratchOf(item, bytesIn));
  const container = containerOf(task, effective, given);
  const spec = {
    ...(cores === undefined ? {} : { cpuCoreLimit: amountIn("compute.cpuCoreLimit", cores) }),
    ...(memory === undefined ? {} : { memoryLimitBytes: Math.floor(bytesIn("compute.cpuMemoryLimit", memory)) }),
    ...(isUnprivileged(task, given) ? { noNewPrivileges: true as const } : {}),
    ...(grace === undefined ? {} : { graceSeconds: amountIn("terminationGracePeriodSeconds", grace) }),
    ...(folder === undefined ? {} : { workingDir: textOf(folder) }),
    ...(given("createHomeDir") === true ? { scratchHome: true as const } : {}),
    ...(scratch.length === 0 ? {} : { scratch }),
    ...(Object.keys(container).length === 0 ? {} : { container }),
  };
  return Object.keys(spec).length === 0 ? null : checked(spec);
}

/** The fields of the spec's own keys, for messages. */
const specPaths: Readonly<Record<string, string>> = {
  cpuCoreLimit: "compute.cpuCoreLimit",
  memoryLimitBytes: "compute.cpuMemoryLimit",
  graceSeconds: "terminationGracePeriodSeconds",
  workingDir: "workingDir",
  scratch: "storage.emptyDirVolume",
  container: "security.capabilities",
};
const specForms: Readonly<Record<string, string>> = {
  cpuCoreLimit: "it must be above 0 and at most a million cores.",
  memoryLimitBytes: "it must be from 1 byte to 1Pi.",
  graceSeconds: "it must be a whole number of seconds up to an hour.",
  workingDir: "it must be an absolute path.",
  scratch: "there may be 100 of them, each at most 1Pi large.",
  container: "capabilities are names such as NET_ADMIN, 64 at most.",
};

function checked(spec: LaunchSpec): LaunchSpec {
  const result = launchSpecSchema.safeParse(spec);
  if (result.success) {
    return result.data;
  }
  const key = String(result.error.issues[0]?.path[0] ?? "");
  throw cannotCarry(specPaths[key] ?? "workload", specForms[key] ?? "no node could carry it out.");
}

/** A job without a container has no capabilities as long as no program of it can gain any. */
function isUnprivileged(task: Task, given: Given): boolean {
  const capabilities = given("security.capabilities");
  const none = Array.isArray(capabilities) && capabilities.length === 0 && task.image === undefined;
  return given("security.allowPrivilegeEscalation") === false || none;
}

function containerOf(task: Task, effective: Workload, given: Given): ContainerSpec {
  const inContainer = task.image !== undefined;
  const need = (path: string): void => {
    if (!inContainer) {
      throw cannotCarry(path, needsImage, imageHint);
    }
  };
  const spec: ContainerSpec = {};
  const pull = pulls[textOf(given("imagePullPolicy"))];
  if (pull !== undefined && inContainer) {
    spec.pull = pull;
  }
  if (given("security.readOnlyRootFilesystem") === true) {
    need("security.readOnlyRootFilesystem");
    spec.readOnlyRoot = true;
  }
  const capabilities = given("security.capabilities");
  if (Array.isArray(capabilities) && (inContainer || capabilities.length > 0)) {
    need("security.capabilities");
    spec.capabilities = capabilities.map(textOf);
  }
  const seccomp = given("security.seccompProfileType");
  if (seccomp === "Localhost") {
    throw cannotCarry("security.seccompProfileType", "no profiles of the nodes' own are known here.");
  }
  if (seccomp !== undefined) {
    need("security.seccompProfileType");
    spec.seccomp = seccomp === "Unconfined" ? "unconfined" : "default";
  }
  for (const [path, name] of [
    ["security.hostIpc", "hostIpc"],
    ["security.hostNetwork", "hostNetwork"],
  ] as const) {
    const value = given(path);
    if (value === false || (value === true && inContainer)) {
      need(path);
      spec[name] = value;
    }
  }
  if (given("compute.largeShmRequest") === true && inContainer) {
    spec.shmBytes = shmBytes(effective);
  }
  return holdsSecurity(spec) && isPlain(task) ? { ...spec, optionsChecked: true } : spec;
}

const pulls: Readonly<Record<string, ContainerSpec["pull"]>> = {
  Always: "always",
  IfNotPresent: "missing",
  Never: "never",
};

/** As much as the job may have, for it counts as its memory. */
function shmBytes(effective: Workload): number {
  const measure = effective.get("compute.cpuMemoryLimit") ?? effective.get("compute.cpuMemoryRequest") ?? null;
  const bytes = measure === null ? 0 : Math.floor(bytesIn("compute.cpuMemoryLimit", measure));
  return bytes >= 1 ? bytes : shmBytesDefault;
}

function holdsSecurity({ readOnlyRoot, capabilities, seccomp, hostIpc, hostNetwork }: ContainerSpec): boolean {
  return [readOnlyRoot, capabilities, seccomp, hostIpc, hostNetwork].some((value) => value !== undefined);
}

/** The task's own options say nothing of security, so the node can refuse all that do. */
function isPlain({ imageOptions = [] }: Task): boolean {
  const { fields, raw } = optionFieldsOf(imageOptions);
  return raw.length === 0 && ![...fields.keys()].some((path) => path.startsWith("security.") || path === "privileged");
}
