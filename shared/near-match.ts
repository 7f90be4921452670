/**
 * The nearest known word to a mistyped one, for "Did you mean 'x'?" in errors about keys, commands, clusters and kinds.
 * Pure. It must never suggest something so far off that the hint confuses; then there is no hint at all.
 */
import { distance } from "fastest-levenshtein";

/** Longer words are not compared: what is that long was not mistyped, and the comparison is quadratic. */
const comparedLengthMax = 100;

/**
 * The candidate with the smallest edit distance to `word` (ignoring case), or null when none is near: at most one edit
 * in three characters, and at least one in short words.
 */
export function nearMatch(word: string, candidates: Iterable<string>): string | null {
  if (word === "" || word.length > comparedLengthMax) {
    return null;
  }
  const wanted = word.toLowerCase();
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    if (candidate.length > comparedLengthMax) {
      continue;
    }
    const edits = distance(wanted, candidate.toLowerCase());
    if (edits < bestDistance && edits < candidate.length) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}

/** `Did you mean 'x'?`, or null when no candidate is near. */
export function didYouMean(word: string, candidates: Iterable<string>): string | null {
  const match = nearMatch(word, candidates);
  return match === null ? null : `Did you mean '${match}'?`;
}
