/**
 * The command line as the person could type it again, for the COMMAND column of `sky status`. Values of `--env` are left
 * out, since they may be secrets. Pure. Used by client/main.ts.
 */

const kept = /^[A-Za-z0-9_@%+=:,./-]+$/;

function shellWord(word: string): string {
  return kept.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function withoutValue(assignment: string): string {
  const at = assignment.indexOf("=");
  return at < 0 ? assignment : `${assignment.slice(0, at)}=<redacted>`;
}

/** `sky` and its words. */
export function commandLineOf(words: readonly string[]): string {
  const shown = words.map((word, index) => {
    if (words.slice(0, index).includes("--")) {
      return shellWord(word);
    }
    if (word.startsWith("--env=")) {
      return `--env=${withoutValue(word.slice("--env=".length))}`;
    }
    return words[index - 1] === "--env" ? withoutValue(word) : shellWord(word);
  });
  return ["sky", ...shown].join(" ");
}
