/**
 * A store of requests that keeps its promises in memory, for tests of the API. What it holds can be handed to a second
 * API, as a restart would. Nothing but tests may import this.
 */
import type { RequestStore, StoredRequest } from "../../coordinator/parts.ts";
import type { RequestId, Uid } from "../../shared/ids.ts";

export class MemoryRequestStore implements RequestStore {
  readonly records = new Map<string, StoredRequest>();
  readonly bodies = new Map<string, string>();
  async begin(request: StoredRequest, body: string): Promise<void> {
    this.records.set(request.id, structuredClone(request));
    this.bodies.set(request.id, body);
  }
  async save(request: StoredRequest): Promise<void> {
    this.records.set(request.id, structuredClone(request));
  }
  async end(request: StoredRequest): Promise<void> {
    this.records.set(request.id, structuredClone(request));
    this.bodies.delete(request.id);
  }
  async drop(requests: readonly Pick<StoredRequest, "uid" | "id">[]): Promise<void> {
    for (const { id } of requests) {
      this.records.delete(id);
      this.bodies.delete(id);
    }
  }
  async all(): Promise<{ request: StoredRequest; body: "kept" | "gone" }[]> {
    return [...this.records.values()]
      .map((request) => ({ request, body: this.bodies.has(request.id) ? ("kept" as const) : ("gone" as const) }))
      .sort((a, b) => a.request.createdAt - b.request.createdAt);
  }
  async body(_uid: Uid, id: RequestId): Promise<string | null> {
    return this.bodies.get(id) ?? null;
  }
}
