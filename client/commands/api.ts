/**
 * `sky api status`, `logs`, `cancel` and `info`: the requests that one has made of a cluster, by their ids or the first
 * characters of them. A request is cancelled, never a job that it has queued long ago: that is `sky cancel`.
 */
import { SkyError } from "../../shared/errors.ts";
import { moreRequests, requestsText } from "../output/requests-text.ts";
import { createRequestCalls, type RequestCalls } from "../sdk/request-calls.ts";
import { oneCluster, transportOf } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";
import { interruptedCode } from "./submit.ts";

export interface ApiFlags {
  cluster?: string;
}

export interface ApiStatusFlags extends ApiFlags {
  /** Ended ones too. */
  allStatus?: boolean;
  /** A number of rows, `all` or `none`. */
  limit: string;
  output: string;
}

/** Fewer characters than this fit half of all requests; a slip of the finger must not cancel one. */
const shortestId = 4;

async function callsOf(context: Context, flags: ApiFlags): Promise<{ calls: RequestCalls; cluster: string }> {
  const { screen } = context;
  const cluster = await oneCluster(context, flags.cluster);
  const transport = transportOf(context, cluster.registered);
  const say = (text: string): void => screen.note(screen.noteColors.yellow(text));
  return { calls: createRequestCalls(transport, say), cluster: cluster.name };
}

function requireIds(ids: readonly string[]): void {
  for (const id of ids) {
    if (!/^[0-9a-fA-F-]+$/.test(id) || id.length > 36) {
      throw new UsageError(`'${id.slice(0, 60)}' is no request id.`, "`sky api status -a` lists yours.");
    }
    if (id.length < shortestId) {
      throw new UsageError(`'${id}' is too short for a request id: give at least ${shortestId} characters.`);
    }
  }
}

function limitOf(text: string): number | null {
  if (text === "all" || text === "none") {
    return null;
  }
  if (!/^[1-9][0-9]{0,5}$/.test(text)) {
    throw new UsageError(`--limit ${text}: it must be a number of rows, 'all' or 'none'.`);
  }
  return Number(text);
}

/** `sky api status`; resolves with the exit code. */
export async function apiStatus(context: Context, ids: string[], flags: ApiStatusFlags): Promise<number> {
  const { screen } = context;
  requireIds(ids);
  const limit = limitOf(flags.limit);
  const { calls } = await callsOf(context, flags);
  try {
    // One more than is shown, to know whether there are more.
    const query = { all: flags.allStatus === true || ids.length > 0, limit: limit === null ? null : limit + 1 };
    const found = await calls.apiStatus({ ids: ids.length === 0 ? null : ids, ...query });
    const rows = limit === null ? found : found.slice(0, limit);
    if (flags.output === "json") {
      const shown = rows.map(({ request_id, name, status, created_at, finished_at, user_name, cluster_name }) => ({
        ...{ request_id, name, status, user: user_name, cluster: cluster_name, created_at, finished_at },
      }));
      screen.print(JSON.stringify(shown, null, 2));
      return 0;
    }
    screen.print(requestsText(rows, context.now(), screen.columns, screen.colors));
    if (rows.length < found.length) {
      screen.print(moreRequests(rows.length));
    }
    return 0;
  } finally {
    calls.close();
  }
}

/** `sky api logs`: the text of a request, until it ends; its failure is this command's. */
export async function apiLogs(
  context: Context,
  id: string | undefined,
  flags: ApiFlags & { follow: boolean },
): Promise<number> {
  const { screen } = context;
  requireIds(id === undefined ? [] : [id]);
  const { calls, cluster } = await callsOf(context, flags);
  const { signal, done } = context.interrupted();
  try {
    const newest = id ?? (await calls.apiStatus({ ids: null, all: true, limit: 1 }))[0]?.request_id;
    if (newest === undefined) {
      throw new SkyError("ValueError", `You have made no requests of cluster '${cluster}'.`);
    }
    await calls.streamAndGet(newest, (chunk) => screen.write(chunk), { follow: flags.follow, signal });
    if (signal.aborted) {
      screen.note("Stopped here; the request goes on.");
      return interruptedCode;
    }
    return 0;
  } finally {
    done();
    calls.close();
  }
}

/** `sky api cancel`; resolves with the exit code. */
export async function apiCancel(
  context: Context,
  ids: string[],
  flags: ApiFlags & { all?: boolean; yes?: boolean },
): Promise<number> {
  const { screen } = context;
  if ((flags.all === true) === ids.length > 0) {
    throw new UsageError("Give request ids, or --all.", "`sky api status` lists those that are under way.");
  }
  requireIds(ids);
  const { calls, cluster } = await callsOf(context, flags);
  try {
    if (flags.all === true && flags.yes !== true) {
      const question = `Cancelling all your requests that are under way on cluster '${cluster}'. Proceed?`;
      if (screen.interactive && !(await screen.confirm(question))) {
        screen.note("Nothing was done.");
        return 1;
      }
    }
    const cancelled = await calls.apiCancel(flags.all === true ? null : ids);
    for (const id of cancelled) {
      screen.print(`${screen.colors.green("✓")} Request ${id} is cancelled.`);
    }
    for (const id of ids.filter((asked) => !cancelled.some((one) => one.startsWith(asked.toLowerCase())))) {
      screen.print(`Request ${id} had ended already. Its job, if it has one, is ended by \`sky cancel\`.`);
    }
    if (flags.all === true && cancelled.length === 0) {
      screen.print("No request of yours is under way.");
    }
    return 0;
  } finally {
    calls.close();
  }
}

/** `sky api info`: who answers, in which version, and as whom one is known there. 1: it does not work now. */
export async function apiInfo(context: Context, flags: ApiFlags & { output: string }): Promise<number> {
  const { screen } = context;
  const { calls, cluster } = await callsOf(context, flags);
  try {
    const info = await calls.apiInfo();
    const isWell = info.status === "healthy";
    if (flags.output === "json") {
      const { status, message, version, commit, api_version, user } = info;
      const shown = {
        cluster,
        status,
        message: message ?? null,
        version,
        commit,
        api_version,
        user: user?.name ?? null,
      };
      screen.print(JSON.stringify(shown, null, 2));
      return isWell ? 0 : 1;
    }
    const status = isWell ? screen.colors.green(info.status) : screen.colors.red(info.status);
    screen.print(`Cluster ${cluster}: SkyPilot API of sky-onprem`);
    screen.print(`├── Status: ${status}${isWell ? "" : `, ${info.message ?? "without saying why"}`}`);
    screen.print(`├── User: ${info.user?.name ?? "-"} (${info.user?.id ?? "-"})`);
    screen.print(`└── Version: ${info.version}, commit ${info.commit}, API version ${info.api_version}`);
    return isWell ? 0 : 1;
  } finally {
    calls.close();
  }
}
