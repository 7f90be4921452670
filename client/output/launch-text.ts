/**
 * The lines that `launch`, `exec` and `logs` print around a job's own text, with the words and order that scripts grep
 * for. The coordinator prints everything from "Waiting for task resources" to "Job finished"; this prints the rest. Pure.
 */
import type { Colors } from "./screen.ts";

/** What a person may do next; `jobId` null: there is no job. */
export function usefulCommands(cluster: string, jobId: number | null, colors: Colors): string {
  const command = (text: string): string => colors.bold(text);
  const job =
    jobId === null
      ? []
      : [
          `Job ID: ${jobId}`,
          `├── To cancel the job:       ${command(`sky cancel ${cluster} ${jobId}`)}`,
          `├── To stream job logs:      ${command(`sky logs ${cluster} ${jobId}`)}`,
          `└── To view job queue:       ${command(`sky queue ${cluster}`)}`,
        ];
  return [
    "",
    `${colors.isColorSupported ? "📋 " : ""}Useful Commands`,
    ...job,
    `Cluster name: ${cluster}`,
    `├── To submit a job:         ${command(`sky exec ${cluster} yaml_file`)}`,
    `└── To teardown the cluster: ${command(`sky down ${cluster}`)}`,
  ].join("\n");
}

/** Of a task that says on which ports it listens; null when it says none. */
export function portsText({ ports = [] }: { ports?: readonly string[] }): string | null {
  const what = ports.length === 1 && /^\d+$/.test(ports[0] ?? "") ? "Port" : "Ports";
  return ports.length === 0
    ? null
    : `${what} ${ports.join(", ")}: at the addresses of the job's nodes, as their firewalls allow; none was opened.`;
}

/** What Ctrl-C says while a job is being followed. */
export function leftRunning(cluster: string, jobId: number, colors: Colors): string {
  return [
    "",
    `Stopped streaming logs. Job ${jobId} was not killed.`,
    `├── To stream them again:   ${colors.bold(`sky logs ${cluster} ${jobId}`)}`,
    `└── To cancel the job:      ${colors.bold(`sky cancel ${cluster} ${jobId}`)}`,
  ].join("\n");
}
