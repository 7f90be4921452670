/**
 * What the store holds of mutating API requests: each request's record, and until it has ended the body that it was made
 * with, so that a coordinator that starts again can carry it out. Both lie sealed under the store's key, bound to user and
 * id: a task's text holds secrets. It must never write either in the clear. Part of the store; called by
 * coordinator/store.ts only.
 */
import * as z from "zod";
import { messageOf } from "../shared/errors.ts";
import { type RequestId, requestIdSchema, timeSchema, type Uid, uidSchema } from "../shared/ids.ts";
import type { Log } from "./log.ts";
import type { RequestStore, StoredRequest } from "./parts.ts";
import { failOnError } from "./queue-records.ts";
import type { RedisLink } from "./redis.ts";
import type { Secrets } from "./secrets.ts";

/** `UID/ID` → sealed record; `UID/ID` → sealed body, only of what has not ended. */
export const requestsKey = "sky-requests";
export const requestBodiesKey = "sky-request-bodies";
/** Records that are read in one round trip. */
const pageSize = 200;

const storedRequestSchema = z.strictObject({
  id: requestIdSchema,
  uid: uidSchema,
  user: z.string().max(200),
  name: z.string().max(100),
  path: z.string().max(200),
  cluster: z.string().nullable(),
  createdAt: timeSchema,
  status: z.enum(["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]),
  resolved: z.string().nullable(),
  result: z.string(),
  error: z.strictObject({ type: z.string(), message: z.string(), hint: z.string().nullable() }).nullable(),
  text: z.string(),
  finishedAt: timeSchema.nullable(),
  tries: z.int().min(0).exactOptional(),
});

const fieldOf = (uid: Uid, id: RequestId): string => `${uid}/${id}`;
const recordContext = (field: string): string => `request ${field}`;
const bodyContext = (field: string): string => `request body ${field}`;

export class RequestRecords implements RequestStore {
  readonly #link: RedisLink;
  readonly #secrets: Secrets;
  readonly #log: Log;

  constructor(link: RedisLink, secrets: Secrets, log: Log) {
    this.#link = link;
    this.#secrets = secrets;
    this.#log = log;
  }

  begin(request: StoredRequest, body: string): Promise<void> {
    const field = fieldOf(request.uid, request.id);
    return this.#link.run("storing a request", async () => {
      const transaction = this.#link.client.multi();
      transaction.hset(requestsKey, field, this.#sealed(field, request));
      transaction.hset(requestBodiesKey, field, this.#secrets.seal(body, bodyContext(field)));
      failOnError(await transaction.exec());
    });
  }

  async save(request: StoredRequest): Promise<void> {
    const field = fieldOf(request.uid, request.id);
    await this.#link.run("storing a request", () =>
      this.#link.client.hset(requestsKey, field, this.#sealed(field, request)),
    );
  }

  end(request: StoredRequest): Promise<void> {
    const field = fieldOf(request.uid, request.id);
    return this.#link.run("storing a request's end", async () => {
      const transaction = this.#link.client.multi();
      transaction.hset(requestsKey, field, this.#sealed(field, request));
      transaction.hdel(requestBodiesKey, field);
      failOnError(await transaction.exec());
    });
  }

  async drop(requests: readonly Pick<StoredRequest, "uid" | "id">[]): Promise<void> {
    const fields = requests.map(({ uid, id }) => fieldOf(uid, id));
    if (fields.length > 0) {
      await this.#dropFields(fields);
    }
  }

  async all(): Promise<{ request: StoredRequest; body: "kept" | "gone" }[]> {
    const { client } = this.#link;
    const [fields, bodies] = await this.#link.run("reading requests", () =>
      Promise.all([client.hkeys(requestsKey), client.hkeys(requestBodiesKey)]),
    );
    const [known, kept] = [new Set(fields), new Set(bodies)];
    const found: { request: StoredRequest; body: "kept" | "gone" }[] = [];
    const damaged: string[] = bodies.filter((field) => !known.has(field));
    for (let start = 0; start < fields.length; start += pageSize) {
      const page = fields.slice(start, start + pageSize);
      const texts = await this.#link.run("reading requests", () => client.hmgetBuffer(requestsKey, ...page));
      for (const [index, field] of page.entries()) {
        const request = this.#read(field, texts[index] ?? null);
        if (request === null) {
          damaged.push(field);
        } else {
          found.push({ request, body: kept.has(field) ? "kept" : "gone" });
        }
      }
    }
    if (damaged.length > 0) {
      await this.#dropFields(damaged);
    }
    return found.sort((a, b) => a.request.createdAt - b.request.createdAt);
  }

  async body(uid: Uid, id: RequestId): Promise<string | null> {
    const field = fieldOf(uid, id);
    const sealed = await this.#link.run("reading a request", () =>
      this.#link.client.hgetBuffer(requestBodiesKey, field),
    );
    try {
      return sealed === null ? null : this.#secrets.open(sealed, bodyContext(field));
    } catch {
      // The cause could quote the content.
      this.#log.error({ field }, "the body of a stored request is damaged");
      return null;
    }
  }

  #sealed(field: string, request: StoredRequest): Buffer {
    return this.#secrets.seal(JSON.stringify(request), recordContext(field));
  }

  async #dropFields(fields: readonly string[]): Promise<void> {
    await this.#link.run("dropping requests", async () => {
      const transaction = this.#link.client.multi();
      transaction.hdel(requestsKey, ...fields);
      transaction.hdel(requestBodiesKey, ...fields);
      failOnError(await transaction.exec());
    });
  }

  #read(field: string, sealed: Buffer | null): StoredRequest | null {
    try {
      if (sealed === null) {
        return null;
      }
      const text = this.#secrets.open(sealed, recordContext(field));
      return storedRequestSchema.parse(JSON.parse(text));
    } catch (error) {
      this.#log.error({ field, cause: messageOf(error).slice(0, 200) }, "a damaged request is dropped");
      return null;
    }
  }
}
