/**
 * What launch and exec do with a task besides talking to the person: look whether the cluster takes this user, bring
 * what the task needs, send it, and remember on this machine what `sky status` shows. Of an upload it shows how far it
 * is, and which policies are applied; otherwise it must never print. Used by commands/launch.ts, commands/exec.ts and, with a terminal that shows
 * nothing, by the SDK.
 */
import { type ConfigTree, runOptionsOf, withoutServerKeys } from "../../shared/config-layers.ts";
import type { NodesResult, SubmitResult } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import type { Uploads } from "../../shared/files.ts";
import type { Task } from "../../shared/task.ts";
import { writeTask } from "../../shared/task-file.ts";
import { localSourcesOf } from "../../shared/task-files.ts";
import { requireSource } from "../files/upload.ts";
import { clientConfig, lineConfig } from "../local/config-files.ts";
import type { ClientRequest, ClientResult } from "../policy/apply.ts";
import type { Calls } from "../sdk/calls.ts";
import { type Accepted, RequestTaken } from "../sdk/requests.ts";
import { type LocalCluster, remember } from "./clusters.ts";
import type { Context } from "./context.ts";
import { uploadTask } from "./uploading.ts";

export interface SendOptions {
  dryrun: boolean;
  /** Values of `--config`, in order. */
  config?: readonly string[];
  /** Hears the request's id when the coordinator has taken it. */
  accepted?: Accepted;
}

export interface LaunchOptions extends SendOptions {
  /** Leave the task's setup out. */
  noSetup: boolean;
  fast: boolean;
}

async function initialize(calls: Calls, cluster: LocalCluster): Promise<NodesResult> {
  const me = await calls.whoami();
  if (me.refused !== null) {
    throw new SkyError(
      "PermissionDeniedError",
      `Cluster '${cluster.name}' does not run jobs of ${me.user}: ${me.refused}`,
      "Ask the cluster's admin, or put another account into the cluster's file.",
    );
  }
  return calls.nodes();
}

/** What is sent, as the user's own admin policy has made it. */
interface Told {
  task: Task;
  text: string;
  override_skypilot_config: ConfigTree;
}

/**
 * What this machine's config files and `--config` say, and the task with what the command line says over its own `config`;
 * both as the policy of that config makes them.
 */
async function configured(
  context: Context,
  cluster: LocalCluster,
  { clusterName, ...task }: Task,
  name: "launch" | "exec",
  { config: options = [], dryrun }: SendOptions,
): Promise<Told> {
  const places = { home: context.home, cwd: context.cwd, env: context.env, options };
  const runOptions = runOptionsOf(lineConfig(places));
  const config = clientConfig(places);
  const own: Task = {
    ...task,
    ...(task.image === undefined || runOptions.length === 0 ? {} : { imageOptions: runOptions }),
    // The name that it has on this machine is the caller's own; any other is for the coordinator to know.
    ...(clusterName === undefined || clusterName === cluster.name ? {} : { clusterName }),
  };
  const hasPolicy = (config["admin_policy"] ?? null) !== null;
  const wire = { cluster_name: cluster.name, idle_minutes_to_autostop: null, down: false, dryrun };
  const told = hasPolicy ? await policed(context, { name, task: own, config, options: wire }) : { task: own, config };
  return { task: told.task, text: writeTask(told.task), override_skypilot_config: withoutServerKeys(told.config) };
}

/** Loaded only where there is a policy: few have one. */
async function policed(context: Context, request: ClientRequest): Promise<ClientResult> {
  const { applyClientPolicy } = await import("../policy/apply.ts");
  return applyClientPolicy(context, request);
}

/** Uploads what the task brings along; a dry run only looks whether it is there. */
async function uploaded(
  context: Context,
  calls: Calls,
  cluster: LocalCluster,
  task: Pick<Task, "workdir" | "fileMounts">,
  dryrun: boolean,
): Promise<{ uploads: Uploads }> {
  const sources = localSourcesOf(task);
  if (dryrun) {
    for (const source of sources) {
      requireSource(source, context);
    }
    return { uploads: {} };
  }
  return { uploads: sources.length === 0 ? {} : await uploadTask(context, calls, cluster.name, sources) };
}

/** Sends it, and keeps what `sky status` shows once the cluster has taken it, also where nobody waits for the result. */
async function remembering(
  context: Context,
  cluster: LocalCluster,
  nodes: NodesResult | null | "dry run",
  send: () => Promise<SubmitResult>,
): Promise<SubmitResult> {
  const keep = async (): Promise<void> => (nodes === "dry run" ? undefined : remember(context, cluster, nodes));
  let result: SubmitResult;
  try {
    result = await send();
  } catch (error) {
    if (error instanceof RequestTaken) {
      await keep();
    }
    throw error;
  }
  await keep();
  return result;
}

/** Sends the task with its setup; the cluster is initialized on this machine afterwards. Rejects with a SkyError. */
export async function sendLaunch(
  context: Context,
  calls: Calls,
  cluster: LocalCluster,
  asked: Task,
  options: LaunchOptions,
): Promise<SubmitResult> {
  const { task, text, override_skypilot_config } = await configured(context, cluster, asked, "launch", options);
  // A launch without a task is also how what `sky status` shows is renewed.
  const isEmpty = task.setup === null && task.run === null && task.runGenerator === undefined;
  const nodes = cluster.initialized === null || isEmpty ? await initialize(calls, cluster) : null;
  const { dryrun, noSetup, fast, accepted } = options;
  const { uploads } = await uploaded(context, calls, cluster, task, dryrun);
  // As in SkyPilot: on a cluster that was never launched on there is nothing yet that could be left out.
  const isFast = fast && cluster.initialized !== null;
  const body = { task: text, uploads, dryrun, no_setup: noSetup, fast: isFast, override_skypilot_config };
  return remembering(context, cluster, dryrun ? "dry run" : nodes, () => calls.launch(body, accepted));
}

/** Sends the task without its setup. Rejects with a SkyError. */
export async function sendExec(
  context: Context,
  calls: Calls,
  cluster: LocalCluster,
  asked: Task,
  options: SendOptions,
): Promise<SubmitResult> {
  const { task, text, override_skypilot_config } = await configured(context, cluster, asked, "exec", options);
  // Mounts came with the launch; the folder that one works in comes with every job.
  const brought = task.workdir === undefined ? {} : { workdir: task.workdir };
  const { uploads } = await uploaded(context, calls, cluster, brought, options.dryrun);
  const body = { task: text, uploads, dryrun: options.dryrun, override_skypilot_config };
  const nodes = options.dryrun ? "dry run" : null;
  return remembering(context, cluster, nodes, () => calls.exec(body, options.accepted));
}
