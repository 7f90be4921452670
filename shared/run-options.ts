/**
 * `docker.run_options`: options for `podman run` or `docker run`, as config files and tasks write them, a text as on a
 * command line or a list of these. The one reader of them, so that a task and a config file can never mean two things by
 * the same words. Pure. Used by shared/config-layers.ts and shared/task-settings.ts.
 */
import { shellWords } from "./shell-words.ts";

/** As in the payload's schema. */
const wordsMax = 100;
const wordMax = 1000;

/** What is wrong with options; to follow the name of their key. */
export interface OptionsFault {
  fault: string;
}

/** The words of the options, one each, or what is wrong with them. A null says nothing: no words. */
export function readOptionWords(value: unknown): string[] | OptionsFault {
  const items: unknown[] = Array.isArray(value) ? value : value === null ? [] : [value];
  const words: string[] = [];
  for (const item of items) {
    const split = typeof item === "string" ? shellWords(item) : typeof item === "number" ? [String(item)] : null;
    if (split === null) {
      return { fault: "must be options as on a command line, or a list of these." };
    }
    words.push(...split);
  }
  if (words.length > wordsMax || words.some((word) => word.length > wordMax)) {
    return { fault: `has more than ${wordsMax} words or longer ones than ${wordMax}.` };
  }
  return words;
}

/** A list that `readOptionWords` reads back to the same words. */
export function optionsValue(words: readonly string[]): string[] {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
}
