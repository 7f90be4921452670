/**
 * Plays what SkyPilot's Python client sends and checks that what comes back is what it reads: the fixtures of
 * test/wire/skypilot-*.json. Values in `<>` stand for anything of that type; `$name` for what an earlier reply gave; keys
 * that are not named may be there, as the client ignores them. For tests; nothing but tests may import this.
 */
import { readdirSync, readFileSync } from "node:fs";
import { type IncomingHttpHeaders, type IncomingMessage, request, type RequestOptions } from "node:http";
import { join } from "node:path";
import { expect } from "vitest";
import { fromBufferPromise } from "yauzl";

export interface Call {
  method: string;
  path: string;
  headers: string;
  body?: string;
  bytes?: string;
  status: number;
  replyHeaders?: Record<string, string>;
  json?: unknown;
  text?: string;
  contains?: string[];
  lacks?: string[];
  first?: unknown;
  zip?: Record<string, string>;
  payload?: "succeeded" | "failed";
  name?: string;
  value?: unknown;
  error?: { type: string; text: string };
  save?: string;
}
/** The client's call, a node that reports, or what its log holds. */
export type Step = Call | { node: string; change: object } | { log: string };

const folder = join(import.meta.dirname, "../wire");
const read = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), "utf8"));
const client = read("skypilot-client.json") as {
  send: Record<string, Record<string, string>>;
  reply: Record<string, string>;
  payload: Record<string, Record<string, unknown>>;
};
/** The names of all fixtures. */
export const fixtures = readdirSync(folder).filter(
  (name) => /^skypilot-.*\.json$/.test(name) && name !== "skypilot-client.json",
);

/** Throws when the value is not of this form; `place` is for the message. */
function mustFit(value: unknown, form: unknown, place: string): void {
  if (form === "<any>") {
    return;
  }
  if (typeof form === "string" && /^<\w+>$/.test(form)) {
    expect(typeof value, place).toBe(form.slice(1, -1));
  } else if (Array.isArray(form)) {
    expect(Array.isArray(value), `${place} is a list`).toBe(true);
    const items = value as unknown[];
    expect(items.length, `length of ${place}: ${JSON.stringify(items).slice(0, 500)}`).toBe(form.length);
    form.forEach((item, index) => mustFit(items[index], item, `${place}[${index}]`));
  } else if (typeof form === "object" && form !== null) {
    expect(typeof value === "object" && value !== null, `${place} is a map: ${JSON.stringify(value)}`).toBe(true);
    for (const [key, item] of Object.entries(form)) {
      mustFit((value as Record<string, unknown>)[key], item, `${place}.${key}`);
    }
  } else {
    expect(value, place).toBe(form);
  }
}

export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  bytes: Buffer;
}

/** Sends one call to where `target` leads, with the headers of the client and those that it has besides. */
export function sendCall(call: Call, target: RequestOptions): Promise<Reply> {
  const headers = { ...client.send[call.headers], ...(target.headers as Record<string, string> | undefined) };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { ...target, method: call.method, path: call.path, headers, agent: false },
      (incoming: IncomingMessage) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () =>
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, bytes: Buffer.concat(chunks) }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(call.bytes === undefined ? (call.body ?? "") : Buffer.from(call.bytes, "base64"));
  });
}

/** Text without colours. */
function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours start with a control character
  return text.replaceAll(/\u001b\[[0-9;]*m/g, "");
}

async function zipped(bytes: Buffer): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const zip = await fromBufferPromise(bytes);
  for await (const entry of zip.eachEntry()) {
    const chunks: Buffer[] = [];
    for await (const chunk of await zip.openReadStreamPromise(entry)) {
      chunks.push(chunk as Buffer);
    }
    found.set(entry.fileName, Buffer.concat(chunks).toString());
  }
  return found;
}

function checkPayload(call: Call, payload: Record<string, unknown>, id: string, caller: object): void {
  const { payload: kind = "succeeded" } = call;
  mustFit(payload, { ...client.payload[kind], ...caller, request_id: id, name: call.name }, "payload");
  if (call.error !== undefined) {
    const error = JSON.parse(String(payload["error"])) as Record<string, unknown>;
    mustFit(error, { object: "<string>", type: call.error.type, message: "<string>" }, "error");
    const pickled = Buffer.from(String(error["object"]), "base64").toString();
    expect(pickled).toContain(call.error.type);
    expect(pickled).toContain(call.error.text === "<string>" ? String(error["message"]) : call.error.text);
  } else {
    mustFit(JSON.parse(String(payload["return_value"])), call.value, "return value");
  }
}

async function check(call: Call, reply: Reply, caller: object): Promise<void> {
  const text = reply.bytes.toString("utf8");
  expect(reply.status, text.slice(0, 1000)).toBe(call.status);
  const wanted = { ...client.reply, ...call.replyHeaders };
  mustFit(reply.headers, wanted, "headers");
  if (call.json !== undefined) {
    mustFit(JSON.parse(text), call.json, "reply");
  }
  if (call.text !== undefined) {
    mustFit(text, call.text, "text");
  }
  if (call.first !== undefined) {
    mustFit((JSON.parse(text) as unknown[])[0], call.first, "first row");
  }
  for (const part of call.contains ?? []) {
    expect(plain(text)).toContain(part);
  }
  for (const part of call.lacks ?? []) {
    expect(plain(text)).not.toContain(part);
  }
  if (call.contains !== undefined && text !== "") {
    // The client shows whole lines only.
    expect(text.endsWith("\n")).toBe(true);
  }
  for (const [name, content] of Object.entries(call.zip ?? {})) {
    expect((await zipped(reply.bytes)).get(name)).toBe(content);
  }
  if (call.payload !== undefined) {
    const parsed = JSON.parse(text) as { detail?: unknown };
    const id = new URLSearchParams(call.path.split("?")[1]).get("request_id") ?? "";
    checkPayload(call, (call.status === 500 ? parsed.detail : parsed) as Record<string, unknown>, id, caller);
  }
}

export interface Stage {
  /** Where calls go, such as `{ socketPath }`. */
  target: RequestOptions;
  user: string;
  userHash: string;
  /** What a fixture says of nodes and logs; absent: real ones do that. */
  arrange?: (step: Exclude<Step, Call>) => Promise<void>;
}

/** Plays one fixture from its first call to its last. */
export async function playFixture(name: string, stage: Stage): Promise<void> {
  const saved = new Map([
    ["user", stage.user],
    ["user_hash", stage.userHash],
  ]);
  const fill = (text: string): string => text.replaceAll(/\$(\w+)/g, (whole, key: string) => saved.get(key) ?? whole);
  const caller = { user_id: stage.userHash, user_name: stage.user };
  for (const step of (read(name) as { calls: Step[] }).calls) {
    if (!("method" in step)) {
      await stage.arrange?.(step);
      continue;
    }
    const call = JSON.parse(fill(JSON.stringify(step))) as Call;
    const reply = await sendCall(call, stage.target);
    const id = reply.headers["x-skypilot-request-id"];
    if (typeof id === "string") {
      saved.set(call.save ?? "request", id);
    }
    await check(call, reply, caller);
  }
}
