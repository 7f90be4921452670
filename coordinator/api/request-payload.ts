/**
 * A request as SkyPilot's clients read it. Pure. Called by the routes that give requests out.
 */
import type { RequestPayload } from "../../shared/api.ts";
import type { Uid } from "../../shared/ids.ts";
import { pickledError, pickledNone } from "./pickle.ts";
import type { RequestEntry } from "./request-entry.ts";

/** `user_hash` and `user_id` of SkyPilot's records: eight hexadecimal digits, here of the uid, which is what names a user. */
export function userHash(uid: Uid): string {
  return uid.toString(16).padStart(8, "0");
}

/** The payload of `/api/get`; `readable` gives the form of `/api/status`, in which nothing is pickled. */
export function payloadOf(entry: RequestEntry, readable: boolean): RequestPayload {
  const error = entry.error;
  return {
    request_id: entry.id,
    name: `sky.${entry.spec.name}`,
    entrypoint: readable ? entry.spec.name : pickledNone,
    request_body: readable ? "{}" : pickledNone,
    status: entry.status,
    created_at: entry.createdAt / 1000,
    user_id: userHash(entry.spec.account.uid),
    user_name: entry.spec.account.name,
    return_value: readable ? "null" : JSON.stringify(entry.result ?? null),
    error:
      error === null
        ? "null"
        : JSON.stringify({
            object: pickledError(error.type, error.hint === null ? error.message : `${error.message}\n${error.hint}`),
            type: error.type,
            message: error.message,
            hint: error.hint,
          }),
    pid: null,
    schedule_type: entry.spec.readOnly ? "short" : "long",
    cluster_name: entry.spec.cluster,
    status_msg: null,
    should_retry: error?.type === "ServerUnavailableError",
    finished_at: entry.finishedAt === null ? null : entry.finishedAt / 1000,
  };
}
