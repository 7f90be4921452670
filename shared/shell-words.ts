/**
 * Splits text into words as a shell would, for options that people write as one line: `--shm-size=8g --label 'a b'`. It
 * knows quotes and backslashes and nothing else: no variables, no substitution. Pure; used for `docker.run_options`.
 */

/** The words of a command line, quotes and backslashes as in a shell; null when a quote is not closed. */
export function shellWords(text: string): string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  let isEscaped = false;
  for (const character of text) {
    if (isEscaped) {
      word = (word ?? "") + character;
      isEscaped = false;
    } else if (character === "\\" && quote !== "'") {
      isEscaped = true;
    } else if (quote !== null) {
      word = character === quote ? word : (word ?? "") + character;
      quote = character === quote ? null : quote;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (/\s/.test(character)) {
      words.push(...(word === null ? [] : [word]));
      word = null;
    } else {
      word = (word ?? "") + character;
    }
  }
  words.push(...(word === null ? [] : [word]));
  return quote === null && !isEscaped ? words : null;
}
