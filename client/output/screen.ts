/**
 * The terminal as the commands see it: where text goes, how wide it may be, whether colours make sense, and how a
 * question is asked. Colours appear only on a terminal (NO_COLOR and FORCE_COLOR are honoured). Commands must never
 * write to process.stdout themselves, so that tests and later front ends can stand in for the terminal. Made by client/main.ts.
 */
import { type Readable, Writable } from "node:stream";
import pc from "picocolors";
import { SkyError } from "../../shared/errors.ts";
import { createProgress, type Progress } from "./progress.ts";

export type Colors = ReturnType<typeof pc.createColors>;

/** What a process gives us; the real one is `process`. */
export interface ScreenStreams {
  stdin: Readable & { isTTY?: boolean };
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean; columns?: number };
  env: NodeJS.ProcessEnv;
}

export interface Screen {
  /** One line (or several) of result on stdout; the newline is added. */
  print(text: string): void;
  /** One line for the person, on stderr: progress, warnings, errors. The newline is added. */
  note(text: string): void;
  /** Job output, as it is, to stdout; resolves when more may be written. */
  write(chunk: Buffer): Promise<void>;
  /** Colours for stdout / stderr; functions that change nothing where colours are off. */
  colors: Colors;
  noteColors: Colors;
  /** Width of the terminal; Infinity where the output is not a terminal, so that scripts get nothing cut. */
  columns: number;
  /**
   * Yes or no (Enter is yes). Where nobody can answer (stdin is no terminal) it throws and names `-y`.
   */
  confirm(question: string): Promise<boolean>;
  /**
   * A line that the person types after a question on stderr; `hidden` shows no
   * letter of it. Null where nobody can answer; rejects on Ctrl-C or Ctrl-D.
   */
  ask(question: string, options?: { hidden: boolean }): Promise<string | null>;
  /** How far a long work is, on stderr, drawn over itself; nothing where stderr is no terminal. */
  progress: Progress;
  /** There is a person at a terminal. */
  interactive: boolean;
}

function wantsColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  if ((env["NO_COLOR"] ?? "") !== "") {
    return false;
  }
  const forced = env["FORCE_COLOR"];
  if (forced !== undefined && forced !== "") {
    return forced !== "0" && forced !== "false";
  }
  return stream.isTTY === true && env["TERM"] !== "dumb";
}

function widthOf(streams: ScreenStreams): number {
  const told = Number(streams.env["COLUMNS"]);
  if (streams.stdout.isTTY === true) {
    // A terminal that was never told its size says 0.
    return Math.max(40, streams.stdout.columns || 80);
  }
  return Number.isInteger(told) && told >= 40 ? told : Number.POSITIVE_INFINITY;
}

/** What the person types after the question. Rejects on Ctrl-C or Ctrl-D. */
async function answerTo(
  { stdin, stderr }: ScreenStreams,
  question: string,
  options?: { hidden: boolean },
): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const hidden = options?.hidden === true;
  // readline echoes to its output; a hidden answer is echoed into nothing.
  const output = hidden ? new Writable({ write: (_chunk, _encoding, done) => done() }) : stderr;
  const lines = createInterface({ input: stdin, output, terminal: hidden || stderr.isTTY === true });
  if (hidden) {
    stderr.write(question);
  }
  // Ctrl-D and Ctrl-C close the prompt without an answer; readline itself would wait for ever.
  const closed = new Promise<never>((_, reject) => {
    lines.once("close", () => reject(new SkyError("RequestCancelled", "The question was not answered; stopped here.")));
  });
  closed.catch(() => undefined);
  lines.once("SIGINT", () => lines.close());
  try {
    return await Promise.race([lines.question(question), closed]);
  } finally {
    if (hidden) {
      stderr.write("\n");
    }
    lines.close();
  }
}

/** The screen of one run of `sky`. */
export function createScreen(streams: ScreenStreams): Screen {
  const { stdin, stdout, stderr, env } = streams;
  const progress = createProgress(stderr);
  // Nothing may be drawn over a question that waits for its answer.
  let asking = 0;
  const ask = async (question: string, options?: { hidden: boolean }): Promise<string | null> => {
    if (stdin.isTTY !== true) {
      return null;
    }
    asking += 1;
    progress.clear();
    try {
      return await answerTo(streams, question, options);
    } finally {
      asking -= 1;
    }
  };
  return {
    print: (text) => {
      progress.clear();
      stdout.write(`${text}\n`);
    },
    note: (text) => {
      progress.clear();
      stderr.write(`${text}\n`);
    },
    write: (chunk) =>
      new Promise((resolve) => {
        if (stdout.write(chunk)) {
          resolve();
        } else {
          stdout.once("drain", resolve);
        }
      }),
    colors: pc.createColors(wantsColor(stdout, env)),
    noteColors: pc.createColors(wantsColor(stderr, env)),
    columns: widthOf(streams),
    ask,
    progress: {
      ...progress,
      show: (...state) => (asking > 0 ? undefined : progress.show(...state)),
      wait: (...state) => (asking > 0 ? undefined : progress.wait(...state)),
    },
    interactive: stdin.isTTY === true,
    async confirm(question) {
      for (let tries = 0; tries < 3; tries += 1) {
        const answer = await ask(`${question} [Y/n]: `);
        if (answer === null) {
          throw new SkyError(
            "ValueError",
            `Cannot ask "${question}": standard input is not a terminal.`,
            "Add -y (--yes) to answer yes.",
          );
        }
        const word = answer.trim().toLowerCase();
        if (word === "" || word === "y" || word === "yes") {
          return true;
        }
        if (word === "n" || word === "no") {
          return false;
        }
        stderr.write("Please answer y or n.\n");
      }
      return false;
    },
  };
}
