/**
 * The functions about requests and about who answers them: wait for a result, follow a request's text, list and cancel. A
 * request of this process is known here; one of another process is looked for at the clusters that were launched on from
 * this machine. Exported by the package.
 */
import {
  queueResultSchema,
  jobStatusResultSchema,
  type RequestPayload,
  submitResultSchema,
} from "../../../shared/api.ts";
import { SkyError } from "../../../shared/errors.ts";
import { listLocal, type LocalCluster } from "../../commands/clusters.ts";
import { createRequestCalls, type RequestCalls } from "../request-calls.ts";
import { ServerUnavailableError, ValueError } from "./exceptions.ts";
import { shownValue } from "./fields.ts";
import { jobRecordOf, jobStatusesOf, writeTo } from "./jobs.ts";
import { begin, latestPending, pendingId, pendingRequest } from "./pending.ts";
import { raised, raising } from "./raise.ts";
import { programContext, registeredCluster, withTransport } from "./session.ts";
import { checkOptions, submitResultOf } from "./submit.ts";
import type { ApiServerInfo, OutputStream, RequestId, RequestRecord } from "./types.ts";

/** The beginning of an id has to be long enough to mean one request. */
const shortestId = 4;

async function withRequests<T>(cluster: LocalCluster, work: (calls: RequestCalls) => Promise<T>): Promise<T> {
  return withTransport(cluster, async (transport) => work(createRequestCalls(transport, () => undefined)));
}

/** The clusters that are asked: the named one, else all that were launched on from this machine. */
async function askedClusters(name: string | undefined): Promise<LocalCluster[]> {
  if (name !== undefined) {
    return [registeredCluster(name)];
  }
  const { clusters } = await listLocal(programContext());
  return clusters.filter((cluster) => cluster.initialized !== null);
}

function checkId(id: unknown): string {
  if (typeof id !== "string" || !/^[0-9a-fA-F-]+$/.test(id) || id.length > 36) {
    throw new ValueError(`${shownValue(id)} is no request id.`);
  }
  if (id.length < shortestId) {
    throw new ValueError(`'${id}' is too short for a request id: give at least ${shortestId} characters.`);
  }
  return id.toLowerCase();
}

/** A request that another process has made. */
interface Found {
  cluster: LocalCluster;
  row: RequestPayload;
}

function isUnknown(error: unknown): boolean {
  return error instanceof SkyError && (error.type === "JobNotFoundError" || error.type === "ValueError");
}

/** Asks the clusters who knows this request. Rejects when none does, or when one that may know it does not answer. */
async function findRequest(id: string): Promise<Found> {
  const clusters = await askedClusters(undefined);
  const found: Found[] = [];
  let failure: unknown = null;
  for (const cluster of clusters) {
    try {
      const query = { ids: [id], all: true, limit: null };
      const rows = await withRequests(cluster, async (calls) => calls.apiStatus(query));
      found.push(...rows.map((row) => ({ cluster, row })));
    } catch (error) {
      failure = isUnknown(error) ? failure : (failure ?? error);
    }
  }
  const [one, ...others] = found;
  if (one !== undefined && others.length === 0) {
    return one;
  }
  if (one === undefined && failure !== null) {
    throw failure;
  }
  throw new ValueError(
    one === undefined ? `No cluster knows a request '${id}' of yours.` : `Several requests begin with '${id}'.`,
    {
      hint: "apiStatus lists your requests; those that changed something are kept for a day.",
    },
  );
}

/** A result as the function that makes such requests gives it. */
function resultOf({ cluster, row }: Found, value: unknown): unknown {
  switch (row.name.replace(/^sky\./, "")) {
    case "launch":
    case "exec":
      return submitResultOf(cluster, submitResultSchema.parse(value));
    case "queue":
      return queueResultSchema.parse(value).map(jobRecordOf);
    case "job_status":
      return jobStatusesOf(jobStatusResultSchema.parse(value));
    default:
      return value;
  }
}

/**
 * Waits for a request and gives what it came to. It can be asked as often as one likes.
 *
 * @param requestId of a request of this process or, by its id or the beginning of it, of another one of the same user
 * @returns the "Request Returns" of the function that made the request
 * @throws the "Request Raises" of that function; RequestCancelled when it was cancelled
 * @throws ValueError for an id that no cluster knows; ConnectionError when the head cannot be reached
 * @example
 * const request = await sky.launch(task, { clusterName: "lab" });
 * const { jobId } = await sky.get(request);
 */
export async function get<Result>(requestId: RequestId<Result>): Promise<Result> {
  return raising(async () => {
    const id = checkId(requestId);
    const own = pendingRequest(pendingId(id) ?? id);
    if (own !== null) {
      return (await own.result) as Result;
    }
    const found = await findRequest(id);
    const value = await withRequests(found.cluster, async (calls) => calls.get(found.row.request_id));
    return resultOf(found, value) as Result;
  });
}

/** Options of `streamAndGet`. */
export interface StreamOptions {
  /** Refused: a coordinator's log files are its admins'. */
  logPath?: string | null;
  /** Only the last lines, written when the request has ended. Default: all, as they come. */
  tail?: number | null;
  /** Wait for more text until the request ends; the result is waited for in any case. Default: true. */
  follow?: boolean;
  /** Where the text goes. Default: `process.stdout`. */
  outputStream?: OutputStream | null;
}

/** Passes text on: all of it as it comes, or the last lines of it when `end` is called. */
function lineWriter(output: OutputStream, tail: number | null) {
  let kept = "";
  return {
    async write(chunk: Uint8Array): Promise<void> {
      if (tail === null) {
        await writeTo(output, chunk);
      } else {
        // A request's text is bounded by the coordinator.
        kept += Buffer.from(chunk).toString("utf8");
      }
    },
    async end(): Promise<void> {
      const lines = kept.split(/(?<=\n)/);
      const last = tail === null || tail === 0 ? "" : lines.slice(-tail).join("");
      if (last !== "") {
        await writeTo(output, Buffer.from(last));
      }
    },
  };
}

/** The newest request of this process, else of the clusters. */
async function latestRequest(): Promise<string> {
  const own = latestPending();
  if (own !== null) {
    return own;
  }
  const newest = (await apiStatus({ allStatus: true, limit: 1 }))[0];
  if (newest === undefined) {
    throw new ValueError("You have made no requests.");
  }
  return newest.requestId;
}

/**
 * Writes what a request prints while it works, then gives what it came to, as `get`.
 *
 * @param requestId as for `get`; null: the latest request
 * @returns the "Request Returns" of the function that made the request
 * @throws as `get`; NotSupportedError for `logPath`
 * @example
 * const { jobId } = await sky.streamAndGet(await sky.launch(task, { clusterName: "lab" }));
 */
export async function streamAndGet<Result>(
  requestId: RequestId<Result> | null = null,
  options: StreamOptions = {},
): Promise<Result> {
  return raising(async () => {
    checkOptions("streamAndGet", options, ["logPath", "tail", "follow", "outputStream"], {
      logPath: "a coordinator's log files are its admins'.",
    });
    const { tail = null, follow = true } = options;
    if (tail !== null && (!Number.isInteger(tail) || tail < 0)) {
      throw new ValueError(`streamAndGet: 'tail' must be a whole number of lines, not ${shownValue(tail)}.`);
    }
    const id = checkId(requestId ?? (await latestRequest()));
    const whole = pendingId(id);
    const own = whole === null ? null : pendingRequest(whole);
    const place =
      own === null
        ? await findRequest(id).then((found) => ({ cluster: found.cluster, id: found.row.request_id }))
        : { cluster: own.cluster, id: whole ?? id };
    const { cluster } = place;
    if (cluster !== null) {
      const writer = lineWriter(options.outputStream ?? process.stdout, tail);
      await withRequests(cluster, async (calls) => {
        const ended = calls.streamAndGet(place.id, async (chunk) => writer.write(chunk), { follow });
        // How it ended is told below, in the form of this package.
        await ended.catch((error: unknown) => {
          if (!(error instanceof SkyError)) {
            throw error;
          }
        });
      });
      await writer.end();
    }
    return get<Result>(place.id);
  });
}

/** Options of `apiStatus`. */
export interface ApiStatusOptions {
  /** Only these, by their ids or the beginnings of them. Default: all. */
  requestIds?: string | readonly string[] | null;
  /** Those that have ended too. Default: false. */
  allStatus?: boolean;
  /** Most rows of each cluster. Default: no limit. */
  limit?: number | null;
  /** Only this cluster's. Default: those of all clusters that were launched on from this machine. */
  clusterName?: string;
}

/**
 * The caller's requests, newest first.
 *
 * @returns an array of RequestRecord
 * @throws ValueError for unknown options; ConnectionError when a cluster that is asked cannot be reached
 * @example
 * const open = await sky.apiStatus();
 */
export async function apiStatus(options: ApiStatusOptions = {}): Promise<RequestRecord[]> {
  return raising(async () => {
    checkOptions("apiStatus", options, ["requestIds", "allStatus", "limit", "clusterName"]);
    const { requestIds = null, allStatus = false, limit = null } = options;
    if (limit !== null && (!Number.isInteger(limit) || limit < 1)) {
      throw new ValueError(`apiStatus: 'limit' must be a whole number of at least 1, not ${shownValue(limit)}.`);
    }
    const ids = requestIds === null ? null : [requestIds].flat().map(checkId);
    const clusters = await askedClusters(options.clusterName);
    const rows = await Promise.all(
      clusters.map(async (cluster) =>
        withRequests(cluster, async (calls) => calls.apiStatus({ ids, all: allStatus || ids !== null, limit })),
      ),
    );
    const records = rows.flat().map((row) => ({
      requestId: row.request_id,
      name: row.name,
      clusterName: row.cluster_name,
      userName: row.user_name,
      status: row.status,
      createdAt: row.created_at,
      finishedAt: row.finished_at,
      statusMessage: row.status_msg,
    }));
    return records.sort((one, other) => other.createdAt - one.createdAt);
  });
}

/** Options of `apiCancel`. */
export interface ApiCancelOptions {
  /** Refused: everybody cancels their own. */
  allUsers?: boolean;
  /** Nothing is ever printed, so it changes nothing. Default: false. */
  silent?: boolean;
}

/** Where each request lies; those that need no cluster are left out. */
async function placesOf(ids: readonly string[]): Promise<Map<LocalCluster, string[]>> {
  const places = new Map<string, { cluster: LocalCluster; ids: string[] }>();
  for (const id of ids) {
    const whole = pendingId(id);
    const own = whole === null ? null : pendingRequest(whole);
    const cluster = own === null ? (await findRequest(id)).cluster : own.cluster;
    if (cluster !== null) {
      const place = places.get(cluster.name) ?? { cluster, ids: [] };
      place.ids.push(whole ?? id);
      places.set(cluster.name, place);
    }
  }
  return new Map([...places.values()].map((place) => [place.cluster, place.ids]));
}

/**
 * Cancels requests that are under way: what they wait for or do is given up. A job that a request has queued is cancelled by
 * `cancel`.
 *
 * @param requestIds ids or the beginnings of them; null: all of the caller's
 * @returns the id of a request that lives in this process. Request Returns: the ids of those that were under way.
 * @throws ValueError for ids that no cluster knows; NotSupportedError for `allUsers`
 *
 * Request Raises: ConnectionError when a cluster cannot be reached.
 * @example
 * await sky.get(await sky.apiCancel(request));
 */
export async function apiCancel(
  requestIds: string | readonly string[] | null = null,
  options: ApiCancelOptions = {},
): Promise<RequestId<string[]>> {
  return raising(async () => {
    checkOptions("apiCancel", options, ["allUsers", "silent"], { allUsers: "everybody cancels their own requests." });
    const ids = requestIds === null ? null : [requestIds].flat().map(checkId);
    const places =
      ids === null ? new Map((await askedClusters(undefined)).map((cluster) => [cluster, null])) : await placesOf(ids);
    return begin(null, async () => {
      const cancelled: string[] = [];
      for (const [cluster, own] of places) {
        cancelled.push(...(await withRequests(cluster, async (calls) => calls.apiCancel(own))));
      }
      return cancelled;
    });
  });
}

/** Options of `apiInfo` and `apiStart`. */
export interface ApiServerOptions {
  /** Only this cluster's. Default: all that were launched on from this machine. */
  clusterName?: string;
}

async function infoOf(cluster: LocalCluster): Promise<ApiServerInfo> {
  try {
    const info = await withRequests(cluster, async (calls) => calls.apiInfo());
    return {
      clusterName: cluster.name,
      status: info.status === "healthy" ? info.status : (info.message ?? info.status),
      apiVersion: Number(info.api_version),
      version: info.version,
      user: info.user?.name ?? null,
    };
  } catch (error) {
    return { clusterName: cluster.name, status: raised(error).message, apiVersion: 0, version: "", user: null };
  }
}

/**
 * Who answers: every cluster has an API server of its own, its coordinator. One that does not answer says why in `status`.
 *
 * @returns an array of ApiServerInfo
 * @throws ClusterDoesNotExist when no cluster of this name is registered
 * @example
 * const [lab] = await sky.apiInfo({ clusterName: "lab" });
 */
export async function apiInfo(options: ApiServerOptions = {}): Promise<ApiServerInfo[]> {
  return raising(async () => {
    checkOptions("apiInfo", options, ["clusterName"]);
    return Promise.all((await askedClusters(options.clusterName)).map(infoOf));
  });
}

/** Options of `apiStart`. */
export interface ApiStartOptions extends ApiServerOptions {
  /** Refused, as `host` and `foreground`: a coordinator is started by its admin, on its own machine. */
  deploy?: boolean;
  host?: string | null;
  foreground?: boolean;
}

/**
 * Checks that the coordinators are there and answer. It starts none: that is done by their admins.
 *
 * @throws ServerUnavailableError when one does not answer; NotSupportedError for options about starting
 * @throws ClusterDoesNotExist when no cluster of this name is registered
 * @example
 * await sky.apiStart();
 */
export async function apiStart(options: ApiStartOptions = {}): Promise<null> {
  return raising(async () => {
    const why = "a coordinator is started by its admin, on its own machine.";
    checkOptions("apiStart", options, ["deploy", "host", "foreground", "clusterName"], {
      deploy: why,
      host: why,
      foreground: why,
    });
    const { clusterName } = options;
    const infos = await apiInfo(clusterName === undefined ? {} : { clusterName });
    const ill = infos.find((info) => info.status !== "healthy");
    if (ill !== undefined) {
      throw new ServerUnavailableError(`Cluster '${ill.clusterName}' does not answer as it should: ${ill.status}`, {
        hint: "`sky check` says what is wrong with each of your clusters.",
      });
    }
    return null;
  });
}
