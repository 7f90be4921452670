/**
 * Policies by way of the API, as a given user: the user's own process on the coordinator's socket, so that who asks is
 * what the kernel says. Used by the end-to-end tests of policies.
 */
import { attack } from "./attack.ts";
import type { TestUser } from "./users.ts";

export interface Answer {
  /** Of the reply, or of the request's result. */
  status: number;
  /** What a GET or a finished request has answered. */
  value: unknown;
  /** Type and message of a refusal or a failed request; empty: there was none. */
  error: string;
  /** What the request printed. */
  text: string;
}

interface Raw {
  first: { status: number; headers: Record<string, string>; body: string };
  result: { status: number; body: string } | null;
  text: string;
}

const source = `
  const first = await call(arg.api, arg.method, arg.path, arg.body, arg.headers);
  const id = first.headers["x-skypilot-request-id"];
  const asked = arg.method === "POST" && id !== undefined;
  const ended = asked ? await call(arg.api, "GET", "/api/get?request_id=" + id) : null;
  const stream = asked ? await call(arg.api, "GET", "/api/stream?request_id=" + id) : null;
  report({ first, result: ended, text: stream?.body ?? "" });`;

/** One call; a POST is waited for to its end. */
export async function ask(
  user: TestUser,
  api: string,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { first, result, text } = await attack<Raw>(user, { api, method, path, body, headers }, source);
  const { status, body: reply } = result ?? first;
  const json = JSON.parse(reply === "" ? "null" : reply) as Record<string, unknown> | null;
  if (status !== 200) {
    return { status, value: null, error: errorIn(json?.["detail"]), text };
  }
  const value = result === null ? json : (JSON.parse(String(json?.["return_value"])) as unknown);
  return { status, value, error: "", text };
}

/** As an admin: throws where the call does not succeed. */
export async function change<T>(user: TestUser, api: string, path: string, body: unknown): Promise<T> {
  const { value, error } = await ask(user, api, "POST", `/onprem/policies/${path}`, body);
  if (error !== "") {
    throw new Error(`${path}: ${error}`);
  }
  return value as T;
}

function errorIn(detail: unknown): string {
  const failed = detail as { error?: string; type?: string; message?: string } | undefined;
  const error = failed?.error === undefined ? failed : (JSON.parse(failed.error) as { type: string; message: string });
  return `${error?.type ?? ""}: ${error?.message ?? JSON.stringify(detail)}`;
}
