/**
 * A store of people, quotas, windows and usage that keeps its promises in memory, for tests of the API. Nothing but tests
 * may import this.
 */
import type { SchedulingStore } from "../../coordinator/parts.ts";
import type { Uid } from "../../shared/ids.ts";
import {
  type NodeWindow,
  type Person,
  type Quota,
  type QuotaSubject,
  type UsageLine,
  usageName,
} from "../../shared/scheduling.ts";

export class MemoryAdminStore implements SchedulingStore {
  readonly #people = new Map<Uid, Person>();
  readonly #quotas = new Map<QuotaSubject, Quota>();
  readonly #windows = new Map<string, NodeWindow>();
  readonly #usage = new Map<string, UsageLine>();
  async people(): Promise<Person[]> {
    return [...this.#people.values()];
  }
  async savePeople(people: readonly Person[]): Promise<void> {
    for (const person of people) {
      this.#people.set(person.uid, person);
    }
  }
  async quotas(): Promise<Map<QuotaSubject, Quota>> {
    return new Map(this.#quotas);
  }
  async saveQuota(subject: QuotaSubject, quota: Quota | null): Promise<void> {
    keep(this.#quotas, subject, quota);
  }
  async windows(): Promise<NodeWindow[]> {
    return [...this.#windows.values()];
  }
  async saveWindow(id: string, window: NodeWindow | null): Promise<void> {
    keep(this.#windows, id, window);
  }
  async recordUsage(lines: readonly UsageLine[]): Promise<void> {
    for (const line of lines) {
      this.#usage.set(usageName(line), line);
    }
  }
  async pendingUsage(): Promise<Map<string, UsageLine>> {
    return new Map(this.#usage);
  }
  async dropUsage(names: readonly string[]): Promise<void> {
    for (const name of names) {
      this.#usage.delete(name);
    }
  }
}

function keep<Key, Value>(map: Map<Key, Value>, key: Key, value: Value | null): void {
  if (value === null) {
    map.delete(key);
  } else {
    map.set(key, value);
  }
}
