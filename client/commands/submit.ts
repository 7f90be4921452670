/**
 * Sending a task and following its job: what launch and exec have in common. Prints the lines that scripts grep for, in
 * their order. Ctrl-C here ends the watching, never the job. Used by commands/launch.ts and commands/exec.ts; following
 * alone also by commands/logs.ts.
 */
import type { SubmitResult } from "../../shared/api.ts";
import { printable } from "../../shared/printable.ts";
import type { Task } from "../../shared/task.ts";
import { explainText } from "../output/explain-text.ts";
import { leftRunning, portsText, usefulCommands } from "../output/launch-text.ts";
import type { Calls } from "../sdk/calls.ts";
import type { Context } from "./context.ts";

/** The exit code after Ctrl-C, as shells count it. */
export const interruptedCode = 130;

/** Streams one job's text. Resolves with the exit code of the job (0, 100–103), or 130 after Ctrl-C. */
export async function followJob(
  context: Context,
  calls: Calls,
  cluster: string,
  job: { id: number; follow: boolean; tail: number },
): Promise<number> {
  const { screen } = context;
  const { signal, done } = context.interrupted();
  try {
    const result = await calls.tailLogs(
      { job_id: job.id, follow: job.follow, tail: job.tail, colors: screen.colors.isColorSupported },
      (chunk) => screen.write(chunk),
      signal,
    );
    if (result.kind === "stopped") {
      screen.print(leftRunning(cluster, job.id, screen.colors));
      return interruptedCode;
    }
    return result.exitCode;
  } finally {
    done();
  }
}

/** What the cluster has to say about a task that it took: its policies, what it left out of a config. */
export function showNotices({ screen }: Context, { notices = [] }: SubmitResult): void {
  for (const line of notices) {
    screen.print(printable(line));
  }
}

/** What a dry run found: whether the task would start now and where, or why not and when. */
export function showDryrun(context: Context, cluster: string, result: SubmitResult): void {
  const { screen } = context;
  if (result.explain === undefined) {
    // An older coordinator says no more, and a task without scripts has no job.
    screen.print("Dry run: the cluster would take this task. Nothing was submitted.");
    return;
  }
  const options = { now: context.now(), limit: screen.columns };
  screen.print(explainText(cluster, result.explain, options, screen.colors));
}

/** Where the ports are on which the task says that it listens. */
export function showPorts({ screen }: Context, task: Task, jobId: number | null): void {
  const ports = jobId === null ? null : portsText(task);
  if (ports !== null) {
    screen.print(ports);
  }
}

/** After the coordinator took the task: says so, follows unless detached, says what can be done next. */
export async function afterSubmit(
  context: Context,
  calls: Calls,
  cluster: string,
  jobId: number | null,
  detach: boolean,
): Promise<number> {
  const { screen } = context;
  if (jobId !== null) {
    screen.print(`${screen.colors.cyan("⚙︎")} Job submitted, ID: ${jobId}`);
  }
  const code =
    jobId === null || detach ? 0 : await followJob(context, calls, cluster, { id: jobId, follow: true, tail: 0 });
  if (code !== interruptedCode) {
    screen.print(usefulCommands(cluster, jobId, screen.colors));
  }
  return code;
}
