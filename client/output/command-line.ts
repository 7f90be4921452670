/**
 * The command line as the person could type it again, for the COMMAND column of `sky status`. Values of `--secret` and
 * `--env` are left out: they are secrets, or may be. Pure. Used by client/main.ts.
 */

const withValues = ["--env", "--secret"];
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
    const flag = withValues.find((name) => word.startsWith(`${name}=`));
    if (flag !== undefined) {
      return `${flag}=${withoutValue(word.slice(flag.length + 1))}`;
    }
    return withValues.includes(words[index - 1] ?? "") ? withoutValue(word) : shellWord(word);
  });
  return ["sky", ...shown].join(" ");
}
