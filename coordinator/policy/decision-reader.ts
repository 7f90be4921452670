/**
 * Reads the decision log from its end: the newest lines first, a piece of a file at a time, with pauses, so that a long
 * log holds up nobody. Lines that are damaged or of a form that is not known are left out. It must never change the log.
 * Used by the routes for policies and by the replay.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import { Gate } from "../gate.ts";
import { usageFiles } from "../usage-files.ts";
import { type DecisionLine, decisionLineSchema } from "./decision-line.ts";
import type { DecisionLog } from "./decision-log.ts";

const chunkBytes = 256 * 1024;
/** A line that is longer is damaged. */
const lineBytesMax = 512 * 1024;
const limitMs = 60_000;
const waitingMax = 8;
const oneAtATime = new Gate(1);

export interface DecisionQuestion {
  /** Null: everybody's. */
  uid: number | null;
  outcome: string | null;
  limit: number;
}

/** Newest first. Throws SkyError when too many ask at once. */
export async function readDecisions(log: DecisionLog, question: DecisionQuestion): Promise<DecisionLine[]> {
  const found: DecisionLine[] = [];
  const isAsked = ({ uid, outcome }: DecisionLine): boolean =>
    (question.uid === null || uid === question.uid) && (question.outcome === null || outcome === question.outcome);
  const mark = question.uid === null ? "" : `"uid":${question.uid},`;
  await eachDecision(log, mark, (line) => {
    if (isAsked(line)) {
      found.push(line);
    }
    return found.length < question.limit;
  });
  return found;
}

/** Gives the lines that hold `mark`, newest first, until `take` says no or there are no more. */
export async function eachDecision(
  log: DecisionLog,
  mark: string,
  take: (line: DecisionLine) => boolean,
): Promise<void> {
  if (oneAtATime.waiting >= waitingMax) {
    throw new SkyError("ServerUnavailableError", "Too many read the decision log at once.", "Try again in a minute.");
  }
  await oneAtATime.run(async () => {
    await log.flushed();
    const until = performance.now() + limitMs;
    for (const name of (await usageFiles(log.folder)).reverse()) {
      for await (const texts of textsBackward(join(log.folder, name))) {
        for (const text of texts) {
          const line = text.includes(mark) ? lineIn(text) : null;
          if (line !== null && line.time < log.oldest) {
            return;
          }
          if (line !== null && !take(line)) {
            return;
          }
        }
        if (performance.now() > until) {
          return;
        }
        await new Promise<void>((resolve) => {
          setImmediate(resolve);
        });
      }
    }
  });
}

function lineIn(text: string): DecisionLine | null {
  try {
    const line = decisionLineSchema.safeParse(JSON.parse(text));
    return line.success ? line.data : null;
  } catch {
    return null;
  }
}

/** The file's lines from the last to the first, some at a time. What follows the last line feed is no line yet. */
async function* textsBackward(path: string): AsyncGenerator<string[]> {
  const file = await open(path, "r");
  const chunk = Buffer.alloc(chunkBytes);
  try {
    let end = (await file.stat()).size;
    // Bytes as they are: an ASCII line feed is never a part of another character.
    let rest = "";
    /** What stands before the next line feed is no whole line. */
    let isTorn = true;
    while (end > 0) {
      const start = Math.max(0, end - chunkBytes);
      const { bytesRead } = await file.read(chunk, 0, end - start, start);
      const parts = (chunk.toString("latin1", 0, bytesRead) + rest).split("\n");
      const first = parts.shift() ?? "";
      if (parts.length > 0 && isTorn) {
        parts.pop();
        isTorn = false;
      }
      rest = isTorn ? "" : first;
      if (rest.length > lineBytesMax) {
        rest = "";
        isTorn = true;
      }
      end = start;
      const lines = start === 0 && !isTorn ? [rest, ...parts] : parts;
      yield lines.reverse().map((text) => Buffer.from(text, "latin1").toString("utf8"));
    }
  } finally {
    await file.close();
  }
}
