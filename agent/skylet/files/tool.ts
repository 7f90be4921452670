/**
 * Programs of the machine that bring files: git, curl, tools of buckets. Always an argument list, never a shell; they get
 * no input, and their output goes to the setup log. They are in the attempt's session, so a cancel reaches them. Called by
 * git.ts, uri.ts and mounts.ts.
 */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const outputMax = 1024 * 1024;

export interface ToolEnd {
  /** 0: done; null: it was killed by a signal. */
  code: number | null;
  output: string;
}

/** Where the program lies, or null when the user's PATH has none. */
export function findTool(name: string): string | null {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, name);
    try {
      if (folder.startsWith("/")) {
        accessSync(path, constants.X_OK);
        return path;
      }
    } catch {
      // Not here.
    }
  }
  return null;
}

/** The first of these programs that is there. */
export function firstTool(names: readonly string[]): string | null {
  return names.find((name) => findTool(name) !== null) ?? null;
}

/** Runs it with its output in the setup log. `input`: what others must not see among its arguments. */
export function runTool(
  program: string,
  argv: readonly string[],
  env: Record<string, string> = {},
  input: string | null = null,
): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, argv, {
      stdio: [input === null ? "ignore" : "pipe", "inherit", "inherit"],
      env: { ...process.env, ...env },
    });
    // It may end without having read it.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input ?? "");
    child.once("error", () => resolve(127));
    child.once("close", (code, signal) => resolve(signal === null ? (code ?? 1) : 128));
  });
}

/** A quick question whose answer is read; its errors are dropped. */
export function askTool(program: string, argv: readonly string[], env: Record<string, string> = {}): ToolEnd {
  const { status, stdout } = spawnSync(program, argv, {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, ...env },
    maxBuffer: outputMax,
    encoding: "utf8",
  });
  return { code: status, output: stdout ?? "" };
}
