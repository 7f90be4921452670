/**
 * `sky launch`: initializes a cluster on this machine if need be, sends the task with its setup, and follows the job.
 * Everything that can be wrong on this side is found before the first connection.
 */
import type { SubmitResult } from "../../shared/api.ts";
import type { Task } from "../../shared/task.ts";
import type { Calls } from "../sdk/calls.ts";
import { checkCloud, callsTo, findLocal, type LocalCluster } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";
import { type TaskFlags, taskOf } from "./entrypoint.ts";
import { sendLaunch } from "./sending.ts";
import { afterSubmit, interruptedCode, showDryrun, showNotices, showPorts } from "./submit.ts";
import { untilUp } from "./until-up.ts";

export interface LaunchFlags extends TaskFlags {
  cluster?: string;
  cloud?: string;
  detachRun?: boolean;
  yes?: boolean;
  dryrun?: boolean;
  /** `--no-setup` makes this false. */
  setup: boolean;
  fast?: boolean;
  retryUntilUp?: boolean;
}

async function agreed(context: Context, cluster: LocalCluster, flags: LaunchFlags): Promise<boolean> {
  if (cluster.initialized !== null || flags.yes === true) {
    return true;
  }
  return context.screen.confirm(`Initializing local cluster '${cluster.name}'. Proceed?`);
}

/** `--fast` on a cluster that was launched on before: nothing is set up, and nothing is said of it, as with SkyPilot. */
function skipsPreparing(cluster: LocalCluster, flags: LaunchFlags): boolean {
  return flags.fast === true && cluster.initialized !== null;
}

/** Sends the task; resolves with what the coordinator answers. */
async function send(
  context: Context,
  calls: Calls,
  cluster: LocalCluster,
  task: Task,
  flags: LaunchFlags,
): Promise<SubmitResult> {
  const { screen } = context;
  const isFast = skipsPreparing(cluster, flags);
  if (!isFast) {
    screen.print(`${screen.colors.cyan("⚙︎")} Launching on Local (${cluster.name}).`);
  }
  const result = await sendLaunch(context, calls, cluster, task, {
    dryrun: flags.dryrun === true,
    noSetup: !flags.setup,
    fast: flags.fast === true,
    config: flags.config ?? [],
  });
  showNotices(context, result);
  if (flags.dryrun === true || isFast) {
    return result;
  }
  screen.print(`└── Cluster ${cluster.name} is up.`);
  screen.print(`${screen.colors.green("✓")} Cluster launched: ${cluster.name}.`);
  return result;
}

/** Runs the command; resolves with the exit code. */
export async function launch(context: Context, words: string[], flags: LaunchFlags): Promise<number> {
  const { screen } = context;
  if (flags.cluster === undefined) {
    throw new UsageError("Specify -c [local_cluster] to launch on a local cluster.", "`sky status` lists yours.");
  }
  const cluster = findLocal(context, flags.cluster);
  checkCloud(cluster.name, flags.cloud);
  const task = await taskOf(words, flags, context);
  if (!(await agreed(context, cluster, flags))) {
    screen.note("Nothing was done.");
    return 1;
  }
  screen.print(`Connecting to local cluster: '${cluster.name}' [Username: ${cluster.registered.user}].`);
  const calls = callsTo(context, cluster);
  try {
    if (flags.retryUntilUp === true && !(await untilUp(context, calls, cluster.name))) {
      return interruptedCode;
    }
    const result = await send(context, calls, cluster, task, flags);
    if (flags.dryrun === true) {
      showDryrun(context, cluster.name, result);
      return 0;
    }
    if (task.setup !== null && flags.setup && !skipsPreparing(cluster, flags)) {
      screen.print(`${screen.colors.green("✓")} Setup detached.`);
    }
    showPorts(context, task, result.job_id);
    return await afterSubmit(context, calls, cluster.name, result.job_id, flags.detachRun === true);
  } finally {
    calls.close();
  }
}
