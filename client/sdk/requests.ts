/**
 * One API request from sending to result: POST, then GET /api/get on the same stream. A connection that is lost before
 * the reply is made again and the call is sent again with the SAME request id, so that the coordinator takes it once.
 * It must never retry what the coordinator refused. Used by sdk/calls.ts and sdk/follow.ts.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import { apiBodyBytesMax, apiVersion, headers, requestPayloadSchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { version } from "../../shared/version.ts";
import { failureOf, parseJson, replyFailure, Unavailable } from "./replies.ts";
import { LostConnection, type Transport } from "./transport.ts";

/** How patient a call is, and whom it tells. */
export interface Patience {
  /** Milliseconds of trying again after the first failure. */
  limitMs: number;
  /** Called for each failure that is tried again, with a text for the person. */
  say(text: string): void;
  /** What the person should know when it was given up; null: nothing more. */
  afterGivingUp: string | null;
  /** The call changes something: over a transport that leaves such calls nobody waits for its result. */
  changes?: true;
}

/** A call was taken, and the caller had said not to wait for its result: `sky api logs` and `get` know it by this id. */
export class RequestTaken extends Error {
  readonly clusterName: string;
  readonly requestId: string;
  /** As `sky api status` names it, without `sky.`. */
  readonly requestName: string;

  constructor(clusterName: string, requestId: string, path: string) {
    super(`request ${requestId} was taken`);
    this.clusterName = clusterName;
    this.requestId = requestId;
    this.requestName = path.replace(/^\/(onprem\/)?/, "").replaceAll("/", ".");
  }
}

const replySilenceMs = 30_000;
/** `/api/get` holds until the request is done; ending a user's jobs takes its grace time. */
const resultSilenceMs = 300_000;

/** Milliseconds that a coordinator is given to start. */
const startLimitMs = 5_000;

/** Milliseconds between two lines about the same trouble. */
const sayEveryMs = 5_000;

/** The request id that the coordinator has forgotten (it was restarted): send the call again. */
class Forgotten extends Error {}

/** Headers of every call. */
export function callHeaders(): Record<string, string> {
  return { [headers.apiVersion]: String(apiVersion), [headers.version]: version };
}

function isPassing(error: unknown): error is LostConnection | Unavailable | Forgotten {
  if (error instanceof LostConnection) {
    return error.reached !== "nowhere" && error.sky?.type !== "NotSupportedError";
  }
  return error instanceof Unavailable || error instanceof Forgotten;
}

/** A coordinator that never answered may be starting; if it is not, waiting long helps nobody. */
function limitFor(error: LostConnection | Unavailable | Forgotten, patience: Patience): number {
  const silent = error instanceof LostConnection && error.reached === "head";
  return silent ? Math.min(patience.limitMs, startLimitMs) : patience.limitMs;
}

/** What the person sees instead of an adapter's error. */
export function explained(clusterName: string, error: unknown, patience: Patience, triedMs: number): unknown {
  if (error instanceof LostConnection) {
    const { sky } = error;
    if (sky !== null) {
      const wasCut = error.reached === "coordinator" && patience.afterGivingUp !== null;
      return wasCut ? new SkyError(sky.type, `The connection was lost. ${sky.message}`, patience.afterGivingUp) : sky;
    }
    if (error.reached === "nowhere") {
      const hint = "`sky check` says what is wrong with each of your clusters.";
      return new SkyError("ConnectionError", `Cannot connect to cluster '${clusterName}': ${error.message}.`, hint);
    }
    return new SkyError(
      "ConnectionError",
      `Lost the connection to cluster '${clusterName}': ${error.message}. ` +
        `Gave up after ${Math.round(triedMs / 1000)} s.`,
      patience.afterGivingUp ?? "Check with `sky check` whether its coordinator answers, and try again.",
    );
  }
  if (error instanceof Unavailable || error instanceof Forgotten) {
    return new SkyError(
      "ServerUnavailableError",
      `The coordinator of cluster '${clusterName}' cannot serve now: ${error.message}.`,
      (error instanceof Unavailable ? error.hint : null) ??
        patience.afterGivingUp ??
        "Try again in a moment; if it stays so, tell the cluster's admin.",
    );
  }
  return error;
}

/** Does `attempt` until it works, is refused, or the patience ends. */
export async function persist<T>(transport: Transport, patience: Patience, attempt: () => Promise<T>): Promise<T> {
  let failedAt: number | null = null;
  let sayAgainAt = 0;
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      const now = performance.now();
      failedAt ??= now;
      const triedMs = now - failedAt;
      // What was refused says nothing of the connection, on which other calls may be under way.
      if (error instanceof LostConnection) {
        transport.close();
      }
      if (!isPassing(error) || triedMs >= limitFor(error, patience)) {
        throw explained(transport.clusterName, error, patience, triedMs);
      }
      if (now >= sayAgainAt) {
        sayAgainAt = now + sayEveryMs;
        const left = Math.max(1, Math.ceil((limitFor(error, patience) - triedMs) / 1000));
        patience.say(
          `Cluster '${transport.clusterName}': ${error.message}; trying again (for up to ${left} s more)...`,
        );
      }
      await delay(Math.min(100 * 2 ** tries, 2000));
    }
  }
}

/** GET /api/get: the value of a finished request. Throws the failure it ended with; Forgotten when it is unknown. */
export async function fetchResult<T>(transport: Transport, requestId: string, schema: z.ZodType<T>): Promise<T> {
  const reply = await transport.call({
    method: "GET",
    path: `/api/get?request_id=${encodeURIComponent(requestId)}`,
    body: null,
    headers: callHeaders(),
    silenceMs: resultSilenceMs,
  });
  if (reply.status === 404) {
    throw new Forgotten("it was restarted meanwhile");
  }
  if (reply.status !== 200) {
    throw replyFailure(transport.clusterName, reply.status, reply.text);
  }
  const payload = requestPayloadSchema.safeParse(parseJson(reply.text));
  if (payload.success && payload.data.status !== "SUCCEEDED") {
    throw failureOf(payload.data.error, payload.data.status);
  }
  return checked(transport, schema, payload.success ? parseJson(payload.data.return_value) : undefined);
}

function checked<T>(transport: Transport, schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    throw new SkyError(
      "InternalError",
      `The coordinator of cluster '${transport.clusterName}' answered in a form that this client does not know.`,
      "Client and coordinator may be of different versions: compare `sky --version` with the admin's.",
    );
  }
  return parsed.data;
}

/** Hears the request's id each time the coordinator has taken it, before its result is waited for. */
export type Accepted = (requestId: string) => void;

/** POSTs a call and waits for its result. */
export async function submit<T>(
  transport: Transport,
  path: string,
  body: unknown,
  schema: z.ZodType<T>,
  patience: Patience,
  accepted: Accepted = () => undefined,
): Promise<T> {
  const requestId = randomUUID();
  const text = JSON.stringify(body);
  if (Buffer.byteLength(text) > apiBodyBytesMax) {
    throw new SkyError("ValueError", "The task is over 20 MB.", "Put large data into files, not into the task.");
  }
  return persist(transport, patience, async () => {
    const reply = await transport.call({
      method: "POST",
      path,
      body: text,
      headers: { ...callHeaders(), [headers.requestId]: requestId },
      silenceMs: replySilenceMs,
    });
    if (reply.status !== 200) {
      throw replyFailure(transport.clusterName, reply.status, reply.text);
    }
    const named = reply.headers[headers.requestId.toLowerCase()];
    const id = typeof named === "string" ? named : requestId;
    accepted(id);
    if (transport.leavesRequests && patience.changes === true) {
      throw new RequestTaken(transport.clusterName, id, path);
    }
    return fetchResult(transport, id, schema);
  });
}

/** GETs one of our own routes, whose reply is the result. */
export async function read<T>(
  transport: Transport,
  path: string,
  schema: z.ZodType<T>,
  patience: Patience,
): Promise<T> {
  return persist(transport, patience, async () => {
    const reply = await transport.call({
      method: "GET",
      path,
      body: null,
      headers: callHeaders(),
      silenceMs: replySilenceMs,
    });
    if (reply.status !== 200) {
      throw replyFailure(transport.clusterName, reply.status, reply.text);
    }
    return checked(transport, schema, parseJson(reply.text));
  });
}
