/**
 * Regular expressions of policies, matched over the whole text in time that grows with text and pattern only: no pattern
 * of an admin and no text of a user can hold up the coordinator, as JavaScript's own matcher could. Known are characters,
 * `.`, classes (`[a-z]`, `[^/]`, `\d`, `\w`, `\s`), groups, `|`, `*`, `+`, `?`, `{m,n}`; `^` and `$` may stand at the ends.
 * Pure. Used by rules.ts, and by the reader of policies to refuse what is none.
 */

/** A step of the machine: take one character, go on at two places, or the end. */
type Step = { take: (code: number) => boolean } | { fork: [number, number] } | { jump: number } | "end";

const stepsMax = 1_000;
const textMax = 4_096;
const repeatMax = 200;
const depthMax = 50;

class PatternError extends Error {}

type Node =
  | { kind: "char"; take: (code: number) => boolean }
  | { kind: "all"; nodes: Node[] }
  | { kind: "any"; nodes: Node[] }
  | { kind: "repeat"; node: Node; least: number; most: number | null };

const compiled = new Map<string, Step[] | null>();
const compiledMax = 1_000;

/** What is wrong with a pattern; null: nothing. */
export function patternProblem(pattern: string): string | null {
  try {
    compile(pattern);
    return null;
  } catch (thrown) {
    if (thrown instanceof PatternError) {
      return thrown.message;
    }
    throw thrown;
  }
}

/** Whether the whole text matches. A pattern that is none, and a text of more than 4,096 characters, never do. */
export function matches(pattern: string, text: string): boolean {
  const steps = machineOf(pattern);
  if (steps === null || text.length > textMax) {
    return false;
  }
  let places = reached(steps, [0]);
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const next = [...places].flatMap((place) => {
      const step = steps[place];
      return typeof step === "object" && "take" in step && step.take(code) ? [place + 1] : [];
    });
    places = reached(steps, next);
    if (places.size === 0) {
      return false;
    }
  }
  return [...places].some((place) => steps[place] === "end");
}

function machineOf(pattern: string): Step[] | null {
  const found = compiled.get(pattern);
  if (found !== undefined) {
    return found;
  }
  if (compiled.size >= compiledMax) {
    compiled.clear();
  }
  const steps = patternProblem(pattern) === null ? compile(pattern) : null;
  compiled.set(pattern, steps);
  return steps;
}

/** All places that are reached without taking a character. */
function reached(steps: readonly Step[], from: readonly number[]): Set<number> {
  const seen = new Set<number>();
  const waiting = [...from];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const step = steps[place];
    if (seen.has(place) || step === undefined) {
      continue;
    }
    seen.add(place);
    if (typeof step === "object" && "fork" in step) {
      waiting.push(...step.fork);
    } else if (typeof step === "object" && "jump" in step) {
      waiting.push(step.jump);
    }
  }
  return seen;
}

function compile(pattern: string): Step[] {
  const text = pattern.replace(/^\^/, "").replace(/(^|[^\\])((?:\\\\)*)\$$/, "$1$2");
  const reader = new PatternReader(text);
  const steps: Step[] = [];
  emit(reader.read(), steps);
  steps.push("end");
  return steps;
}

function emit(node: Node, steps: Step[]): void {
  if (steps.length > stepsMax) {
    throw new PatternError("is too large");
  }
  if (node.kind === "char") {
    steps.push({ take: node.take });
  } else if (node.kind === "all") {
    for (const one of node.nodes) {
      emit(one, steps);
    }
  } else if (node.kind === "any") {
    emitChoice(node.nodes, steps);
  } else {
    emitRepeat(node, steps);
  }
}

function emitChoice(nodes: readonly Node[], steps: Step[]): void {
  const jumps: { jump: number }[] = [];
  for (const [index, node] of nodes.entries()) {
    if (index === nodes.length - 1) {
      emit(node, steps);
      break;
    }
    const fork: Step = { fork: [steps.length + 1, 0] };
    steps.push(fork);
    emit(node, steps);
    const jump = { jump: 0 };
    jumps.push(jump);
    steps.push(jump);
    fork.fork[1] = steps.length;
  }
  for (const jump of jumps) {
    jump.jump = steps.length;
  }
}

function emitRepeat({ node, least, most }: Node & { kind: "repeat" }, steps: Step[]): void {
  for (let count = 0; count < least; count += 1) {
    emit(node, steps);
  }
  if (most === null) {
    const start = steps.length;
    const fork: Step = { fork: [start + 1, 0] };
    steps.push(fork);
    emit(node, steps);
    steps.push({ jump: start });
    fork.fork[1] = steps.length;
    return;
  }
  const forks: { fork: [number, number] }[] = [];
  for (let count = least; count < most; count += 1) {
    const fork: { fork: [number, number] } = { fork: [steps.length + 1, 0] };
    forks.push(fork);
    steps.push(fork);
    emit(node, steps);
  }
  for (const fork of forks) {
    fork.fork[1] = steps.length;
  }
}

const isBetween = (low: string, high: string) => (code: number) =>
  code >= (low.codePointAt(0) ?? 0) && code <= (high.codePointAt(0) ?? 0);
const isDigit = isBetween("0", "9");
const isWord = (code: number): boolean =>
  isDigit(code) || isBetween("a", "z")(code) || isBetween("A", "Z")(code) || code === 95;
const isSpace = (code: number): boolean => /\s/.test(String.fromCodePoint(code));
const classes: Readonly<Record<string, (code: number) => boolean>> = {
  d: isDigit,
  D: (code) => !isDigit(code),
  w: isWord,
  W: (code) => !isWord(code),
  s: isSpace,
  S: (code) => !isSpace(code),
};

class PatternReader {
  readonly #characters: string[];
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#characters = Array.from(text);
  }

  read(): Node {
    const node = this.#choice();
    if (this.#at < this.#characters.length) {
      throw new PatternError(`has a "${this.#peek()}" without its beginning`);
    }
    return node;
  }

  #peek(): string | undefined {
    return this.#characters[this.#at];
  }

  #next(): string {
    const character = this.#peek();
    if (character === undefined) {
      throw new PatternError("ends too early");
    }
    this.#at += 1;
    return character;
  }

  #choice(): Node {
    const nodes = [this.#sequence()];
    while (this.#peek() === "|") {
      this.#at += 1;
      nodes.push(this.#sequence());
    }
    return { kind: "any", nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    for (let next = this.#peek(); next !== undefined && next !== "|" && next !== ")"; next = this.#peek()) {
      nodes.push(this.#repeated());
    }
    return { kind: "all", nodes };
  }

  #repeated(): Node {
    const node = this.#one();
    const mark = this.#peek();
    const bounds: Readonly<Record<string, [number, number | null]>> = { "*": [0, null], "+": [1, null], "?": [0, 1] };
    const simple = mark === undefined ? undefined : bounds[mark];
    if (simple !== undefined) {
      this.#at += 1;
      return this.#once({ kind: "repeat", node, least: simple[0], most: simple[1] });
    }
    return mark === "{" ? this.#once(this.#counted(node)) : node;
  }

  #once(node: Node): Node {
    if (["*", "+", "?", "{"].includes(this.#peek() ?? "")) {
      throw new PatternError("repeats a repetition");
    }
    return node;
  }

  #counted(node: Node): Node {
    const rest = this.#characters.slice(this.#at, this.#at + 10).join("");
    const match = /^\{(\d{1,3})(,)?(\d{1,3})?\}/.exec(rest);
    const least = Number(match?.[1]);
    const most = match?.[2] === undefined ? least : match[3] === undefined ? null : Number(match[3]);
    if (match === null || least > repeatMax || (most !== null && (most > repeatMax || most < least))) {
      throw new PatternError(`has a "{" that is no count up to ${repeatMax}`);
    }
    this.#at += match[0].length;
    return { kind: "repeat", node, least, most };
  }

  #one(): Node {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "char", take: this.#class() };
      case ".":
        return { kind: "char", take: (code) => code !== 10 };
      case "\\":
        return { kind: "char", take: this.#escaped() };
      case "*":
      case "+":
      case "?":
      case "{":
      case "^":
      case "$":
        throw new PatternError(`has a "${character}" where it means nothing; write \\${character} for the character`);
      default:
        return { kind: "char", take: isBetween(character, character) };
    }
  }

  #group(): Node {
    this.#depth += 1;
    if (this.#depth > depthMax) {
      throw new PatternError("is nested too deeply");
    }
    if (this.#peek() === "?") {
      this.#at += 1;
      if (this.#next() !== ":") {
        throw new PatternError('has a "(?" that is not known');
      }
    }
    const node = this.#choice();
    if (this.#next() !== ")") {
      throw new PatternError('has a "(" without its end');
    }
    this.#depth -= 1;
    return node;
  }

  #escaped(): (code: number) => boolean {
    const character = this.#next();
    const known = classes[character];
    if (known !== undefined) {
      return known;
    }
    const plain = { n: "\n", t: "\t" }[character] ?? character;
    if (plain === character && /[A-Za-z0-9]/.test(character)) {
      throw new PatternError(`has a "\\${character}" that is not known`);
    }
    return isBetween(plain, plain);
  }

  #class(): (code: number) => boolean {
    const isNegated = this.#peek() === "^";
    this.#at += isNegated ? 1 : 0;
    const ranges: ((code: number) => boolean)[] = [];
    for (let character = this.#next(); character !== "]" || ranges.length === 0; character = this.#next()) {
      if (character === "\\") {
        ranges.push(this.#escaped());
      } else if (this.#peek() === "-" && this.#characters[this.#at + 1] !== "]") {
        this.#at += 1;
        const high = this.#next();
        if (high === "\\" || (high.codePointAt(0) ?? 0) < (character.codePointAt(0) ?? 0)) {
          throw new PatternError(`has a range "${character}-${high}" that is none`);
        }
        ranges.push(isBetween(character, high));
      } else {
        ranges.push(isBetween(character, character));
      }
    }
    return (code) => ranges.some((range) => range(code)) !== isNegated;
  }
}
