/**
 * Answers questions about usage from the history's files, what waits in Redis and what is held just now. One question is
 * worked on at a time and in short slices, so that the coordinator goes on meanwhile; files are read line by line. A
 * damaged line is counted and named and never fatal. Called by coordinator/api/routes-usage.ts.
 */
import { join } from "node:path";
import { SkyError } from "../shared/errors.ts";
import { type UsageLine, usageLineSchema } from "../shared/scheduling.ts";
import type { UsageResult } from "../shared/usage-api.ts";
import { Gate } from "./gate.ts";
import { monthFile, usageFiles, usageFolder, usageTexts } from "./usage-files.ts";
import { type UsageQuestion, UsageSum } from "./usage-sum.ts";

/** Milliseconds for one answer, and of work between two pauses. */
const limitMs = 60_000;
const sliceMs = 5;
const placesMax = 5;
/** Questions that wait for their turn. */
const waitingMax = 4;

export type UsageAnswer = Pick<UsageResult, "total" | "damaged" | "rows">;

const oneAtATime = new Gate(1);

/**
 * `recent`: what is held now and what waits in Redis, read before this is called, so that nothing is missed on its way
 * from there into the files. Throws SkyError when it takes too long or too many ask at once.
 */
export async function readUsage(
  stateDir: string,
  question: UsageQuestion,
  recent: readonly UsageLine[],
): Promise<UsageAnswer> {
  if (oneAtATime.waiting >= waitingMax) {
    throw new SkyError("ServerUnavailableError", "Too many questions about usage at once.", "Try again in a minute.");
  }
  return oneAtATime.run(() => read(stateDir, question, recent));
}

async function read(stateDir: string, question: UsageQuestion, recent: readonly UsageLine[]): Promise<UsageAnswer> {
  const sum = new UsageSum(question, recent);
  const damaged: UsageAnswer["damaged"] = { lines: 0, places: [] };
  const folder = join(stateDir, usageFolder);
  const slice = new Slice();
  for (const name of await usageFiles(folder)) {
    if (isBefore(name, monthFile(question.from))) {
      continue;
    }
    for await (const { first, texts } of usageTexts(join(folder, name))) {
      for (const [at, text] of texts.entries()) {
        const line = lineIn(text, question);
        if (line === "damaged") {
          damaged.lines += 1;
          if (damaged.places.length < placesMax) {
            damaged.places.push(`${usageFolder}/${name}:${first + at}`);
          }
        } else if (line !== null) {
          sum.add(line);
        }
        if (at % 100 === 99) {
          await slice.pause();
        }
      }
      await slice.pause();
    }
  }
  for (const line of [...recent].sort((a, b) => a.from - b.from || a.to - b.to)) {
    sum.add(line);
  }
  return { rows: sum.rows(), total: sum.total(), damaged };
}

function isBefore(name: string, other: string): boolean {
  return name.length < other.length || (name.length === other.length && name < other);
}

/** Null: it belongs to somebody else. Most lines of others need not be parsed. */
function lineIn(text: string | null, question: UsageQuestion): UsageLine | "damaged" | null {
  if (text === null) {
    return "damaged";
  }
  if (question.uid !== null && text.startsWith("{") && text.endsWith("}") && !text.includes(`"uid":${question.uid},`)) {
    return null;
  }
  try {
    const line = usageLineSchema.safeParse(JSON.parse(text));
    return line.success ? line.data : "damaged";
  } catch {
    return "damaged";
  }
}

/** Lets others have their turn after a few milliseconds of work, and ends what takes too long. */
class Slice {
  readonly #begun = performance.now();
  #since = performance.now();

  async pause(): Promise<void> {
    const now = performance.now();
    if (now - this.#begun > limitMs) {
      throw new SkyError(
        "ValueError",
        `The usage history could not be read within ${limitMs / 1000} s.`,
        "Ask for a shorter period.",
      );
    }
    if (now - this.#since >= sliceMs) {
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      this.#since = performance.now();
    }
  }
}
