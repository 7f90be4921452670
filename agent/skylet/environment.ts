/**
 * The variables that a job's setup and run scripts see on top of the user's login environment, and their exact quoting
 * for a shell. Pure: the same attempt gives the same bytes. It must never put a value into an argument list, and never
 * pass on what belongs to the skylet itself. Called by attempts.ts. Source of names and formats: SkyPilot's
 * documentation of environment variables.
 */
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { vendorOf } from "../../shared/accelerators.ts";
import { SkyError } from "../../shared/errors.ts";

/** Variables as shell text: `unset` are removed first, then `set` is exported in order, `defaults` where nothing is set. */
export interface JobVariables {
  unset: string[];
  set: Record<string, string>;
  defaults: Record<string, string>;
}

/** Names the attempt in the environment of each of its processes. */
export const attemptVariable = "SKY_ONPREM_ATTEMPT";
/**
 * The attempt's folder, by which a stop finds stray processes: unlike the attempt's id it tells the ranks of one attempt
 * apart where several nodes are one machine. A task cannot set it.
 */
export const folderVariable = "SKY_ONPREM_FOLDER";

const visibleDevices = [
  "CUDA_VISIBLE_DEVICES",
  "HIP_VISIBLE_DEVICES",
  "ROCR_VISIBLE_DEVICES",
  "HABANA_VISIBLE_DEVICES",
  "HABANA_VISIBLE_MODULES",
  "ZE_AFFINITY_MASK",
  "TPU_VISIBLE_CHIPS",
  "TPU_VISIBLE_DEVICES",
] as const;

/** bash refuses to assign these; a task that names them gets bash's own values. */
const notExported = new Set([folderVariable, "BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"]);

function padded(value: number, width: number): string {
  return String(value).padStart(width, "0");
}

/** `sky-2026-11-21-09-05-03-042000_<cluster>_<job id>`; in UTC, so that all ranks of a job agree. */
export function taskIdOf(wanted: WantedAttempt): string {
  const at = new Date(wanted.submittedAt);
  const day = `${padded(at.getUTCFullYear(), 4)}-${padded(at.getUTCMonth() + 1, 2)}-${padded(at.getUTCDate(), 2)}`;
  const time = `${padded(at.getUTCHours(), 2)}-${padded(at.getUTCMinutes(), 2)}-${padded(at.getUTCSeconds(), 2)}`;
  return `sky-${day}-${time}-${padded(at.getUTCMilliseconds() * 1000, 6)}_${wanted.cluster}_${wanted.jobId}`;
}

/** What both scripts see, the task's own variables first: SkyPilot's names cannot be overwritten by a task. */
function sharedVariables(wanted: WantedAttempt, envs: Record<string, string>): Record<string, string> {
  const taskId = taskIdOf(wanted);
  return {
    PYTHONUNBUFFERED: "1",
    ...envs,
    SKYPILOT_TASK_ID: taskId,
    SKYPILOT_JOB_ID: taskId,
    SKY_JOB_ID: taskId,
    SKYPILOT_NUM_NODES: String(wanted.addresses.length),
    SKYPILOT_CLUSTER_INFO: JSON.stringify({
      cluster_name: wanted.cluster,
      cloud: "Local",
      region: "Local",
      zone: null,
    }),
    SKYPILOT_USER: wanted.user,
    [attemptVariable]: wanted.attempt,
  };
}

/** Devices given to this rank, rounded up: a share of one device counts as one. */
function deviceCount(wanted: WantedAttempt): number {
  return wanted.grant.devices.length;
}

/** The setup script's variables. It runs before any device is the job's own business: none is named. */
export function setupVariables(wanted: WantedAttempt, envs: Record<string, string>): JobVariables {
  return {
    unset: [...visibleDevices],
    set: {
      ...sharedVariables(wanted, envs),
      SKYPILOT_SETUP_NODE_RANK: String(wanted.rank),
      SKYPILOT_SETUP_NODE_IPS: wanted.addresses.join("\n"),
      SKYPILOT_SETUP_NUM_GPUS_PER_NODE: String(deviceCount(wanted)),
    },
    defaults: {},
  };
}

/** By maker, the names beside CUDA_VISIBLE_DEVICES by which its libraries are told their devices. */
const vendorVariables: Readonly<Record<string, readonly string[]>> = {
  // HIP reads CUDA_VISIBLE_DEVICES too and both must agree; ROCR_VISIBLE_DEVICES would renumber the devices below HIP, so
  // that the other two would point nowhere.
  AMD: ["HIP_VISIBLE_DEVICES"],
  Google: ["TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"],
};
const gaudiVariables = ["HABANA_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES"];
const levelZeroVariables = ["ZE_AFFINITY_MASK"];

/** What programs find their devices by: as the node says they must be named, else by their indices. */
function deviceVariables(wanted: WantedAttempt): Record<string, string> {
  const kind = wanted.acceleratorKind ?? "";
  const devices = (wanted.visibleDevices ?? wanted.grant.devices.map(String)).join(",");
  const vendor = vendorOf(kind) ?? "";
  const intel = /^gaudi/i.test(kind) ? gaudiVariables : levelZeroVariables;
  const names = vendor === "Intel" ? intel : (vendorVariables[vendor] ?? []);
  return Object.fromEntries(["CUDA_VISIBLE_DEVICES", ...names].map((name) => [name, devices]));
}

/** So that CUDA's numbers are those of nvidia-smi, by which devices are granted: by itself it puts faster ones first. */
function deviceDefaults(wanted: WantedAttempt): Record<string, string> {
  const vendor = vendorOf(wanted.acceleratorKind ?? "");
  const isNvidia = wanted.grant.devices.length > 0 && (vendor === null || vendor === "NVIDIA");
  return isNvidia ? { CUDA_DEVICE_ORDER: "PCI_BUS_ID" } : {};
}

/** The run script's variables. A job without accelerators gets an empty CUDA_VISIBLE_DEVICES: it sees none. */
export function runVariables(wanted: WantedAttempt, envs: Record<string, string>): JobVariables {
  const rank = String(wanted.rank);
  const addresses = wanted.addresses.join("\n");
  const devices = String(deviceCount(wanted));
  return {
    unset: [...visibleDevices],
    set: {
      ...sharedVariables(wanted, envs),
      SKYPILOT_NODE_RANK: rank,
      SKYPILOT_NODE_IPS: addresses,
      SKYPILOT_NUM_GPUS_PER_NODE: devices,
      SKYPILOT_INTERNAL_JOB_ID: String(wanted.jobId),
      SKY_NODE_RANK: rank,
      SKY_NODE_IPS: addresses,
      SKY_NUM_GPUS_PER_NODE: devices,
      SKY_INTERNAL_JOB_ID: String(wanted.jobId),
      ...deviceVariables(wanted),
    },
    defaults: deviceDefaults(wanted),
  };
}

/** The event script's variables, as SkyPilot names them; JOB_STATUS is set as it is called. */
export function eventVariables(wanted: WantedAttempt, envs: Record<string, string>): JobVariables {
  const taskId = taskIdOf(wanted);
  const set = {
    ...envs,
    SKYPILOT_TASK_ID: taskId,
    SKYPILOT_TASK_IDS: taskId,
    TASK_ID: "0",
    JOB_ID: String(wanted.jobId),
    CLUSTER_NAME: wanted.cluster,
    TASK_NAME: wanted.jobName ?? "",
    EVENT_TYPE: "Job",
  };
  return { unset: [...visibleDevices], set, defaults: {} };
}

/** One word of POSIX shell that stands for exactly these characters. A NUL cannot be in any variable: SkyError. */
export function shellQuoted(value: string, what: string): string {
  if (value.includes("\0")) {
    throw new SkyError("InvalidTaskError", `${what} contains a NUL character, which no program can receive.`);
  }
  return `'${value.replaceAll("'", "'\\''")}'`;
}

/** A file that bash sources: `builtin`, because a user's aliases and functions may stand in for the plain words. */
export function environmentFile(variables: JobVariables): string {
  const unset = variables.unset.filter((name) => variables.set[name] === undefined);
  const lines = unset.length === 0 ? [] : [`builtin unset ${unset.join(" ")}`];
  for (const [name, value] of Object.entries(variables.set)) {
    if (!notExported.has(name)) {
      lines.push(`builtin export ${name}=${shellQuoted(value, `The value of '${name}' in the task's envs`)}`);
    }
  }
  for (const [name, value] of Object.entries(variables.defaults)) {
    lines.push(`builtin export ${name}="\${${name}-${value}}"`);
  }
  return `${lines.join("\n")}\n`;
}

/** The environment in which a runner starts: the skylet's, which is the login's, less what is the skylet's own. */
export function runnerEnvironment(own: NodeJS.ProcessEnv, attempt: string, folder: string): NodeJS.ProcessEnv {
  const inherited = Object.entries(own).filter(
    ([name]) => !/^(NODE_CHANNEL_.*|NODE_UNIQUE_ID|NODE_V8_COVERAGE|SKY_ONPREM_.*)$/.test(name),
  );
  return { ...Object.fromEntries(inherited), [attemptVariable]: attempt, [folderVariable]: folder };
}
