/**
 * Asks a policy server by HTTP, in SkyPilot's wire format, and turns every outcome but a changed request into a refusal
 * with SkyPilot's text. One time limit holds for the whole exchange, one size for the reply, and no redirect leads to
 * another server. It must never show credentials of the URL. Called by coordinator/policy and client/policy.
 */
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { PolicyPlace } from "../../shared/admin-policy/names.ts";
import { callFailed, decodeFailed, rejectedByUrl } from "../../shared/admin-policy/outcomes.ts";
import {
  bodyOf,
  type PolicyAnswer,
  type PolicyQuestion,
  policyBytesMax,
  questionText,
  readAnswer,
  WireFault,
} from "../../shared/admin-policy/wire.ts";

/** SkyPilot's. Milliseconds. */
export const policyServerLimitMs = 30_000;
/** A server that only adds a slash does so once. */
const redirectsMax = 2;

export interface AskOptions {
  limitMs: number;
  signal: AbortSignal;
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > policyBytesMax) {
      throw new Error(`its answer is over ${policyBytesMax / 1024 / 1024} MB`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Credentials of the URL as the header that they stand for: `fetch` takes no such URL. */
function targetOf(text: string): { url: URL; headers: Record<string, string> } {
  const url = new URL(text);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  const words = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const isNamed = username !== "" || password !== "";
  return { url, headers: isNamed ? { Authorization: `Basic ${Buffer.from(words).toString("base64")}` } : {} };
}

async function post(text: string, body: string, signal: AbortSignal): Promise<{ status: number; text: string }> {
  const target = targetOf(text);
  let { url } = target;
  for (let redirects = 0; ; redirects += 1) {
    const headers = { "Content-Type": "application/json", Accept: "application/json", ...target.headers };
    const response = await fetch(url, { method: "POST", body, headers, redirect: "manual", signal });
    const location = response.headers.get("location");
    if (![307, 308].includes(response.status) || location === null) {
      return { status: response.status, text: await boundedText(response) };
    }
    await response.body?.cancel();
    const next = new URL(location, url);
    if (next.origin !== url.origin || redirects >= redirectsMax) {
      throw new Error(`${response.status}: it points to another address, which is not followed`);
    }
    url = next;
  }
}

/** The innermost reason: `fetch` says only that it failed. */
function causeOf(error: unknown): string {
  let inner = error;
  for (let depth = 0; depth < 5 && inner instanceof Error && inner.cause !== undefined; depth += 1) {
    inner = inner.cause;
  }
  const message = messageOf(inner);
  const code = inner instanceof Error && "code" in inner ? String(inner.code) : "unknown error";
  return message === "" ? code : message;
}

/** The changed request. Rejects with SkyError("UserRequestRejectedByPolicy") for everything else. */
export async function askPolicyServer(
  place: PolicyPlace & { kind: "url" },
  question: PolicyQuestion,
  { limitMs, signal }: AskOptions,
): Promise<PolicyAnswer> {
  const { shown, shownUrl } = place;
  const late = AbortSignal.timeout(limitMs);
  let reply: { status: number; text: string };
  try {
    reply = await post(place.url, bodyOf(questionText(question)), AbortSignal.any([late, signal]));
  } catch (error) {
    signal.throwIfAborted();
    const cause = late.aborted ? `it did not answer within ${limitMs / 1000} s (read timeout)` : causeOf(error);
    throw callFailed(shown, shownUrl, cause);
  }
  if (reply.status === 400) {
    throw rejectedByUrl(shownUrl, reply.text);
  }
  if (reply.status !== 200) {
    throw callFailed(shown, shownUrl, `it answered with status ${reply.status}: ${reply.text.slice(0, 300)}`);
  }
  try {
    return readAnswer(reply.text);
  } catch (error) {
    if (error instanceof WireFault || error instanceof SkyError) {
      throw decodeFailed(shown, shownUrl, error instanceof WireFault ? error.type : error.name, error.message);
    }
    throw error;
  }
}
