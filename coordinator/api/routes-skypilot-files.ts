/**
 * Files as SkyPilot's Python client moves them: a zip of a task's sources up (`/upload_v2`), a zip of log files down
 * (`/download_logs`, then `/download`). Nothing here takes a path of this machine from a caller: a blob is a hash, and a
 * folder to download is only ever read as the number of one of the caller's jobs. Declared to app.ts.
 */
import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as z from "zod";
import { ZipFile } from "yazl";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { hashSchema } from "../../shared/files.ts";
import type { JobRecord } from "../../shared/job.ts";
import type { LogFile } from "../../shared/log-files-api.ts";
import { Slots } from "../files/slots.ts";
import { zipPieceBytesMax, zipPiecesMax } from "../zips/staging.ts";
import { startCall } from "./call.ts";
import { latestJob, liveParts, readJob } from "./job-watch.ts";
import { LogFrameParser } from "./log-frames.ts";
import { userHash } from "./request-payload.ts";
import { json, plainRoute, type Route, type RouteCall, type RouteReply, route } from "./route.ts";
import { logFilesOf } from "./routes-log-files.ts";

const pieceQuerySchema = z.object({
  upload_id: hashSchema,
  // Not coerced: an empty text would be the first piece.
  chunk_index: z
    .string()
    .regex(/^[0-9]{1,6}$/)
    .transform(Number),
  total_chunks: z.coerce.number().int().min(1).max(zipPiecesMax),
});
const pieceResultSchema = z.object({
  status: z.enum(["uploading", "completed"]),
  missing_chunks: z.array(z.string()).optional(),
});
const blobQuerySchema = z.object({ blob_id: hashSchema });
const downloadLogsBodySchema = z.object({
  cluster_name: z.string(),
  job_ids: z.array(z.string().max(40)).max(1000).nullish(),
  env_vars: z.record(z.string(), z.string()).nullish(),
});
const downloadBodySchema = z.object({ folder_paths: z.array(z.string().max(1000)).min(1).max(1000) });

/** Where SkyPilot's client believes that logs lie on the server; what is below goes to its own ~/sky_logs. */
const logsFolder = (hash: string): string => `~/.sky/api_server/clients/${hash}/sky_logs`;
const folderPattern =
  /^~\/(\.sky\/api_server\/clients\/[a-z0-9-]{1,64}\/sky_logs\/[A-Za-z0-9_.-]+\/([1-9]\d{0,8})(?:-[A-Za-z0-9_.-]+)?)$/;
const homeInZip = "/home/sky";
/** Each has the names of all its files in memory. */
const downloads = new Slots<number>({ perOwner: 2, all: 200, waitingPerOwner: 16 });
const filesMax = 100_000;

async function upload(call: RouteCall<null, z.infer<typeof pieceQuerySchema>>): Promise<RouteReply> {
  const { upload_id: blobId, chunk_index: index, total_chunks: total } = call.query;
  if (index >= total) {
    throw new SkyError("ValueError", `Piece ${index} of ${total} cannot be.`);
  }
  const state = await call.context.zips.receive(call.account.uid, { blobId, index, total }, call.incoming);
  const missing = state.missing.map(String);
  return json({ status: state.status, ...(missing.length === 0 ? {} : { missing_chunks: missing }) });
}

/** `{job: folder}`: what the client then asks `/download` for. */
async function chooseLogs(call: RouteCall<z.infer<typeof downloadLogsBodySchema>>): Promise<Record<string, string>> {
  const { context, account, body } = call;
  const live = liveParts(context.parts);
  const hash = body.env_vars?.["SKYPILOT_USER_ID"] ?? "";
  const root = logsFolder(/^[a-z0-9-]{1,64}$/.test(hash) ? hash : userHash(account.uid));
  const latest = (body.job_ids ?? []).length === 0 ? await latestJob(live, account.uid) : null;
  const asked = latest === null ? (body.job_ids ?? []) : [String(latest)];
  const chosen: Record<string, string> = {};
  for (const text of asked) {
    const view = /^[1-9]\d{0,8}$/.test(text) ? await readJob(live, account.uid, Number(text)) : null;
    if (view === null) {
      throw new SkyError("JobNotFoundError", `Job ${text} not found.`, "`sky queue` lists your jobs.");
    }
    const name = view.record.name === null ? "" : `-${view.record.name}`;
    chosen[text] = `${root}/${context.config.cluster}/${text}${name}`;
  }
  return chosen;
}

/** The bytes of one log file from its node; what it cannot give stands in their place as a line. */
async function* bytesOf(call: RouteCall<unknown>, record: JobRecord, file: LogFile): AsyncGenerator<Buffer> {
  const rank = record.attempt?.ranks[file.rank];
  const attempt = record.attempt?.id;
  if (rank === undefined || attempt === undefined) {
    return;
  }
  const { account, context } = call;
  const beyond = Number.MAX_SAFE_INTEGER;
  let stream: Readable | null = null;
  let fault: string | null = "the connection to its machine was cut";
  try {
    stream = await liveParts(context.parts).fleet.openLogStream(rank.grant.node, account.uid, account.name, {
      ...{ kind: "logs" as const, attempt, logDir: rank.logDir, rank: file.rank, follow: false, tailLines: null },
      setupOffset: file.part === "setup" ? 0 : beyond,
      runOffset: file.part === "run" ? 0 : beyond,
    });
    const parser = new LogFrameParser();
    for await (const chunk of stream) {
      for (const piece of parser.push(chunk as Buffer)) {
        if (piece.kind === file.part) {
          yield piece.bytes;
        } else if (piece.kind === "end") {
          fault = piece.fault;
        }
      }
    }
  } catch (error) {
    fault = messageOf(error);
  } finally {
    stream?.destroy();
  }
  if (fault !== null) {
    yield Buffer.from(`\nsky: this log is not complete: ${fault}\n`);
  }
}

/** Adds the files of the job that the path names; returns how many. `taken`: jobs that are in it. */
async function addJob(call: RouteCall<unknown>, zip: ZipFile, path: string, taken: Set<number>): Promise<number> {
  const { context, account } = call;
  const found = folderPattern.exec(path);
  const live = liveParts(context.parts);
  const view = found === null ? null : await readJob(live, account.uid, Number(found[2]));
  if (found === null || view === null) {
    throw new SkyError("ValueError", `'${path.slice(0, 200)}' is no folder of logs of yours.`, "Use `sky logs -s`.");
  }
  const job = Number(found[2]);
  if (taken.has(job)) {
    throw new SkyError("ValueError", `Job ${job} is named twice.`);
  }
  taken.add(job);
  const folder = `${homeInZip.slice(1)}/${found[1] ?? ""}`;
  zip.addEmptyDirectory(folder);
  const files = logFilesOf(live.loop.state, view.record);
  for (const file of files) {
    zip.addReadStreamLazy(`${folder}/${file.path}`, { mode: 0o100600 }, (give) =>
      give(null, Readable.from(bytesOf(call, view.record, file), { objectMode: false })),
    );
  }
  return files.length;
}

function closed(outgoing: ServerResponse): AbortSignal {
  const control = new AbortController();
  outgoing.once("close", () => control.abort());
  return control.signal;
}

function download(call: RouteCall<z.infer<typeof downloadBodySchema>>): Promise<RouteReply> {
  return downloads.run(call.account.uid, () => sendZip(call));
}

async function sendZip(call: RouteCall<z.infer<typeof downloadBodySchema>>): Promise<RouteReply> {
  const zip = new ZipFile();
  const taken = new Set<number>();
  let count = 0;
  for (const path of new Set(call.body.folder_paths)) {
    count += await addJob(call, zip, path, taken);
    if (count > filesMax) {
      throw new SkyError("ValueError", `These are over ${filesMax} files.`, "Ask for fewer jobs at a time.");
    }
  }
  zip.end();
  const { outgoing } = call;
  outgoing.writeHead(200, {
    "Content-Type": "application/zip",
    "Content-Disposition": 'attachment; filename="logs.zip"',
    "X-Home-Path": homeInZip,
  });
  try {
    await pipeline(Readable.from(zip.outputStream as Readable), outgoing, { signal: closed(outgoing) });
  } catch {
    // The reader has gone, or hears by the broken reply that this is not the end.
    outgoing.destroy();
  }
  return { kind: "streamed" };
}

export const skypilotFileRoutes: Route[] = [
  plainRoute({
    method: "GET",
    path: "/upload_v2/blob",
    identity: "jobUser",
    summary: "Whether the caller has uploaded the zip of this id.",
    query: blobQuerySchema,
    reply: z.object({ exists: z.boolean() }),
    handle: async ({ context, account, query }) => json({ exists: await context.zips.has(account.uid, query.blob_id) }),
  }),
  plainRoute({
    method: "POST",
    path: "/upload_v2",
    identity: "jobUser",
    rawBytesMax: zipPieceBytesMax,
    summary: "One piece of the zip of a task's files; with the last one the zip is taken in.",
    query: pieceQuerySchema,
    reply: pieceResultSchema,
    handle: upload,
  }),
  route({
    method: "POST",
    path: "/download_logs",
    identity: "account",
    summary: "Which folders to ask /download for, by job; without numbers the latest job.",
    body: downloadLogsBodySchema,
    handle: (call) =>
      startCall(call, { name: "download_logs", cluster: call.body.cluster_name, readOnly: true }, () =>
        chooseLogs(call),
      ),
  }),
  route({
    method: "POST",
    path: "/download",
    identity: "account",
    summary: "A zip of the caller's log files, in the folders that /download_logs has named.",
    body: downloadBodySchema,
    reply: "bytes",
    handle: download,
  }),
];
