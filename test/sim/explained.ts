/**
 * Asks, now and then, why a job of the simulated cluster waits or where it is, as users do at any moment, also in the
 * middle of faults. Every waiting job has a cause or starts now, and no text has a hole in it. Called by coordinator.ts.
 */
import { violationsOf } from "../../coordinator/core/sanity.ts";
import { explainJob } from "../../coordinator/core/explain-result.ts";
import type { State } from "../../coordinator/core/state.ts";
import { Chance } from "./clock.ts";
import type { Truth } from "./truth.ts";

/** One event of so many is followed by a question. */
const oneOf = 20;

export class Questions {
  /** Of its own, so that asking changes no history. */
  readonly #chance: Chance;
  readonly #truth: Truth;

  constructor(truth: Truth, seed: number) {
    this.#truth = truth;
    this.#chance = new Chance(seed);
  }

  /** Perhaps asks about one job. `now` in ms since 1970. */
  perhapsAsk(state: State, now: number): void {
    if (!this.#chance.happens(1 / oneOf) || state.jobs.size === 0) {
      return;
    }
    const job = this.#chance.pick([...state.jobs.values()]);
    const viewer = { uid: job.uid, isAdmin: this.#chance.happens(0.2) };
    const answer = explainJob(state, job, { viewer, cluster: "sim", now });
    const name = `${job.uid}/${job.id}`;
    const waits = job.record.phase === "waiting";
    if (waits && !answer.starts_now && (answer.constraints.length === 0 || answer.reason === null)) {
      this.#truth.violated(`${name} waits without a cause`);
    }
    const texts = [answer.reason ?? "", answer.needs, ...answer.constraints.map((one) => one.text), ...answer.actions];
    const hole = texts.find((text) => /\bnull\b|undefined|NaN|Infinity|\[object/.test(text));
    if (hole !== undefined) {
      this.#truth.violated(`${name} is explained with a hole: ${hole}`);
    }
    const violations = violationsOf(state).filter((text) => !text.includes("granted"));
    if (violations.length > 0) {
      this.#truth.violated(`after a question about ${name}: ${violations.join("; ")}`);
    }
  }
}
