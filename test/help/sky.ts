/**
 * Typing `sky` as a given user: the built executable, the user's own ids and groups, a clean environment, no terminal.
 * Used by the end-to-end tests and the benchmark.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { dist } from "../../scripts/cluster/layout.ts";
import { launch, type Result, type Running, type RunOptions } from "./run.ts";
import type { TestUser } from "./users.ts";

export interface SkyOptions extends RunOptions {
  /** Laid over the clean environment. */
  env?: Record<string, string>;
}

/** argv that runs a program as this user, as a login would but without a shell. A user without a name is a bare uid. */
function asUser(user: TestUser, argv: readonly string[]): string[] {
  const ids = [
    "--reuid",
    String(user.uid),
    "--regid",
    String(user.gid),
    user.name === "" ? "--clear-groups" : "--init-groups",
  ];
  return ["setpriv", ...ids, "--", ...argv];
}

function userEnv(user: TestUser): Record<string, string> {
  return {
    PATH: `/usr/local/bin:/usr/bin:/bin:${dirname(process.execPath)}`,
    HOME: user.home,
    USER: user.name,
    LOGNAME: user.name,
    LANG: "C.UTF-8",
  };
}

/** Starts `sky …` and returns at once. */
export function startSky(user: TestUser, args: readonly string[], options: SkyOptions = {}): Running {
  const argv = asUser(user, [join(dist, "sky"), ...args]);
  return launch(argv, { cwd: user.home, ...options, env: { ...userEnv(user), ...options.env } });
}

/** `sky …` at a terminal of 80 columns: a pseudo terminal, on which keys can be typed. */
export interface Terminal extends Running {
  /** Types this; `\r` is Enter, `\u0003` Ctrl-C. */
  type(keys: string): void;
}

/** Starts `sky …` at a terminal; everything that it shows is in `stdout`. */
export function startSkyAtTerminal(user: TestUser, args: readonly string[], options: SkyOptions = {}): Terminal {
  const words = [join(dist, "sky"), ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  const command = `stty cols 80; exec ${words.join(" ")}`;
  const argv = asUser(user, ["script", "--quiet", "--return", "--flush", "--command", command, "/dev/null"]);
  const env = { ...userEnv(user), TERM: "xterm", ...options.env };
  const running = launch(argv, { cwd: user.home, openInput: true, ...options, env });
  return { ...running, type: (keys) => void running.child.stdin?.write(keys) };
}

/** Runs `sky …` to its end, whatever its exit code. */
export async function sky(user: TestUser, args: readonly string[], options: SkyOptions = {}): Promise<Result> {
  return await startSky(user, args, options).ended;
}

/** Runs `sky …`, which must succeed; returns stdout. */
export async function skyOk(user: TestUser, args: readonly string[], options: SkyOptions = {}): Promise<string> {
  const result = await sky(user, args, options);
  if (result.code !== 0) {
    throw new Error(
      `sky ${args.join(" ")} ended with ${result.code ?? result.signal}\n${result.stdout}\n${result.stderr}`,
    );
  }
  return result.stdout;
}

/** Starts a program as the user in the same environment as `sky`. */
export function startAs(user: TestUser, argv: readonly string[], options: SkyOptions = {}): Running {
  return launch(asUser(user, argv), { cwd: user.home, ...options, env: { ...userEnv(user), ...options.env } });
}

/** As startAs, to its end. */
export async function runAs(user: TestUser, argv: readonly string[], options: SkyOptions = {}): Promise<Result> {
  return await startAs(user, argv, options).ended;
}

/** Puts a cluster's file into the user's `~/.sky/local`, with the user's own name and key, and trusts the host key. */
export function register(
  user: TestUser,
  cluster: { name: string; registration: string },
  ssh: { port: number; hostKey: string } | null,
): string {
  const folder = join(user.home, ".sky/local");
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const lines = readFileSync(cluster.registration, "utf8")
    .replace(/ssh_user: .*/, `ssh_user: ${user.name}`)
    .replace(/ssh_private_key: .*/, `ssh_private_key: ${user.key}`)
    .replace(/\n {2}port: .*/, "")
    .replace(/\nauth:\n/, ssh === null ? "\nauth:\n" : `\nauth:\n  port: ${ssh.port}\n`);
  const file = join(folder, `${cluster.name}.yml`);
  writeFileSync(file, lines);
  if (ssh !== null) {
    writeFileSync(join(user.home, ".ssh/known_hosts"), `[127.0.0.1]:${ssh.port} ${ssh.hostKey}\n`);
  }
  execFileSync("chown", ["-R", `${user.uid}:${user.gid}`, join(user.home, ".sky"), join(user.home, ".ssh")]);
  return file;
}
