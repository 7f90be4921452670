/**
 * Runs ansible-playbook: the only place of the client that starts it. Arguments are arrays, secrets travel only by the
 * terminal that ansible itself asks at, and everything that ansible says is kept in a transcript file for the admin.
 * It must never interpret what a playbook does; transcript.ts tells what happened. Called by commands/admin/deploy.ts.
 */
import { execFile, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { SkyError } from "../../shared/errors.ts";
import { countTasks, type PlaybookEvent, Transcript } from "./transcript.ts";

const listLimitMs = 60_000;
const outputBytesMax = 8 * 1024 * 1024;
/** A line without an end is cut into pieces of this many characters. */
const lineMax = 1024 * 1024;

export interface PlaybookRun {
  /** Absolute path of the playbook; ansible works in its folder. */
  playbook: string;
  inventory: string;
  /** Further arguments, e.g. `--ask-become-pass`. */
  options: string[];
  env: NodeJS.ProcessEnv;
  /** Gets everything that ansible prints; made anew. */
  transcript: string;
  onEvent(event: PlaybookEvent): void;
  /** Ends ansible when aborted. */
  signal: AbortSignal;
}

function environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {
    ...env,
    ANSIBLE_NOCOLOR: "1",
    ANSIBLE_FORCE_COLOR: "0",
    ANSIBLE_STDOUT_CALLBACK: "default",
    ANSIBLE_DISPLAY_SKIPPED_HOSTS: "1",
    ANSIBLE_RETRY_FILES_ENABLED: "0",
    ANSIBLE_DEPRECATION_WARNINGS: "0",
    PYTHONUNBUFFERED: "1",
  };
}

/** Throws SkyError with the way to get ansible when it is not there. */
export async function requireAnsible(env: NodeJS.ProcessEnv): Promise<void> {
  try {
    await output(["--version"], env, "/");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new SkyError(
      "ValueError",
      missing
        ? "ansible-playbook is not installed on this machine."
        : `ansible-playbook does not work: ${cause(error)}`,
      "Install it here (only this machine needs it): `sudo apt install ansible-core` on Debian and Ubuntu, " +
        "`brew install ansible` on macOS, `pipx install ansible-core` elsewhere. Then run this again.",
    );
  }
}

function cause(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return (stderr?.trim() || message || String(error)).slice(0, 500);
}

function output(argv: string[], env: NodeJS.ProcessEnv, cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { env: environment(env), cwd, timeout: listLimitMs, maxBuffer: outputBytesMax };
    const child = execFile("ansible-playbook", argv, options, (error, stdout, stderr) => {
      if (error === null) {
        resolve(stdout);
      } else {
        reject(Object.assign(error, { stderr }));
      }
    });
    child.stdin?.end();
  });
}

/** How many tasks the playbook has at most; for a progress display. Throws SkyError when ansible refuses the playbook. */
export async function tasksOf(run: Pick<PlaybookRun, "playbook" | "inventory" | "env" | "options">): Promise<number> {
  const argv = ["-i", run.inventory, run.playbook, "--list-tasks", ...run.options.filter(isVariable)];
  try {
    return countTasks(await output(argv, run.env, "/"));
  } catch (error) {
    throw new SkyError("ValueError", `ansible-playbook refuses ${run.playbook}: ${cause(error)}`);
  }
}

/** Passwords are asked for once, by the run itself. */
function isVariable(option: string): boolean {
  return !option.startsWith("--ask-");
}

/** Runs it to its end; resolves with ansible's exit code, or null when the signal ended it. The terminal stays ansible's for its questions. */
export async function runPlaybook(run: PlaybookRun): Promise<number | null> {
  const file = createWriteStream(run.transcript, { mode: 0o600 });
  const child = spawn("ansible-playbook", ["-i", run.inventory, run.playbook, ...run.options], {
    env: environment(run.env),
    stdio: ["inherit", "pipe", "pipe"],
    cwd: "/",
  });
  const end = (): void => void child.kill("SIGINT");
  run.signal.addEventListener("abort", end, { once: true });
  const transcript = new Transcript();
  let rest = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk: string) => {
    file.write(chunk);
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(-lineMax);
    for (const event of lines.flatMap((line) => transcript.push(line))) {
      run.onEvent(event);
    }
  });
  child.stderr.on("data", (chunk: Buffer) => file.write(chunk));
  try {
    const [code] = await new Promise<[number | null]>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status) => resolve([status]));
    });
    return run.signal.aborted ? null : (code ?? 1);
  } finally {
    run.signal.removeEventListener("abort", end);
    file.end();
    await finished(file).catch(() => undefined);
  }
}
