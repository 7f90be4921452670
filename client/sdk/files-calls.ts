/**
 * The API of uploaded files as typed functions (bodies and results: shared/files.ts). Everything here may be sent again:
 * what is named by its hash is the same whoever sends it how often. It must never read files. Used by client/files.
 */
import type { z } from "zod";
import { SkyError } from "../../shared/errors.ts";
import {
  type CleanResult,
  cleanResultSchema,
  filesUsageSchema,
  manifestResultSchema,
  missingResultSchema,
  packResultSchema,
} from "../../shared/files.ts";
import { parseJson, replyFailure } from "./replies.ts";
import { callHeaders, type Patience, persist, read, submit } from "./requests.ts";
import type { HttpCall, HttpReply, Transport } from "./transport.ts";

export type FilesUsage = z.infer<typeof filesUsageSchema>;
export type ManifestResult = z.infer<typeof manifestResultSchema>;

/** The calls about one's own uploads. Every function rejects with a SkyError whose text is meant for the person. */
export interface FilesCalls {
  /** What is missing of a manifest that was uploaded before; null: it was not, or is gone. */
  manifest(id: string): Promise<ManifestResult | null>;
  /** Which of these chunks are not there yet; at most `hashesMax`. */
  missing(hashes: readonly string[]): Promise<string[]>;
  /** Chunks, each as 32 bytes of hash, 4 bytes of length and its bytes; on disk when it resolves. */
  sendPack(pieces: readonly Uint8Array[], sent: (bytes: number) => void): Promise<void>;
  /** With missing chunks nothing was kept. */
  sendManifest(pieces: readonly Uint8Array[], sent: (bytes: number) => void): Promise<ManifestResult>;
  usage(): Promise<FilesUsage>;
  /** Forgets what no unfinished job needs; a request, as `Patience.changes` has it. */
  clean(): Promise<CleanResult>;
}

/** Milliseconds of trying again after a connection was lost. */
const uploadLimitMs = 60_000;
/** Milliseconds without a byte in either direction; a line may be slow and a disk busy. */
const silenceMs = 120_000;

function resultOf<T>(transport: Transport, reply: HttpReply, schema: z.ZodType<T>): T {
  if (reply.status !== 200) {
    throw replyFailure(transport.clusterName, reply.status, reply.text);
  }
  const parsed = schema.safeParse(parseJson(reply.text));
  if (!parsed.success) {
    throw new SkyError(
      "InternalError",
      `The coordinator of cluster '${transport.clusterName}' answered an upload in a form that this client does not know.`,
      "Client and coordinator may be of different versions: compare `sky --version` with the admin's.",
    );
  }
  return parsed.data;
}

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createFilesCalls(transport: Transport, say: (text: string) => void): FilesCalls {
  const patience: Patience = {
    limitMs: uploadLimitMs,
    say,
    afterGivingUp: "What was uploaded so far is kept: the same command goes on where this one stopped.",
  };
  const call = (
    method: HttpCall["method"],
    path: string,
    body: string | readonly Uint8Array[] | null,
    sent?: (bytes: number) => void,
  ): Promise<HttpReply> =>
    persist(transport, patience, async () => {
      let taken = 0;
      try {
        const count = (bytes: number): void => {
          taken += bytes;
          sent?.(bytes);
        };
        const reply = await transport.call({ method, path, body, sent: count, headers: callHeaders(), silenceMs });
        // A coordinator that cannot serve now is asked again like one that was lost.
        const failed = reply.status === 503 || reply.status === 429;
        if (failed) {
          throw replyFailure(transport.clusterName, reply.status, reply.text);
        }
        return reply;
      } catch (error) {
        sent?.(-taken);
        throw error;
      }
    });
  return {
    async manifest(id) {
      const reply = await call("GET", `/onprem/files/manifest/${id}`, null);
      return reply.status === 404 ? null : resultOf(transport, reply, manifestResultSchema);
    },
    async missing(hashes) {
      const reply = await call("POST", "/onprem/files/missing", JSON.stringify({ hashes }));
      return resultOf(transport, reply, missingResultSchema).missing;
    },
    async sendPack(pieces, sent) {
      resultOf(transport, await call("POST", "/onprem/files/pack", pieces, sent), packResultSchema);
    },
    async sendManifest(pieces, sent) {
      return resultOf(transport, await call("POST", "/onprem/files/manifest", pieces, sent), manifestResultSchema);
    },
    usage: () => read(transport, "/onprem/files", filesUsageSchema, patience),
    clean: () =>
      submit(transport, "/onprem/files/clean", {}, cleanResultSchema, {
        ...patience,
        afterGivingUp: null,
        changes: true,
      }),
  };
}
