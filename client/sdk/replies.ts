/**
 * Reads what the coordinator answers when something is wrong, and turns it into the SkyError that the person sees.
 * Everything from the wire goes through a schema. Pure. Used by sdk/requests.ts and sdk/follow.ts.
 */
import * as z from "zod";
import { requestErrorSchema, requestPayloadSchema } from "../../shared/api.ts";
import { SkyError, type SkyErrorType } from "../../shared/errors.ts";
import { printable } from "../../shared/printable.ts";

/** By name, so that none is left out: one that is not known here comes from a newer coordinator. */
const knownTypes: Readonly<Record<SkyErrorType, true>> = {
  ...{ ValueError: true, InvalidTaskError: true, InvalidPolicyError: true, ResourcesMismatchError: true },
  ...{ ClusterDoesNotExist: true, ClusterNotUpError: true, JobNotFoundError: true, RequestCancelled: true },
  ...{ NotSupportedError: true, PermissionDeniedError: true, UserRequestRejectedByPolicy: true },
  ...{ ServerUnavailableError: true, ConnectionError: true, InternalError: true },
};

/** The coordinator cannot serve just now (Redis away, starting, disk full): the same call may be tried again. */
export class Unavailable extends Error {
  readonly hint: string | null;

  constructor(message: string, hint: string | null) {
    super(message.replace(/\.$/, ""));
    this.hint = hint;
  }
}

/** JSON text as a value; undefined when it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function known(type: string): SkyErrorType {
  return Object.hasOwn(knownTypes, type) ? (type as SkyErrorType) : "InternalError";
}

/** A failure by its type: the coordinator being unable to serve is something to try again. Its texts may be a node's. */
function failure(type: SkyErrorType, saidMessage: string, saidHint: string | null): SkyError | Unavailable {
  const message = printable(saidMessage);
  const hint = saidHint === null ? null : printable(saidHint);
  return type === "ServerUnavailableError" ? new Unavailable(message, hint) : new SkyError(type, message, hint);
}

/** The failure that a finished request carries. */
export function failureOf(errorText: string, status: string): SkyError | Unavailable {
  const parsed = requestErrorSchema.safeParse(parseJson(errorText));
  if (parsed.success) {
    return failure(known(parsed.data.type), parsed.data.message, parsed.data.hint);
  }
  return status === "CANCELLED"
    ? new SkyError("RequestCancelled", "The request was cancelled.")
    : new SkyError("InternalError", "The coordinator reported a failure without saying which.");
}

const bodySchema = z.union([
  z.object({ detail: requestPayloadSchema }),
  z.object({ detail: z.object({ type: z.string(), message: z.string(), hint: z.string().nullish() }) }),
  z.object({ detail: z.string() }),
  z.object({ message: z.string() }),
]);

function typeOf(status: number): SkyErrorType {
  switch (status) {
    case 401:
    case 403:
      return "PermissionDeniedError";
    case 429:
    case 503:
      return "ServerUnavailableError";
    case 400:
    case 413:
    case 422:
      return "ValueError";
    default:
      return "InternalError";
  }
}

/** The error of any reply whose status is not 200. */
export function replyFailure(clusterName: string, status: number, text: string): SkyError | Unavailable {
  const parsed = bodySchema.safeParse(parseJson(text));
  if (!parsed.success) {
    return failure(typeOf(status), `Cluster '${clusterName}' answered with HTTP status ${status}`, null);
  }
  const body = parsed.data;
  if (!("detail" in body)) {
    return failure(typeOf(status), body.message, null);
  }
  if (typeof body.detail === "string") {
    return failure(typeOf(status), body.detail, null);
  }
  if ("request_id" in body.detail) {
    return failureOf(body.detail.error, body.detail.status);
  }
  const byStatus = typeOf(status);
  const type = byStatus === "ServerUnavailableError" ? byStatus : known(body.detail.type);
  return failure(type, body.detail.message, body.detail.hint ?? null);
}
