/**
 * The source text of a command generator, which travels in place of `run` and is called on each node. What cannot be sent
 * as text is refused here, where its author sees it: native and bound functions, methods in shorthand, functions that
 * answer later, and those that use something of the program around them. Used by Task.
 */
import { createContext, Script } from "node:vm";
import { ValueError } from "./exceptions.ts";

/** A generator is small: it only writes a command line. Bytes. */
const sourceBytesMax = 256 * 1024;
const trialMs = 1000;

/** Compilers that keep functions' names write calls of this into the source. */
const keepsNames = /\b__name\(/;

function refuse(why: string): never {
  throw new ValueError(`The command generator in 'run' cannot be sent to the nodes: ${why}`, {
    hint: 'Write it as an arrow function that uses only its arguments: run: (rank, ips) => rank === 0 ? "echo head" : null',
  });
}

/** The expression that evaluates to the function. */
function sourceOf(generator: (rank: number, ips: string[]) => string | null): string {
  const text = Function.prototype.toString.call(generator);
  if (/\{\s*\[native code\]\s*\}\s*$/.test(text)) {
    refuse("it is a native or bound function, which has no source text.");
  }
  if (/^class\b/.test(text)) {
    refuse("it is a class.");
  }
  if (/^(async\b|function\s*\*|\*)/.test(text)) {
    refuse("it is asynchronous or a generator function; it has to return its command at once.");
  }
  return keepsNames.test(text) ? `(() => { const __name = (named) => named; return (${text}); })()` : text;
}

/** Calls it once, with addresses that nobody has, in a place without anything of this program. */
function tryOut(source: string): void {
  let script: Script;
  try {
    script = new Script(`(${source})(0, ["192.0.2.1"])`);
  } catch {
    refuse("its text is no expression; it may be a method in shorthand or a getter.");
  }
  try {
    script.runInContext(createContext({}), { timeout: trialMs });
  } catch (error) {
    // Another place has its own ReferenceError; what a node's program knows as well as this one is no fault.
    const { name, message } = error as Partial<Error>;
    const missing = name === "ReferenceError" ? /^(\S+) is not defined/.exec(message ?? "")?.[1] : undefined;
    if (missing !== undefined && !(missing in globalThis)) {
      refuse(`it uses '${missing.slice(0, 80)}', which exists only in your program.`);
    }
  }
}

/** The source text of a command generator. Throws ValueError when it cannot be sent. */
export function generatorSource(generator: (rank: number, ips: string[]) => string | null): string {
  const source = sourceOf(generator);
  if (Buffer.byteLength(source) > sourceBytesMax) {
    refuse(`its source is over ${sourceBytesMax / 1024} KiB.`);
  }
  tryOut(source);
  return source;
}
