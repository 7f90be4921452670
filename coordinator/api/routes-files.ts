/**
 * Uploads: chunks and manifests that `sky` sends before a launch, what they take, and a user's wish to forget them. All of
 * it is the caller's own; nothing here takes another's name or uid. Bodies of bytes go to the disk as they come. The rest
 * is in coordinator/files.
 */
import type { IncomingMessage } from "node:http";
import { SkyError } from "../../shared/errors.ts";
import {
  cleanBodySchema,
  type CleanResult,
  filesUsageSchema,
  hashSchema,
  manifestBytesMax,
  manifestResultSchema,
  missingBodySchema,
  missingResultSchema,
  packBytesMax,
  packResultSchema,
} from "../../shared/files.ts";
import { manifestsInUse } from "../files/in-use.ts";
import { startCall } from "./call.ts";
import { liveParts } from "./job-watch.ts";
import { errorReply, json, plainRoute, type Route, type RouteCall, type RouteReply, route } from "./route.ts";

/** Lets the body run off unread when it is refused, so that the caller gets the reply and not a broken connection. */
async function withBody<T>(
  incoming: IncomingMessage,
  work: (body: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  try {
    return await work(incoming.iterator({ destroyOnReturn: false }));
  } finally {
    incoming.resume();
  }
}

async function takePack({ context, account, incoming }: RouteCall<null>): Promise<RouteReply> {
  const stored = await withBody(incoming, (body) => context.parts.files.putPack(account.uid, body));
  return json(packResultSchema.parse({ stored }));
}

async function takeManifest({ context, account, incoming }: RouteCall<null>): Promise<RouteReply> {
  const result = await withBody(incoming, (body) => context.parts.files.putManifest(account.uid, body));
  return json(manifestResultSchema.parse(result));
}

async function findManifest({ context, account, incoming }: RouteCall<null>): Promise<RouteReply> {
  const id = hashSchema.safeParse(incoming.url?.split("?")[0]?.split("/").at(-1));
  if (!id.success || !(await context.parts.files.hasManifest(account.uid, id.data))) {
    return errorReply(
      new SkyError("ValueError", "You have no uploaded list of files with this id.", "Upload it."),
      404,
    );
  }
  return json(manifestResultSchema.parse({ id: id.data, missing: [] }));
}

async function showUsage({ context, account }: RouteCall<null>): Promise<RouteReply> {
  const { bytes, quotaBytes, manifests, keepDays } = await context.parts.files.usage(account.uid);
  return json(filesUsageSchema.parse({ bytes, quota_bytes: quotaBytes, manifests, keep_days: keepDays }));
}

async function clean({ context, account }: RouteCall<unknown>): Promise<CleanResult> {
  const { loop, store } = liveParts(context.parts);
  const freed = await context.parts.files.clean(account.uid, manifestsInUse(loop.state, store));
  return { freed_bytes: freed };
}

const own = { identity: "jobUser" } as const;

export const fileRoutes: Route[] = [
  route({
    ...own,
    method: "POST",
    path: "/onprem/files/missing",
    summary: "Which of these chunks the caller has not uploaded yet.",
    body: missingBodySchema,
    reply: missingResultSchema,
    handle: async ({ context, account, body }) => {
      const missing = await context.parts.files.missing(account.uid, body.hashes);
      return json(missingResultSchema.parse({ missing }));
    },
  }),
  plainRoute({
    ...own,
    method: "POST",
    path: "/onprem/files/pack",
    summary:
      "Takes chunks, each as 32 bytes of SHA-256, 4 bytes of length (big-endian) and its bytes; on disk when it answers.",
    rawBytesMax: packBytesMax,
    reply: packResultSchema,
    handle: takePack,
  }),
  plainRoute({
    ...own,
    method: "POST",
    path: "/onprem/files/manifest",
    summary: "Takes a list of files (JSON lines) under the SHA-256 of its text; with missing chunks nothing is kept.",
    rawBytesMax: manifestBytesMax,
    reply: manifestResultSchema,
    handle: takeManifest,
  }),
  plainRoute({
    ...own,
    method: "GET",
    path: "/onprem/files/manifest/:id",
    summary: "Whether the caller has uploaded this list of files; it counts as used now. 404 when not.",
    reply: manifestResultSchema,
    handle: findManifest,
  }),
  plainRoute({
    ...own,
    method: "GET",
    path: "/onprem/files",
    summary: "What the caller's uploads take, and what they may take.",
    reply: filesUsageSchema,
    handle: showUsage,
  }),
  route({
    ...own,
    method: "POST",
    path: "/onprem/files/clean",
    summary: "Forgets the caller's uploads, but for what unfinished jobs need and what came within the last minute.",
    body: cleanBodySchema,
    handle: (call) =>
      startCall(call, { name: "files.clean", cluster: null, readOnly: false }, (running) => {
        running.signal.throwIfAborted();
        return clean(call);
      }),
  }),
];
