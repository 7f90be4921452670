/**
 * What SkyPilot's clients send that this version does not know: dropped, never acted on, and told of in the log once for
 * each route and set of keys, since a newer client sends the same ones with every call. Called by app.ts.
 */
import type { Log } from "../log.ts";

/** Different sets of keys; what comes after them is not told of. */
const toldMax = 200;

export class UnknownKeys {
  readonly #told = new Set<string>();
  readonly #log: Pick<Log, "info">;

  constructor(log: Pick<Log, "info">) {
    this.#log = log;
  }

  /** `known`: the keys of the route's body. */
  note(path: string, body: object, known: object): void {
    const unknown = Object.keys(body).filter((key) => !Object.hasOwn(known, key));
    const keys = unknown.sort().slice(0, 20).join(" ").slice(0, 500);
    const place = `${path} ${keys}`;
    if (unknown.length > 0 && this.#told.size < toldMax && !this.#told.has(place)) {
      this.#told.add(place);
      this.#log.info({ path, keys }, "unknown keys of a body were dropped");
    }
  }
}
