/**
 * `sky exec`: sends a task without its setup to a cluster that is initialized here, and follows the job.
 */
import { callsTo, checkCloud, requireInitialized } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";
import { type TaskFlags, taskOf } from "./entrypoint.ts";
import { sendExec } from "./sending.ts";
import { afterSubmit, showDryrun, showNotices, showPorts } from "./submit.ts";

export interface ExecFlags extends TaskFlags {
  cluster?: string;
  cloud?: string;
  detachRun?: boolean;
  dryrun?: boolean;
}

/** Runs the command; the cluster is the first word unless `-c` names it. Resolves with the exit code. */
export async function exec(context: Context, args: string[], flags: ExecFlags): Promise<number> {
  const name = flags.cluster ?? args[0];
  const words = flags.cluster === undefined ? args.slice(1) : args;
  if (name === undefined) {
    throw new UsageError("Name the cluster: sky exec CLUSTER task.yaml", "`sky status` lists yours.");
  }
  const cluster = requireInitialized(context, name);
  checkCloud(cluster.name, flags.cloud);
  if (words.join(" ").trim() === "") {
    throw new UsageError("Nothing to run.", `Give a YAML file or a command: sky exec ${name} -- echo hello`);
  }
  const task = await taskOf(words, flags, context);
  const calls = callsTo(context, cluster);
  try {
    const result = await sendExec(context, calls, cluster, task, {
      dryrun: flags.dryrun === true,
      config: flags.config ?? [],
    });
    showNotices(context, result);
    if (flags.dryrun === true) {
      showDryrun(context, cluster.name, result);
      return 0;
    }
    showPorts(context, task, result.job_id);
    return await afterSubmit(context, calls, cluster.name, result.job_id, flags.detachRun === true);
  } finally {
    calls.close();
  }
}
