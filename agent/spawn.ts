/**
 * The only place of the agent that starts processes: small tools with a time limit, and users' skylets through a login
 * session (`sudo -H su --login`). Nothing of the agent's own environment, descriptors or terminal reaches either. Root
 * builds exactly one command line, of words whose characters are checked. Called by accounts, inventory and skylets.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { messageOf } from "../shared/errors.ts";
import type { Account } from "../shared/users-policy.ts";

const fixedPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const fixedEnv = { PATH: fixedPath, LC_ALL: "C" };
/**
 * The agent may be spared by the kernel when memory runs out, or run with another priority; a user's session must not
 * inherit either. Where the agent may not reset one of them, it stays. The arguments are the command that it becomes.
 */
const asAtBoot =
  '{ echo 0 >/proc/self/oom_score_adj; renice -n 0 -p "$$"; } >/dev/null 2>&1; umask 022; exec "$0" "$@"';
const outputBytesMax = 4 * 1024 * 1024;
const saidMax = 4_096;
/** What a word of the one command line that a login shell reads may consist of: nothing that any shell treats specially. */
const safeWord = /^[A-Za-z0-9_./@:+,-]+$/;

export interface ToolResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** A tool failed to run at all: missing, too slow, or it printed too much. */
export class ToolFault extends Error {
  override readonly name = "ToolFault";
  readonly missing: boolean;

  constructor(message: string, missing: boolean) {
    super(message);
    this.missing = missing;
  }
}

/**
 * Runs a tool with an argument list and gives its exit code and output. `env` is laid over the fixed environment. Throws
 * ToolFault when it is missing or takes longer than `limitMs`.
 */
export function runTool(
  file: string,
  argv: string[],
  limitMs: number,
  env: Record<string, string> = {},
): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const options = {
      env: { ...fixedEnv, ...env },
      cwd: "/",
      timeout: limitMs,
      killSignal: "SIGKILL" as const,
      maxBuffer: outputBytesMax,
      encoding: "utf8" as const,
    };
    const child = execFile(file, argv, options, (error, stdout, stderr) => {
      if (error === null) {
        resolve({ code: 0, stdout, stderr });
      } else if (typeof error.code === "number") {
        resolve({ code: error.code, stdout, stderr });
      } else if ((error.code as unknown) === "ENOENT") {
        reject(new ToolFault(`${file} is not installed`, true));
      } else if (error.killed === true) {
        reject(new ToolFault(`${file} did not answer within ${limitMs / 1000} seconds`, false));
      } else {
        reject(new ToolFault(`${file} failed: ${error.message.slice(0, 200)}`, false));
      }
    });
    child.stdin?.end();
  });
}

export interface SkyletCommand {
  /** Absolute path of start-skylet.sh, readable by every user. */
  script: string;
  /** Absolute path of node. */
  node: string;
  /** Absolute path of the installed skylet bundle, readable by every user. */
  bundle: string;
  version: string;
  /** The agent's socket. */
  socket: string;
  /** The user's folder in the runtime folder. */
  dir: string;
  idleSeconds: number;
  /** The uid that owns the socket: 0, or the user's own in single_user mode. */
  agentUid: number;
}

/** Why these words cannot be given to a login shell; null when they can. Paths with blanks or quotes are refused, never quoted. */
export function faultOfWords(words: readonly string[]): string | null {
  const bad = words.find((word) => !safeWord.test(word) || word.startsWith("-"));
  return bad === undefined ? null : `'${bad}' holds characters that cannot be given to a login shell safely`;
}

function wordsOf(command: SkyletCommand): string[] {
  const { script, node, bundle, version, socket, dir, idleSeconds, agentUid } = command;
  return [script, node, bundle, version, socket, dir, String(idleSeconds), String(agentUid)];
}

/** How a tool that runs for a while ended. `code` is null when it was killed or never began. */
export interface ToolEnd {
  code: number | null;
  /** The beginning of what it wrote to stderr. */
  said: string;
  isMissing: boolean;
}

/** Starts a tool that runs for as long as what it watches. It has no input and no output; `end` ends the tool itself. */
export function startTool(file: string, argv: string[]): { ended: Promise<ToolEnd>; end(): void } {
  const child = spawn(file, argv, { env: fixedEnv, cwd: "/", stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (text: string) => {
    said = `${said}${text}`.slice(0, saidMax);
  });
  const ended = new Promise<ToolEnd>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      resolve({ code: null, said: messageOf(error), isMissing: error.code === "ENOENT" }),
    );
    child.once("close", (code) => resolve({ code, said, isMissing: false }));
  });
  return {
    ended,
    end: () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM");
      }
    },
  };
}

/** A program that is asked one question and answers on its standard output. */
export interface Reporter {
  output: Readable;
  /** Resolves when it has ended and its output is complete or was given up, or when it could not be started. */
  ended: Promise<void>;
  /** Ends it and gives up what it still has to say; does nothing when it has ended already. */
  end(): void;
}

/** A unit that is to end is killed after five seconds, and forgotten by us when not even systemd answers. */
const reporterStopLimitMs = 10_000;
/** How long such a unit may live, whatever becomes of the one who asked. */
const reporterProperties = ["RuntimeMaxSec=60", "TimeoutStopSec=5", "UMask=0022"];

/** systemd-run only waits: what it has started would go on without it, also what systemd had not begun at the first stop. */
async function endUnit(unit: string, kill: () => void): Promise<void> {
  const stop = (): Promise<unknown> =>
    runTool("systemctl", ["stop", `${unit}.service`], reporterStopLimitMs).catch(() => undefined);
  await stop();
  kill();
  await stop();
}

/** Starts one with the question on its standard input; with `unit` as a transient unit of systemd with this name. */
export function startReporter(words: string[], question: string, unit: string | null): Reporter {
  const how = ["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", `--unit=${unit ?? ""}`];
  const properties = reporterProperties.flatMap((property) => ["-p", property]);
  const [file = "", ...argv] = unit === null ? words : ["systemd-run", ...how, ...properties, "--", ...words];
  const child = spawn(file, argv, { env: fixedEnv, cwd: "/", stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => undefined);
  child.stdin.end(question);
  const closed = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", () => resolve());
  });
  const kill = (): void => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
    }
  };
  let ending: Promise<unknown> | null = null;
  return {
    output: child.stdout,
    ended: closed.then(async () => {
      await ending;
    }),
    end: () => {
      child.stdout.unpipe();
      child.stdout.resume();
      if (child.exitCode === null && child.signalCode === null) {
        ending ??= unit === null ? Promise.resolve(kill()) : endUnit(unit, kill);
      }
    },
  };
}

export interface StartedSkylet {
  /** Rejects never; resolves when the login session has ended. `isError`: by itself, not killed and not in good order. */
  ended: Promise<{ how: string; isError: boolean }>;
  /** The skylet is there: nobody waits for the session's end any more. */
  settle(): void;
  /** Ends a login that never became a skylet. Does nothing when it has ended already. */
  abandon(): void;
}

/** The user's login as root starts it. Throws when a word is not safe. */
export function loginCommand(account: Account, command: SkyletCommand): string[] {
  const words = wordsOf(command);
  const fault = faultOfWords([account.name, ...words]);
  if (fault !== null) {
    throw new Error(fault);
  }
  return ["sudo", "-H", "su", "--login", account.name, "-c", `/bin/sh ${words.join(" ")}`];
}

/**
 * Starts the user's skylet in a session of its own, with stdio on /dev/null. As root through the user's login; in
 * `direct` mode (single_user) without a switch of user. Throws when a word is not safe.
 */
export function startSkylet(account: Account, command: SkyletCommand, direct: boolean): StartedSkylet {
  const login = loginCommand(account, command);
  const options = { detached: true, stdio: "ignore" as const, cwd: "/" };
  if (direct) {
    if (account.uid !== process.getuid?.()) {
      throw new Error(`this agent runs jobs of uid ${process.getuid?.()} only`);
    }
    const env = { ...fixedEnv, HOME: account.home, USER: account.name, LOGNAME: account.name, SHELL: account.shell };
    return watch(spawn("/bin/sh", wordsOf(command), { ...options, env: { ...env, LC_ALL: undefined } }));
  }
  return watch(spawn("/bin/sh", ["-c", asAtBoot, ...login], { ...options, env: { PATH: fixedPath } }));
}

function watch(child: ChildProcess): StartedSkylet {
  const ended = new Promise<{ how: string; isError: boolean }>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      resolve({ how: messageOf(error), isError: error.code === "ENOENT" }),
    );
    // sudo and su give 128 and more when what they ran was killed.
    child.once("exit", (code, signal) => {
      const isError = signal === null && code !== null && code > 0 && code < 128;
      resolve({ how: signal === null ? `exit code ${code}` : `signal ${signal}`, isError });
    });
  });
  // The skylet outlives the agent, so the agent does not wait for it.
  child.unref();
  return {
    ended,
    settle: () => undefined,
    abandon: () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM");
      }
    },
  };
}
