/**
 * The files that a job's ranks have written, as they are: which there are, and the bytes of one. A file that lies on a
 * node goes through as it comes; nothing of it is kept here. It must never show another user's job. For `sky logs
 * --sync-down` and whatever packs logs up.
 */
import type { ServerResponse } from "node:http";
import * as z from "zod";
import { SkyError } from "../../shared/errors.ts";
import { jobIdSchema } from "../../shared/ids.ts";
import type { JobRecord } from "../../shared/job.ts";
import {
  logFaultTrailer,
  type LogFile,
  type LogFilesResult,
  logFilesResultSchema,
  rawLogQuerySchema,
} from "../../shared/log-files-api.ts";
import type { State } from "../core/state.ts";
import { type JobView, liveParts, readJob } from "./job-watch.ts";
import { LogFrameParser } from "./log-frames.ts";
import { placeOf } from "./log-lines.ts";
import { json, plainRoute, type Route, type RouteCall, type RouteReply } from "./route.ts";

const listQuerySchema = z.strictObject({ job: z.coerce.number().pipe(jobIdSchema) });

/** Beyond the end of any file: nothing of it is sent. */
const beyond = Number.MAX_SAFE_INTEGER;

async function jobOf(call: RouteCall<unknown>, id: number): Promise<JobView> {
  const view = await readJob(liveParts(call.context.parts), call.account.uid, id);
  if (view === null) {
    throw new SkyError("JobNotFoundError", `Job ${id} not found.`, "`sky queue` lists your jobs.");
  }
  return view;
}

/** The log files of a job's last attempt, two for each rank that has begun; each path once. */
export function logFilesOf(state: State, record: JobRecord): LogFile[] {
  const taken = new Set<string>();
  const unique = (stem: string, rank: number): string => {
    const path = taken.has(`${stem}.log`) ? `${stem}-rank${rank}.log` : `${stem}.log`;
    taken.add(path);
    return path;
  };
  return (record.attempt?.ranks ?? []).flatMap((rank, number): LogFile[] => {
    if (rank.pid === null && rank.logDir === null) {
      return [];
    }
    const { node } = rank.grant;
    const place = placeOf(state, node, number);
    const isHead = place.singleNodeCluster || place.label === "head";
    const address = place.address.replaceAll(/[^A-Za-z0-9_.:%-]/g, "_");
    const setup = unique(isHead ? "setup" : `setup-${address}`, number);
    const run = unique(place.singleNodeCluster ? "tasks/run" : `tasks/${number}-${place.label}`, number);
    return [
      { rank: number, node, part: "setup", path: setup },
      { rank: number, node, part: "run", path: run },
    ];
  });
}

async function list(call: RouteCall<null, z.infer<typeof listQuerySchema>>): Promise<RouteReply> {
  const { job } = call.query;
  const { record, ended } = await jobOf(call, job);
  const { state } = liveParts(call.context.parts).loop;
  const result: LogFilesResult = {
    job_id: job,
    job_name: record.name,
    ended,
    attempt: record.attempt?.id ?? null,
    files: logFilesOf(state, record),
  };
  return json(result);
}

/** Writes when the reader has room; rejects when it has gone. */
function written(outgoing: ServerResponse, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new Error("the reader has gone"));
    if (outgoing.destroyed) {
      gone();
      return;
    }
    outgoing.once("close", gone);
    outgoing.write(bytes, (error) => {
      outgoing.off("close", gone);
      if (error === null || error === undefined) {
        resolve();
      } else {
        reject(error);
      }
    });
  });
}

/** One file of one rank from its node, to its present end. Resolves with the node's reason when that is not all. */
async function raw(call: RouteCall<null, z.infer<typeof rawLogQuerySchema>>): Promise<RouteReply> {
  const { job, attempt, rank: number, part, offset } = call.query;
  const { record } = await jobOf(call, job);
  const rank = record.attempt?.id === attempt ? record.attempt.ranks[number] : undefined;
  if (rank === undefined) {
    throw new SkyError("ValueError", `Job ${job} has no rank ${number} in attempt ${attempt} any more.`, "Ask again.");
  }
  const { outgoing, account, context } = call;
  const stream = await liveParts(context.parts).fleet.openLogStream(rank.grant.node, account.uid, account.name, {
    kind: "logs",
    attempt,
    logDir: rank.logDir,
    rank: number,
    follow: false,
    setupOffset: part === "setup" ? offset : beyond,
    runOffset: part === "run" ? offset : beyond,
    tailLines: null,
  });
  stream.on("error", () => undefined);
  const hangUp = (): void => void stream.destroy();
  outgoing.once("close", hangUp);
  outgoing.writeHead(200, { "Content-Type": "application/octet-stream", Trailer: logFaultTrailer });
  const parser = new LogFrameParser();
  try {
    for await (const chunk of stream) {
      for (const piece of parser.push(chunk as Buffer)) {
        if (piece.kind === part) {
          await written(outgoing, piece.bytes);
        } else if (piece.kind === "end") {
          outgoing.addTrailers({ [logFaultTrailer]: encodeURIComponent(piece.fault ?? "") });
          outgoing.end();
          return { kind: "streamed" };
        }
      }
    }
    // A reply that breaks tells the client that this is not the end.
    outgoing.destroy();
  } catch {
    outgoing.destroy();
  } finally {
    outgoing.off("close", hangUp);
    stream.destroy();
  }
  return { kind: "streamed" };
}

export const logFileRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/onprem/logs/files",
    identity: "account",
    summary: "Which log files the ranks of one of the caller's jobs have written.",
    query: listQuerySchema,
    reply: logFilesResultSchema,
    handle: list,
  }),
  plainRoute({
    method: "GET",
    path: "/onprem/logs/raw",
    identity: "account",
    summary: "The bytes of one of them, from an offset; a trailer says why it is not complete.",
    query: rawLogQuerySchema,
    reply: "bytes",
    handle: raw,
  }),
];
