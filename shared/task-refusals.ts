/**
 * The fields of SkyPilot's task files that have no meaning on machines of one's own, each with the sentence that says why,
 * and the values of such fields that ask for nothing and so are taken: SkyPilot's own client writes several of those into
 * every task. docs/tasks.md shows the same sentences to users, held to these by a test. Data only; a field that is listed
 * here must never change what a job does.
 */
import { idleSentence } from "./config-sections.ts";

/** Why a field is refused; `harmless` values (plain YAML values, null is always one) ask for nothing. */
export interface Refusal {
  reason: string;
  harmless?: (value: unknown) => boolean;
}
export type Refusals = Readonly<Record<string, Refusal>>;

const isFalse = (value: unknown): boolean => value === false;
const isTrue = (value: unknown): boolean => value === true;
const isZero = (value: unknown): boolean => value === 0;
const isAnything = (): boolean => true;
/** No entries at all. */
function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** What SkyPilot's client asks for when its user asks for no size. */
const diskSizeDefault = 256;

/** SkyPilot's client notes these for itself; whatever they hold, nothing is asked by them. */
const clientNote: Refusal = { reason: "A note that SkyPilot's client makes for itself.", harmless: isAnything };

export const taskRefusals: Refusals = {
  service: {
    reason: "Services are not run here yet; without this part the task runs as a plain job.",
    harmless: isEmpty,
  },
  pool: {
    reason: "Pools belong to managed jobs, which are not run here yet.",
    harmless: isEmpty,
  },
  api_server_access: {
    reason: "A job is its user and may do what its user may; nothing of that can be taken from it.",
    harmless: isTrue,
  },
  inputs: {
    reason: "Sizes of inputs are for choosing among clouds by what moving them costs; here nothing is moved.",
    harmless: isEmpty,
  },
  outputs: {
    reason: "Sizes of outputs are for choosing among clouds by what moving them costs; here nothing is moved.",
    harmless: isEmpty,
  },
  managed_secrets: {
    reason: "No secrets are kept under names here; give each job its own with `secrets` and --secret NAME.",
    harmless: isEmpty,
  },
  volume_mounts: {
    reason: "SkyPilot's server writes this for itself; name the admin's volumes under `volumes`.",
    harmless: isEmpty,
  },
  experimental: {
    reason: "It holds switches of SkyPilot's own clouds, which there are none of here.",
    harmless: isEmpty,
  },
  _metadata: clientNote,
  _user_specified_yaml: clientNote,
};

export const resourceRefusals: Refusals = {
  region: { reason: "The machines stand where they stand; choose among them with `labels`." },
  zone: { reason: "The machines stand where they stand; choose among them with `labels`." },
  instance_type: {
    reason: "Machines of one's own have no types to rent; ask for `cpus`, `memory` and `accelerators`, or `labels`.",
  },
  use_spot: {
    reason:
      "Nobody takes one's own machines away, so none is cheaper for it; `preemptible: true` lets others go first.",
    harmless: isFalse,
  },
  spot_recovery: { reason: "It is an old name; write `job_recovery`." },
  accelerator_args: {
    reason: "It says how a cloud is to make a TPU; the accelerators here are what the machines have.",
    harmless: isEmpty,
  },
  disk_size: {
    reason: "No disk is made for a job; it has the room that your home and its machines have.",
    harmless: (value) => value === diskSizeDefault,
  },
  disk_tier: { reason: "The disks are those of the machines; choose among machines with `labels`." },
  network_tier: { reason: "The network is that of the machines; choose among machines with `labels`." },
  local_disk: { reason: "The disks are those of the machines; choose among machines with `labels`." },
  max_hourly_cost: { reason: "Machines of one's own have no price by the hour." },
  autostop: {
    reason: "The machines are never stopped; a job gives back what it holds when it ends.",
    harmless: isFalse,
  },
  priority_class: { reason: "It is a word of Kubernetes; write `priority`, from -1000 to 1000." },
  volumes: {
    reason: "Disks are not made and attached here; name the admin's volumes under the task's own `volumes`.",
    harmless: isEmpty,
  },
  /** The same three stand in the task's envs or secrets. */
  _docker_login_config: clientNote,
  _docker_username_for_runpod: clientNote,
  _is_image_managed: clientNote,
  _requires_fuse: clientNote,
  _no_missing_accel_warnings: clientNote,
};

export const recoveryRefusals: Refusals = {
  max_restarts_on_errors: {
    reason: "Only lost machines and preemption start a job again; restarts after errors come with managed jobs later.",
    harmless: isZero,
  },
  recover_on_exit_codes: {
    reason: "Only lost machines and preemption start a job again; restarts after errors come with managed jobs later.",
    harmless: isEmpty,
  },
};

/** The reasons are those of the same section in a config file. */
export const configRefusals: Refusals = {
  nvidia_gpus: {
    reason: idleSentence("nvidia_gpus"),
    harmless: (value) => isEmpty(value) || (value as { disable_ecc?: unknown } | null)?.disable_ecc === false,
  },
  ...Object.fromEntries(
    ["ssh", "kubernetes", "slurm", "aws", "azure", "gcp", "vast", "hooks"].map((name) => [
      name,
      { reason: idleSentence(name), harmless: isEmpty },
    ]),
  ),
  active_workspace: { reason: idleSentence("active_workspace"), harmless: (value) => value === "default" },
};

export const mountRefusals: Refusals = {
  _is_sky_managed: clientNote,
  _force_delete: clientNote,
};

export const mountCachedRefusal: Refusal = {
  reason: "How a node keeps what it has read of a bucket is the node's to say.",
  harmless: isEmpty,
};
