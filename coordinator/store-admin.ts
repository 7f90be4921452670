/**
 * What the store holds of people, quotas and windows of nodes, and the lines of usage that are not yet in the history:
 * hashes of JSON, each entry checked again when it is read. A damaged entry is logged and left out, never a crash. Part
 * of the store; called by coordinator/store.ts only.
 */
import type * as z from "zod";
import { messageOf } from "../shared/errors.ts";
import {
  type NodeWindow,
  nodeWindowSchema,
  type Person,
  personSchema,
  type Quota,
  type QuotaSubject,
  quotaSchema,
  quotaSubjectSchema,
  type UsageLine,
  usageLineSchema,
  usageName,
} from "../shared/scheduling.ts";
import type { Log } from "./log.ts";
import type { SchedulingStore } from "./parts.ts";
import type { RedisLink } from "./redis.ts";

/** uid → Person, subject → Quota, id → NodeWindow, `ATTEMPT NODE FROM TO` → UsageLine. */
const peopleKey = "sky-people";
const quotasKey = "sky-quotas";
const windowsKey = "sky-windows";
const usageKey = "sky-usage";
/** Lines of usage that are read in one round trip. */
const usagePage = 2_000;

export class AdminStore implements SchedulingStore {
  readonly #link: RedisLink;
  readonly #log: Log;

  constructor(link: RedisLink, log: Log) {
    this.#link = link;
    this.#log = log;
  }

  async people(): Promise<Person[]> {
    return [...(await this.#entries(peopleKey, personSchema)).values()];
  }

  async savePeople(people: readonly Person[]): Promise<void> {
    const entries = people.map((person) => [String(person.uid), JSON.stringify(personSchema.parse(person))]);
    if (entries.length > 0) {
      await this.#link.run("storing people", () => this.#link.client.hset(peopleKey, ...entries.flat()));
    }
  }

  async quotas(): Promise<Map<QuotaSubject, Quota>> {
    const quotas = new Map<QuotaSubject, Quota>();
    for (const [name, quota] of await this.#entries(quotasKey, quotaSchema)) {
      const subject = quotaSubjectSchema.safeParse(name);
      if (subject.success) {
        quotas.set(subject.data, quota);
      } else {
        this.#log.error({ key: quotasKey, field: name, cause: "no subject" }, "a damaged entry is skipped");
      }
    }
    return quotas;
  }

  saveQuota(subject: QuotaSubject, quota: Quota | null): Promise<void> {
    return this.#save(quotasKey, subject, quota === null ? null : quotaSchema.parse(quota));
  }

  async windows(): Promise<NodeWindow[]> {
    return [...(await this.#entries(windowsKey, nodeWindowSchema)).values()];
  }

  saveWindow(id: string, window: NodeWindow | null): Promise<void> {
    return this.#save(windowsKey, id, window === null ? null : nodeWindowSchema.parse(window));
  }

  async recordUsage(lines: readonly UsageLine[]): Promise<void> {
    const entries = lines.map((line) => [usageName(line), JSON.stringify(usageLineSchema.parse(line))]);
    if (entries.length > 0) {
      await this.#link.run("storing usage", () => this.#link.client.hset(usageKey, ...entries.flat()));
    }
  }

  /** Lines that are not yet in the history, by the names under which `dropUsage` knows them. Damaged ones are dropped. */
  async pendingUsage(): Promise<Map<string, UsageLine>> {
    const found = new Map<string, UsageLine>();
    const damaged: string[] = [];
    for (let cursor = "0", isFirst = true; isFirst || cursor !== "0"; isFirst = false) {
      const page = () => this.#link.client.hscan(usageKey, cursor, "COUNT", usagePage);
      const [next, entries] = await this.#link.run("reading usage", page);
      cursor = next;
      for (let at = 0; at + 1 < entries.length; at += 2) {
        const [name = "", text = ""] = entries.slice(at, at + 2);
        const line = this.#read(usageKey, name, text, usageLineSchema);
        if (line === null) {
          damaged.push(name);
        } else {
          found.set(name, line);
        }
      }
    }
    await this.dropUsage(damaged);
    return found;
  }

  async dropUsage(names: readonly string[]): Promise<void> {
    if (names.length > 0) {
      await this.#link.run("dropping usage that is in the history", () => this.#link.client.hdel(usageKey, ...names));
    }
  }

  async #save(key: string, field: string, value: unknown): Promise<void> {
    await this.#link.run(`storing ${key} ${field}`, () =>
      value === null ? this.#link.client.hdel(key, field) : this.#link.client.hset(key, field, JSON.stringify(value)),
    );
  }

  #entries<Value>(key: string, schema: z.ZodType<Value>): Promise<Map<string, Value>> {
    return this.#link.run(`reading ${key}`, async () => {
      const found = new Map<string, Value>();
      for (const [field, text] of Object.entries(await this.#link.client.hgetall(key))) {
        const value = this.#read(key, field, text, schema);
        if (value !== null) {
          found.set(field, value);
        }
      }
      return found;
    });
  }

  #read<Value>(key: string, field: string, text: string, schema: z.ZodType<Value>): Value | null {
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      this.#log.error({ key, field, cause: messageOf(error).slice(0, 300) }, "a damaged entry is skipped");
      return null;
    }
  }
}
