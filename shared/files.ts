/**
 * The words of uploaded files: chunks named by the SHA-256 of their bytes, and manifests that say which chunks make up
 * which file of a tree. A client cuts and uploads, the coordinator keeps them for each user apart, a node asks for what it
 * lacks. Paths here are data until a user's own process writes them, beneath a destination and never through a link.
 * Used by client/files, coordinator/files and agent/skylet/files.
 */
import * as z from "zod";

/** Bytes: a file up to `wholeMax` is one chunk; larger ones are cut where their content says so, so that a change moves few cuts. */
export const chunkBytes = { wholeMax: 256 * 1024, min: 256 * 1024, usual: 1024 * 1024, max: 4 * 1024 * 1024 } as const;
/** Largest body of one upload: chunks after one another, each as 32 bytes of hash, 4 bytes of length (big-endian) and its bytes. */
export const packBytesMax = 16 * 1024 * 1024;
/** A manifest is text of JSON lines, one entry each; larger trees are refused with a hint at `.skyignore`. */
export const manifestBytesMax = 256 * 1024 * 1024;
export const manifestEntriesMax = 1_000_000;
/** One line of it, newline included: a file of more than about 100 GB does not fit. */
export const manifestLineBytesMax = 8 * 1024 * 1024;
/** Hashes in one question. */
export const hashesMax = 10_000;

export const hashSchema = z.string().regex(/^[0-9a-f]{64}$/);

/**
 * Path inside the tree: names joined by `/`, none of them empty, `.` or `..`; empty for the root itself (a mount of one
 * file). With `bytes: true` it is base64 of a path that is not UTF-8.
 */
const place = { path: z.string().max(4096 * 2), bytes: z.literal(true).optional() };
const modeSchema = z.int().min(0).max(0o777);

export const manifestEntrySchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("file"),
    ...place,
    mode: modeSchema,
    /** Milliseconds since 1970; kept on the node, so that tools that compare times see no change. */
    mtime: z.number(),
    size: z.int().min(0),
    /** In order; none for an empty file. */
    chunks: z.array(hashSchema),
  }),
  z.strictObject({ type: z.literal("dir"), ...place, mode: modeSchema }),
  /** The target as it was, wherever it leads; nothing is ever written through it. With `bytes`, base64 too. */
  z.strictObject({ type: z.literal("link"), ...place, target: z.string().max(4096 * 2) }),
]);
export type ManifestEntry = z.infer<typeof manifestEntrySchema>;

/** `POST /onprem/files/missing`: which of these chunks this user has not uploaded yet. */
export const missingBodySchema = z.strictObject({ hashes: z.array(hashSchema).max(hashesMax) });
export const missingResultSchema = z.strictObject({ missing: z.array(hashSchema) });

/** `POST /onprem/files/pack` (octet-stream, see packBytesMax): what was stored is on disk when it answers. */
export const packResultSchema = z.strictObject({ stored: z.int() });

/**
 * `POST /onprem/files/manifest` (octet-stream, the manifest's text). With missing chunks nothing is kept and they are named
 * (at most `hashesMax` of them); with none it is on disk under its id, the SHA-256 of the text. `GET /onprem/files/manifest/{id}` answers the same for one that may be there
 * already (404 ClusterFileNotFound when not) and renews its time.
 */
export const manifestResultSchema = z.strictObject({ id: hashSchema, missing: z.array(hashSchema) });

/** `GET /onprem/files`: what the caller's uploads take. */
export const filesUsageSchema = z.strictObject({
  bytes: z.number(),
  quota_bytes: z.number(),
  manifests: z.int(),
  /** Days after their last use for which uploads are kept. */
  keep_days: z.number(),
});

/** `POST /onprem/files/clean`, a request: uploads that no unfinished job needs are forgotten. */
export const cleanBodySchema = z.strictObject({});
export const cleanResultSchema = z.strictObject({ freed_bytes: z.number() });
export type CleanResult = z.infer<typeof cleanResultSchema>;

/** Which manifest holds the files of each local source of a task, by the source's text in the task. In launch and exec bodies. */
export const uploadsSchema = z.record(z.string().max(4096), hashSchema);
export type Uploads = z.infer<typeof uploadsSchema>;

/** What a job needs on its nodes besides scripts, in order; part of its payload. `destination` as in task.ts. */
const destination = z.string().min(1).max(4096);
export const filePlanSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("upload"), destination, manifest: hashSchema }),
  z.strictObject({
    kind: z.literal("git"),
    destination,
    url: z.string().max(4096),
    ref: z.string().max(1024).nullable(),
  }),
  z.strictObject({
    kind: z.literal("uri"),
    destination,
    uri: z.string().max(4096),
    mode: z.enum(["COPY", "MOUNT", "MOUNT_CACHED"]),
    readOnly: z.boolean(),
  }),
  /** `path` is the admin's; the volume's name is for messages. */
  z.strictObject({ kind: z.literal("volume"), destination, name: z.string(), path: z.string(), readOnly: z.boolean() }),
]);
export type FilePlan = z.infer<typeof filePlanSchema>;

/**
 * A node's questions on a `files` stream, one JSON line each; answered one after another by frames of one byte kind, four
 * bytes of length (big-endian) and the bytes: `M` a piece of the manifest, `C` 32 bytes of hash and a chunk, `E` the end of
 * this answer, `X` text: it cannot be given (then the stream ends).
 */
export const filesQuestionSchema = z.discriminatedUnion("get", [
  z.strictObject({ get: z.literal("manifest"), id: hashSchema }),
  z.strictObject({ get: z.literal("chunks"), hashes: z.array(hashSchema).min(1).max(256) }),
]);
export type FilesQuestion = z.infer<typeof filesQuestionSchema>;
export const filesFrameKinds = { manifest: 0x4d, chunk: 0x43, end: 0x45, fault: 0x58 } as const;
export const filesFramePayloadMax = chunkBytes.max + 32;
