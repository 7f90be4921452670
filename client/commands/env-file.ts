/**
 * Files of `--env-file` and `--secret-file`, read as SkyPilot reads them (python-dotenv): `KEY=VALUE` lines, comments,
 * `export`, quotes that may go over several lines, and `${NAME}` from earlier lines or the caller's own environment.
 * Pure; called by commands/entrypoint.ts. Its messages must never hold a value, which may be a secret.
 */
import { SkyError } from "../../shared/errors.ts";

const envName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const escapes: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** Whether this can be the name of a variable. */
export function isEnvName(name: string): boolean {
  return envName.test(name);
}

/** The variables in the file's order. Throws SkyError("ValueError") that names `file` and the line. */
export function parseEnvFile(
  text: string,
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
): [string, string][] {
  const found = new Map<string, string>();
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  for (let at = 0; at < lines.length; at += 1) {
    const line = (lines[at] ?? "").trim().replace(/^export\s+/, "");
    if (line === "" || line.startsWith("#")) {
      continue;
    }
    const split = line.indexOf("=");
    const key = split < 0 ? line : line.slice(0, split).trim();
    if (split < 0 || !isEnvName(key)) {
      throw new SkyError("ValueError", `${file}, line ${at + 1}: expected KEY=VALUE.`);
    }
    const { value, last } = valueOf(line.slice(split + 1).trimStart(), lines, at, file);
    at = last;
    found.set(
      key,
      interpolated(value, (name) => found.get(name) ?? environment[name]),
    );
  }
  return [...found];
}

/** A value that begins with `start`, and the line on which it ends. */
function valueOf(
  start: string,
  lines: readonly string[],
  first: number,
  file: string,
): { value: string; last: number } {
  const quote = start[0];
  if (quote !== '"' && quote !== "'") {
    return { value: start.replace(/(^|\s+)#.*$/, "").trimEnd(), last: first };
  }
  let value = "";
  let rest = start.slice(1);
  for (let at = first; ; ) {
    for (let place = 0; place < rest.length; place += 1) {
      const character = rest[place] ?? "";
      if (character === quote) {
        requireNothing(rest.slice(place + 1), file, at);
        return { value, last: at };
      }
      if (character === "\\" && place + 1 < rest.length) {
        place += 1;
        value += unescaped(rest[place] ?? "", quote);
      } else {
        value += character;
      }
    }
    at += 1;
    const next = lines[at];
    if (next === undefined) {
      throw new SkyError("ValueError", `${file}, line ${first + 1}: the value's quote is not closed.`);
    }
    value += "\n";
    rest = next;
  }
}

/** In single quotes only a quote and a backslash can be escaped. */
function unescaped(character: string, quote: string): string {
  if (character === "\\" || character === "'" || (character === '"' && quote === '"')) {
    return character;
  }
  return (quote === '"' ? escapes[character] : undefined) ?? `\\${character}`;
}

function requireNothing(after: string, file: string, at: number): void {
  if (after.trim() !== "" && !/^\s*#/.test(after)) {
    throw new SkyError("ValueError", `${file}, line ${at + 1}: there is text after the value's closing quote.`);
  }
}

/** `${NAME}` and `${NAME:-DEFAULT}`; a name without a value and default stands for nothing. */
function interpolated(value: string, valueOfName: (name: string) => string | undefined): string {
  return value.replaceAll(
    /\$\{([a-zA-Z_][a-zA-Z0-9_]*)(?::-([^}]*))?\}/g,
    (_whole, name: string, otherwise?: string) => valueOfName(name) ?? otherwise ?? "",
  );
}
