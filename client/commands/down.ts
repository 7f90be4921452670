/**
 * `sky down`: cancels the caller's jobs on a cluster, ends the caller's skylets there, and forgets the cluster on this
 * machine. The machines, other users and the registration file stay. What the coordinator did not confirm is not
 * forgotten, unless `--purge` says to forget without asking it.
 */
import { SkyError } from "../../shared/errors.ts";
import { showFailure } from "../output/failure.ts";
import { takenText } from "../output/requests-text.ts";
import type { Calls } from "../sdk/calls.ts";
import { type Accepted, RequestTaken } from "../sdk/requests.ts";
import { callsTo, forget, type LocalCluster, listLocal, requireInitialized } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";

export interface DownFlags {
  all?: boolean;
  yes?: boolean;
  purge?: boolean;
}

async function chosen(context: Context, names: string[], flags: DownFlags): Promise<LocalCluster[]> {
  if (flags.all === true) {
    if (names.length > 0) {
      throw new UsageError("Give cluster names or --all, not both.");
    }
    return (await listLocal(context)).clusters.filter((cluster) => cluster.initialized !== null);
  }
  if (names.length === 0) {
    throw new UsageError("Name the clusters to take down, or give --all.", "`sky status` lists yours.");
  }
  return [...new Set(names)].map((name) => requireInitialized(context, name));
}

/** Asks the cluster to end what is the caller's there; a cluster that knows of nothing has nothing to end. */
export async function endJobs(calls: Calls, accepted?: Accepted): Promise<void> {
  try {
    await calls.down(accepted);
  } catch (error) {
    const nothingThere = error instanceof SkyError && ["ClusterDoesNotExist", "ClusterNotUpError"].includes(error.type);
    if (!nothingThere) {
      throw error;
    }
  }
}

/** The same over a connection of its own. Resolves with how far it is. */
async function endJobsOn(context: Context, cluster: LocalCluster): Promise<"done" | "submitted"> {
  const calls = callsTo(context, cluster);
  try {
    await endJobs(calls);
    return "done";
  } catch (error) {
    if (!(error instanceof RequestTaken)) {
      throw error;
    }
    context.screen.print(takenText(error, context.screen.colors));
    return "submitted";
  } finally {
    calls.close();
  }
}

/** Runs the command; resolves with the exit code: 1 when a cluster could not be taken down. */
export async function down(context: Context, names: string[], flags: DownFlags): Promise<number> {
  const { screen } = context;
  const clusters = await chosen(context, names, flags);
  if (clusters.length === 0) {
    screen.print("No initialized clusters.");
    return 0;
  }
  const list = clusters.map((cluster) => cluster.name).join(", ");
  const question = `Terminating ${clusters.length} cluster${clusters.length === 1 ? "" : "s"}: ${list}. Proceed?`;
  if (flags.yes !== true) {
    screen.note("Your unfinished jobs there will be cancelled. The machines and other users' jobs are not touched.");
    if (!(await screen.confirm(question))) {
      screen.note("Nothing was done.");
      return 1;
    }
  }
  let failed = false;
  for (const cluster of clusters) {
    let confirmed = false;
    try {
      const how = flags.purge === true ? "forgotten on this machine only" : await endJobsOn(context, cluster);
      confirmed = true;
      await forget(context, cluster.name);
      screen.print(`Terminating cluster ${cluster.name}...${how}.`);
    } catch (error) {
      failed = true;
      showFailure(error, screen, context.env);
      screen.note(
        confirmed
          ? `Cluster ${cluster.name} still counts as initialized on this machine. Run the command again when that is mended.`
          : `Cluster ${cluster.name} was not taken down. \`sky down --purge ${cluster.name}\` forgets it here only.`,
      );
    }
  }
  return failed ? 1 : 0;
}
