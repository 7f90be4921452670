/**
 * The sections of SkyPilot's config: which there are, and for each that changes nothing on machines of one's own the one
 * sentence that says why. `sky config show` prints it, a task's `config` is refused with it, and docs/config.md and
 * docs/tasks.md are held to it by tests. Data only: it must never hold a value.
 */

/** `keys`: the only ones in it; absent: any. `idle`: why it changes nothing here, to follow a colon; absent: it does. */
interface Section {
  keys?: readonly string[];
  idle?: string;
}

const cloud: Section = { idle: "it is about a cloud, and the machines here are your group's own" };
const pods: Section = { idle: "it is about Kubernetes, and jobs here run as processes of the user who sent them" };
const later: Section = { idle: "managed jobs and services are not served yet" };
const own: Section = { idle: "the coordinator's own config says this here (docs/admin/config.md)" };

/** By name, as SkyPilot's config schema has them. */
export const configSections: ReadonlyMap<string, Section> = new Map<string, Section>([
  ["active_workspace", { idle: "there is one workspace here: the cluster" }],
  ["admin_policy", {}],
  ["allowed_clouds", cloud],
  [
    "api_server",
    {
      keys: [
        ..."endpoint service_account_token requests_retention_hours cluster_event_retention_hours".split(" "),
        ..."cluster_debug_event_retention_hours cluster_terminal_event_retention_hours".split(" "),
      ],
      idle: "`sky` reaches a cluster over SSH, by its file in ~/.sky/local",
    },
  ],
  ["auth", own],
  ["aws", cloud],
  ["azure", cloud],
  ["cudo", cloud],
  ["daemons", own],
  ["dashboard", own],
  ["data", cloud],
  ["db", own],
  ["docker", { keys: ["run_options"] }],
  ["gcp", cloud],
  ["hooks", { idle: "machines are never stopped, and a job that is preempted or out of time can trap TERM" }],
  ["ibm", cloud],
  ["jobs", later],
  ["kubernetes", pods],
  ["lambda_cloud", cloud],
  ["logs", own],
  ["metrics", own],
  ["nebius", cloud],
  ["nvidia_gpus", { keys: ["disable_ecc"], idle: "error correction of a GPU is set by an admin, for everybody" }],
  ["oci", cloud],
  ["provision", { idle: "nothing is provisioned here" }],
  ["rbac", own],
  ["runpod", cloud],
  ["serve", later],
  ["slurm", { idle: "the queue is the cluster's own, not Slurm's; use `time`, `priority` and `labels`" }],
  ["ssh", pods],
  ["vast", cloud],
  ["vsphere", cloud],
  ["workspaces", own],
]);

/** Why a key, by its dotted path, changes nothing here; null: it does. */
export function idleReason(path: string): string | null {
  return configSections.get(path.split(".")[0] ?? "")?.idle ?? null;
}

/** The same of a section, as a sentence. Throws for one that has an effect: the program's own tables are wrong. */
export function idleSentence(section: string): string {
  const reason = idleReason(section);
  if (reason === null) {
    throw new Error(`the section ${section} of the config has an effect`);
  }
  return `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`;
}
