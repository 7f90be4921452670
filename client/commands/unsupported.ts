/**
 * `sky start`, `sky stop` and `sky autostop`: the machines of a local cluster stay on, so each named cluster is skipped
 * with the words of SkyPilot On-prem, and the others go on. Never uses the network.
 */
import { listLocal } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";

/** Runs the command; resolves with the exit code: 1 when a name is unknown. */
export async function skipClusters(
  context: Context,
  names: string[],
  all: boolean,
  verb: "start" | "stop/autostop",
): Promise<number> {
  const { screen } = context;
  const local = (await listLocal(context)).clusters.map((cluster) => cluster.name);
  const wanted = all ? local : names;
  if (wanted.length === 0 && !all) {
    throw new UsageError("Name the clusters, or give --all.", "`sky status` lists yours.");
  }
  let code = 0;
  for (const name of wanted) {
    if (local.includes(name)) {
      screen.print(`Skipping local cluster ${name}, as it does not support \`sky ${verb}\`.`);
    } else {
      screen.note(screen.noteColors.yellow(`Cluster '${name}' not found.`));
      code = 1;
    }
  }
  return code;
}
