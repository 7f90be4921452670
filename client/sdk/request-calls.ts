/**
 * The calls about requests themselves: wait for a result, follow a request's text, list, cancel, and who answers at all.
 * Ids may be shortened to a part that no other request of the caller begins with. It must never print. Used by
 * client/commands/api.ts and by the public SDK.
 */
import * as z from "zod";
import { type RequestPayload, requestPayloadSchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { failureOf, replyFailure, parseJson } from "./replies.ts";
import { callHeaders, type Patience, persist, read, submit } from "./requests.ts";
import { LostConnection, type Transport } from "./transport.ts";

/** Who answers. */
const apiInfoSchema = z.object({
  status: z.string(),
  /** Why it is not healthy; null: it is. */
  message: z.string().nullish(),
  api_version: z.string(),
  version: z.string(),
  commit: z.string(),
  user: z.object({ id: z.string(), name: z.string() }).nullish(),
  cluster: z.string().nullish(),
});
export type ApiInfo = z.infer<typeof apiInfoSchema>;

export interface StatusQuery {
  /** Whole or shortened ids; null: all of the caller's. */
  ids: readonly string[] | null;
  /** Those that have ended too. Default with ids: as if true. */
  all: boolean;
  /** Most rows; null: no limit. */
  limit: number | null;
}

export interface RequestCalls {
  /** Waits for the request's end. Resolves with its value; rejects with the error that it ended with. */
  get(requestId: string): Promise<unknown>;
  /** Hands over the request's text as it comes, then as get. Ends early, with null, when `signal` fires. */
  streamAndGet(requestId: string, write: (chunk: Buffer) => Promise<void>, options?: StreamOptions): Promise<unknown>;
  /** Newest first. */
  apiStatus(query: StatusQuery): Promise<RequestPayload[]>;
  /** Whole ids of those that were under way and are cancelled now; null: all of the caller's. */
  apiCancel(ids: readonly string[] | null): Promise<string[]>;
  apiInfo(): Promise<ApiInfo>;
  /** Ends the connection. */
  close(): void;
}

export interface StreamOptions {
  /** Go on until the request ends (default: true); else only the text that there is, and null. */
  follow?: boolean;
  signal?: AbortSignal;
}

const limitMs = 10_000;
/** A request may wait for jobs to end. */
const resultSilenceMs = 300_000;
const errorTextMax = 64 * 1024;

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createRequestCalls(transport: Transport, say: (text: string) => void): RequestCalls {
  const patience: Patience = { limitMs, say, afterGivingUp: null };
  const get = (requestId: string): Promise<unknown> => persist(transport, patience, () => result(transport, requestId));
  return {
    get,
    async streamAndGet(requestId, write, options = {}) {
      const { follow = true, signal = new AbortController().signal } = options;
      let sent = 0;
      await persist(transport, patience, async () => {
        sent = await stream(transport, { requestId, follow, signal, skip: sent }, write);
      });
      return follow && !signal.aborted ? get(requestId) : null;
    },
    apiStatus({ ids, all, limit }) {
      const query = new URLSearchParams({ all_status: String(all), ...(limit === null ? {} : { limit: `${limit}` }) });
      for (const id of ids ?? []) {
        query.append("request_ids", id);
      }
      return read(transport, `/api/status?${query.toString()}`, z.array(requestPayloadSchema), patience);
    },
    apiCancel: (ids) => submit(transport, "/api/cancel", { request_ids: ids }, z.array(z.string()), patience),
    apiInfo: () => read(transport, "/api/health", apiInfoSchema, patience),
    close: () => transport.close(),
  };
}

async function result(transport: Transport, requestId: string): Promise<unknown> {
  const path = `/api/get?request_id=${encodeURIComponent(requestId)}`;
  const call = { method: "GET", path, body: null, headers: callHeaders(), silenceMs: resultSilenceMs } as const;
  const reply = await transport.call(call);
  if (reply.status !== 200) {
    throw unknownOr(requestId, transport.clusterName, reply.status, reply.text);
  }
  const payload = requestPayloadSchema.safeParse(parseJson(reply.text));
  if (!payload.success) {
    throw new SkyError(
      "InternalError",
      `Cluster '${transport.clusterName}' answered in a form that is not known here.`,
    );
  }
  if (payload.data.status !== "SUCCEEDED") {
    throw failureOf(payload.data.error, payload.data.status);
  }
  return parseJson(payload.data.return_value);
}

function unknownOr(requestId: string, cluster: string, status: number, text: string): Error {
  if (status === 404) {
    const hint = "`sky api status -a` lists yours; they are kept for a day.";
    return new SkyError("ValueError", `Cluster '${cluster}' knows no request '${requestId}' of yours.`, hint);
  }
  return replyFailure(cluster, status, text);
}

interface Streaming {
  requestId: string;
  follow: boolean;
  signal: AbortSignal;
  /** Bytes that were handed over before a cut. */
  skip: number;
}

/** One stream of a request's text; resolves with how many bytes of it have been handed over in all. */
async function stream(
  transport: Transport,
  { requestId, follow, signal, skip }: Streaming,
  write: (chunk: Buffer) => Promise<void>,
): Promise<number> {
  const path = `/api/stream?request_id=${encodeURIComponent(requestId)}&follow=${String(follow)}`;
  const reply = await transport.open({ method: "GET", path, body: null, headers: callHeaders(), silenceMs: null });
  let seen = 0;
  let text = "";
  const stop = (): void => void reply.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      if (reply.statusCode !== 200) {
        text = (text + chunk.toString("utf8")).slice(0, errorTextMax);
        continue;
      }
      const fresh = chunk.subarray(Math.max(0, Math.min(chunk.length, skip - seen)));
      seen += chunk.length;
      if (fresh.length > 0) {
        await write(fresh);
      }
    }
  } catch (error) {
    if (!signal.aborted) {
      throw new LostConnection(error, "coordinator");
    }
  } finally {
    signal.removeEventListener("abort", stop);
  }
  if (reply.statusCode !== 200) {
    throw unknownOr(requestId, transport.clusterName, reply.statusCode ?? 0, text);
  }
  return Math.max(seen, skip);
}
