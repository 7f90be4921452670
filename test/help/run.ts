/**
 * Running a program in a test and keeping what it said. Output is limited, time is limited, and a program that runs past
 * its limit is ended with its whole session. Never a shell unless the test asks for one. Used by the files beside it.
 */
import { type ChildProcess, spawn } from "node:child_process";

export interface Result {
  /** The exit code; null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  input?: string;
  /** Default false: standard input ends after `input`. True: it stays open, for `child.stdin`. */
  openInput?: boolean;
  /** Milliseconds; default 60 s. */
  limitMs?: number;
}

export interface Running {
  child: ChildProcess;
  /** What it has said so far. */
  stdout: () => string;
  stderr: () => string;
  /** Resolves when it has ended and its output is complete. */
  ended: Promise<Result>;
}

const outputBytesMax = 64 * 1024 * 1024;

/** Starts a program in a session of its own. */
export function launch(argv: readonly string[], options: RunOptions = {}): Running {
  const [command, ...args] = argv;
  if (command === undefined) {
    throw new Error("launch: empty argv");
  }
  const child = spawn(command, args, {
    cwd: options.cwd ?? "/",
    env: options.env ?? { PATH: process.env["PATH"] ?? "", LANG: "C.UTF-8" },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  let bytes = 0;
  const keep = (list: Buffer[]) => (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= outputBytesMax) {
      list.push(chunk);
    }
  };
  child.stdout.on("data", keep(out));
  child.stderr.on("data", keep(err));
  child.stdin.on("error", () => {
    // A program that ends without reading its input is no fault of the test.
  });
  child.stdin.write(options.input ?? "");
  if (options.openInput !== true) {
    child.stdin.end();
  }
  const stdout = (): string => Buffer.concat(out).toString();
  const stderr = (): string => Buffer.concat(err).toString();
  const limitMs = options.limitMs ?? 60_000;
  const ended = new Promise<Result>((resolve, reject) => {
    const timer = setTimeout(() => {
      if (child.pid !== undefined) {
        process.kill(-child.pid, "SIGKILL");
      }
      reject(new Error(`'${argv.join(" ")}' ran past ${limitMs} ms.\nstdout: ${stdout()}\nstderr: ${stderr()}`));
    }, limitMs);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout: stdout(), stderr: stderr() });
    });
  });
  // A test that does not wait for the end must not fail by it.
  ended.catch(() => {});
  return { child, stdout, stderr, ended };
}

/** Runs a program to its end. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Result> {
  return await launch(argv, options).ended;
}

/** Runs a program that must succeed; returns what it printed. */
export async function must(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code !== 0) {
    throw new Error(
      `'${argv.join(" ")}' ended with ${result.code ?? result.signal}.\n${result.stdout}\n${result.stderr}`,
    );
  }
  return result.stdout;
}
