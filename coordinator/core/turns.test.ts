/** The order of turns against a model that looks at every line each time: whatever is given, passed and dropped on the way. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { seed } from "../../test/help/seed.ts";
import { Scenario } from "../../test/sim/scenario.ts";
import { Shares } from "./shares.ts";
import { type ActiveJob, jobKey, type State } from "./state.ts";
import { type Turn, Turns } from "./turns.ts";

/** What is done with a turn, and how much a second its job was given. */
type Move = { do: "give"; rate: number } | { do: "pass" | "passUser" | "passClass" };

/** All waiting jobs that are left, and the one whose turn it is by the rules alone. */
class Model {
  readonly #state: State;
  readonly #shares: Shares;
  #left: ActiveJob[];

  constructor(state: State, now: number) {
    this.#state = state;
    this.#shares = new Shares(state, now);
    this.#left = [...state.jobs.values()];
  }

  next(): string | null {
    const key = ({ uid }: ActiveJob): number => this.#shares.keys[this.#state.indexes.slots.get(uid) ?? -1] ?? 0;
    const priority = ({ record }: ActiveJob): number => record.shape.priority ?? 0;
    const [first] = this.#left.toSorted(
      (a, b) =>
        priority(b) - priority(a) || key(a) - key(b) || a.record.submittedAt - b.record.submittedAt || a.id - b.id,
    );
    return first === undefined ? null : jobKey(first.uid, first.id);
  }

  take({ own, job }: Turn, move: Move): void {
    const isOfClass = (one: ActiveJob): boolean =>
      own.at.has(one.uid) && own.lines.some((line) => line.uid === one.uid && line.ids.includes(one.id));
    const isOver = (one: ActiveJob): boolean =>
      one === job ||
      (move.do === "passClass" && isOfClass(one)) ||
      (move.do === "passUser" && one.uid === job.uid && isOfClass(one));
    this.#left = this.#left.filter((one) => !isOver(one));
    if (move.do === "give") {
      this.#shares.give(this.#state.indexes.slots.get(job.uid) ?? -1, job.uid, move.rate);
    }
  }
}

const jobs = fc.array(
  fc.record({
    uid: fc.integer({ min: 1001, max: 1006 }),
    cpus: fc.integer({ min: 1, max: 5 }),
    priority: fc.constantFrom(0, 0, 0, 5),
  }),
  { minLength: 1, maxLength: 80 },
);
const moves = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0.5, 1, 8).map((rate): Move => ({ do: "give", rate })) },
    { weight: 2, arbitrary: fc.constantFrom("pass", "passUser", "passClass").map((what): Move => ({ do: what })) },
  ),
  { minLength: 80, maxLength: 80 },
);

test("each turn is that of the first job by the rules, whatever became of those before it", () => {
  fc.assert(
    fc.property(jobs, moves, (submitted, given) => {
      const people = [1001, 1002, 1003].map((uid) => ({
        uid,
        user: `u${uid}`,
        groups: [],
        use: uid % 2 ? 0 : 9,
        useAt: 0,
      }));
      const scenario = new Scenario({ one: {} }, { people });
      scenario.checked = false;
      submitted.forEach((words) => scenario.submit({ ...words, user: `u${words.uid}` }));
      const turns = new Turns(scenario.state, scenario.now);
      const model = new Model(scenario.state, scenario.now);
      for (const move of given) {
        const turn = turns.next();
        expect(turn?.key ?? null).toBe(model.next());
        if (turn === null) {
          return;
        }
        model.take(turn, move);
        if (move.do === "give") {
          turns.give(move.rate);
        } else {
          turns[move.do]();
        }
      }
    }),
    { numRuns: 150, seed },
  );
});
