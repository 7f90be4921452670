/**
 * The functions about clusters: launch on one, look at them, leave one, and those that only rented machines can honour.
 * They do what the commands of the same names do, without a terminal. Exported by the package.
 */
import { forget, listLocal, type LocalCluster } from "../../commands/clusters.ts";
import { endJobs } from "../../commands/down.ts";
import { sendLaunch } from "../../commands/sending.ts";
import { untilUp } from "../../commands/until-up.ts";
import { resourcesText } from "../../output/status-text.ts";
import { NotSupportedError, ValueError } from "./exceptions.ts";
import { shownValue } from "./fields.ts";
import { begin } from "./pending.ts";
import { raising } from "./raise.ts";
import { initializedCluster, programContext, registeredCluster, withCalls } from "./session.ts";
import type { OptimizeTarget, StatusRefreshMode } from "./statuses.ts";
import { checkOptions, handleOf, submitResultOf } from "./submit.ts";
import { type Dag, onlyTask } from "./dag.ts";
import { plainTask, type Task } from "./task.ts";
import type { ClusterRecord, RequestId, SubmitResult } from "./types.ts";

/** Options of `launch`. */
export interface LaunchOptions {
  /** The registered cluster to launch on. Needed: clusters of one's own are not made up. */
  clusterName?: string;
  /**
   * Wait until the cluster answers and has a node that is up, for up to 24 hours; without it a call tries again for
   * half a minute. On a full cluster the job waits in its queue in any case. Default: false.
   */
  retryUntilUp?: boolean;
  /** Refused: one's own machines stay on. */
  idleMinutesToAutostop?: number | null;
  /** Only ask whether and where the task would start. Default: false. */
  dryrun?: boolean;
  /** Refused: it would end your other jobs too. Call `down` when they are done. */
  down?: boolean;
  /** Refused: there is one backend. */
  backend?: unknown;
  /** Only COST, the default: one's own machines have no prices. */
  optimizeTarget?: OptimizeTarget;
  /** Leave the task's setup out. Default: false. */
  noSetup?: boolean;
  /** Refused: one's own disks are not cloned. */
  cloneDiskFrom?: string | null;
  /** Leave the task's setup out, unless this is the first launch there from this machine. Default: false. */
  fast?: boolean;
}

const launchOptions = [
  ..."clusterName retryUntilUp idleMinutesToAutostop dryrun down backend".split(" "),
  ..."optimizeTarget noSetup cloneDiskFrom fast".split(" "),
];

/**
 * Sends a task with its setup to a cluster. Local files that it names are uploaded first; the job then waits in its
 * user's queue until it fits. The first launch on a cluster initializes it on this machine.
 *
 * @param task the task, or a Dag that holds one
 * @returns the id of the request, when the cluster has taken it. Request Returns: a SubmitResult with the job's id.
 * @throws ClusterDoesNotExist when no cluster of this name is registered; InvalidClusterNameError when none could be
 * @throws ValueError, InvalidTaskError for options or a task that are wrong
 * @throws NotSupportedError for what has no meaning on one's own machines
 * @throws ConnectionError when the head cannot be reached
 *
 * Request Raises: ResourcesMismatchError when no machine could ever run it; PermissionDeniedError when the cluster does
 * not run jobs of this user; NotSupportedError, InvalidTaskError for what the cluster refuses.
 * @example
 * const task = new sky.Task({ run: "echo hello" }).setResources(new sky.Resources({ accelerators: "V100:4" }));
 * const { jobId } = await sky.get(await sky.launch(task, { clusterName: "lab" }));
 */
export async function launch(task: Task | Dag, options: LaunchOptions = {}): Promise<RequestId<SubmitResult>> {
  return raising(async () => {
    checkOptions("launch", options, launchOptions, {
      idleMinutesToAutostop: "your own machines stay on.",
      down: "it would end your other jobs there as well. Call down when they are done.",
      backend: "there is one way to run a job.",
      cloneDiskFrom: "the disks of your own machines are not cloned.",
      ...(options.optimizeTarget === "TIME" ? { optimizeTarget: "your own machines are chosen by what is free." } : {}),
    });
    const plain = plainTask(onlyTask(task));
    const cluster = registeredCluster(options.clusterName);
    const { dryrun = false, noSetup = false, fast = false, retryUntilUp = false } = options;
    return begin(cluster, async (accepted) =>
      withCalls(cluster, async (calls) => {
        if (retryUntilUp) {
          await untilUp(programContext(), calls, cluster.name);
        }
        const sent = await sendLaunch(programContext(), calls, cluster, plain, { dryrun, noSetup, fast, accepted });
        return submitResultOf(cluster, sent);
      }),
    );
  });
}

/** Options of `status`. */
export interface StatusOptions {
  /** Only these. Default: all. */
  clusterNames?: readonly string[] | string | null;
  /** Whether the clusters themselves are asked. Default: NONE. */
  refresh?: StatusRefreshMode;
  /** It changes nothing: there are only the clusters that are registered here. Default: false. */
  allUsers?: boolean;
}

async function recordOf(cluster: LocalCluster, refresh: boolean): Promise<ClusterRecord[]> {
  const known = cluster.initialized;
  if (known === null) {
    return [];
  }
  const record: ClusterRecord = {
    name: cluster.name,
    launchedAt: known.launchedAt,
    handle: { ...handleOf(cluster), headIp: known.headIp, user: known.user },
    lastUse: known.command ?? "",
    status: "UP",
    autostop: -1,
    toDown: false,
    metadata: {},
    userHash: known.user,
    userName: known.user,
    resourcesStr: known.resources,
  };
  if (!refresh) {
    return [record];
  }
  try {
    const { nodes } = await withCalls(cluster, async (calls) => calls.nodes());
    const isUp = nodes.some((node) => node.state === "UP");
    const resourcesStr = resourcesText(nodes.map((node) => node.accelerators));
    return [{ ...record, status: isUp ? "UP" : "INIT", resourcesStr }];
  } catch {
    return [{ ...record, status: "INIT" }];
  }
}

/**
 * The clusters that were launched on from this machine. Those that are only registered, and names that are not known, are
 * left out.
 *
 * @returns the id of a request that lives in this process. Request Returns: an array of ClusterRecord, by name.
 * @throws ValueError for unknown options
 * @example
 * const clusters = await sky.get(await sky.status({ refresh: sky.StatusRefreshMode.FORCE }));
 */
export async function status(options: StatusOptions = {}): Promise<RequestId<ClusterRecord[]>> {
  return raising(async () => {
    checkOptions("status", options, ["clusterNames", "refresh", "allUsers"]);
    const { clusterNames = null, refresh = "NONE" } = options;
    if (!["NONE", "AUTO", "FORCE"].includes(refresh)) {
      throw new ValueError(`status: ${shownValue(refresh)} is no StatusRefreshMode; use NONE, AUTO or FORCE.`);
    }
    const names = typeof clusterNames === "string" ? [clusterNames] : clusterNames;
    const { clusters } = await listLocal(programContext());
    const wanted = clusters.filter((cluster) => names?.includes(cluster.name) ?? true);
    return begin(null, async () => {
      const records = await Promise.all(wanted.map((cluster) => recordOf(cluster, refresh !== "NONE")));
      return records.flat();
    });
  });
}

/** Options of `down` and `stop`. */
export interface PurgeOptions {
  /** `down` only: forget the cluster on this machine without asking it. Default: false. */
  purge?: boolean;
}

/**
 * Cancels the caller's jobs on a cluster, ends what runs for the caller there, and forgets the cluster on this machine. The
 * machines and other users' jobs are not touched.
 *
 * @returns the id of the request. Request Returns: null, when the jobs have ended or their grace time is over.
 * @throws ClusterDoesNotExist, ClusterNotUpError when there is nothing to leave
 * @throws ConnectionError when the head cannot be reached
 * @example
 * await sky.get(await sky.down("lab"));
 */
export async function down(clusterName: string, options: PurgeOptions = {}): Promise<RequestId<null>> {
  return raising(async () => {
    checkOptions("down", options, ["purge"]);
    const cluster = initializedCluster(clusterName);
    return begin(cluster, async (accepted) => {
      if (options.purge !== true) {
        await withCalls(cluster, async (calls) => endJobs(calls, accepted));
      }
      await forget(programContext(), cluster.name);
      return null;
    });
  });
}

function staysOn(clusterName: string, verb: string): NotSupportedError {
  return new NotSupportedError(
    `Local cluster ${clusterName} does not support \`sky ${verb}\`: your own machines stay on.`,
    { hint: "down ends your jobs there and forgets the cluster on this machine." },
  );
}

/**
 * Refused: the machines of a cluster of one's own stay on.
 *
 * @throws ClusterDoesNotExist when no cluster of this name is registered
 * @throws NotSupportedError always otherwise
 */
export async function stop(clusterName: string, options: PurgeOptions = {}): Promise<RequestId<null>> {
  return raising(async () => {
    checkOptions("stop", options, ["purge"]);
    throw staysOn(registeredCluster(clusterName).name, "stop");
  });
}

/** Options of `start`. */
export interface StartOptions {
  /** Refused: one's own machines stay on. */
  idleMinutesToAutostop?: number | null;
  /** Without a meaning by itself: a cluster that answers is up. Default: false. */
  retryUntilUp?: boolean;
  /** Needs `idleMinutesToAutostop`, and is refused with it. */
  down?: boolean;
  /** Without a meaning by itself. Default: false. */
  force?: boolean;
}

/**
 * Has no effect on a cluster that is up, as in the Python SDK; one that is registered but was never launched on is
 * initialized by `launch`, and machines are never switched on from here.
 *
 * @returns the id of a request that lives in this process. Request Returns: null.
 * @throws ClusterDoesNotExist when no cluster of this name is registered
 * @throws NotSupportedError when the cluster is not up, or for an option that only rented machines can honour
 * @throws ValueError for `down` without `idleMinutesToAutostop`
 */
export async function start(clusterName: string, options: StartOptions = {}): Promise<RequestId<null>> {
  return raising(async () => {
    const known = ["idleMinutesToAutostop", "retryUntilUp", "down", "force"];
    checkOptions("start", options, known, { idleMinutesToAutostop: "your own machines stay on." });
    if (options.down === true) {
      throw new ValueError("start: 'down' needs 'idleMinutesToAutostop' to be set.");
    }
    const cluster = registeredCluster(clusterName);
    if (cluster.initialized === null) {
      throw staysOn(cluster.name, "start");
    }
    return begin(null, async () => null);
  });
}

/** Options of `autostop`. */
export interface AutostopOptions {
  /** Refused as well. Default: false. */
  down?: boolean;
}

/**
 * Refused, except for taking an autostop back: the machines of a cluster of one's own stay on, so it never has one.
 *
 * @param idleMinutes minutes without a job after which a rented cluster would be stopped; negative: never
 * @returns for a negative number the id of a request that lives in this process. Request Returns: null.
 * @throws ClusterDoesNotExist, ClusterNotUpError when the cluster cannot be used
 * @throws NotSupportedError for 0 and more minutes
 */
export async function autostop(
  clusterName: string,
  idleMinutes: number,
  options: AutostopOptions = {},
): Promise<RequestId<null>> {
  return raising(async () => {
    checkOptions("autostop", options, ["down"]);
    if (typeof idleMinutes !== "number" || Number.isNaN(idleMinutes)) {
      throw new ValueError(`autostop: idleMinutes must be a number, not ${shownValue(idleMinutes)}.`);
    }
    const cluster = initializedCluster(clusterName);
    if (idleMinutes >= 0) {
      throw staysOn(cluster.name, "autostop");
    }
    return begin(null, async () => null);
  });
}
