/**
 * A person at a terminal: a home of their own, a head that answers over a real socket, and `sky` with the words that they
 * type. What is printed comes back as text. Used by the tests of client/program*.ts; made anew for each test.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { Context } from "../../client/commands/context.ts";
import { commandLineOf } from "../../client/output/command-line.ts";
import { createScreen } from "../../client/output/screen.ts";
import { runSky } from "../../client/program.ts";
import { type FakeHead, startFakeHead } from "./stand-in-head.ts";

interface Told {
  /** What the person types, line by line; null: standard input is no terminal. */
  answers?: string[];
  /** The person presses Ctrl-D after the answers. */
  closed?: boolean;
  env?: Record<string, string>;
}

export interface Person {
  head: FakeHead;
  home: string;
  /** Ctrl-C, when aborted. */
  interrupt: AbortController;
  sky: (words: string[], told?: Told) => Promise<{ code: number; out: string; err: string }>;
  /** What the command that runs has printed so far. */
  printed: () => string;
  /** Puts the cluster's file into `~/.sky/local`. */
  register: (name: string) => void;
  /** The same, launched once; the head has forgotten the calls. */
  initialize: (name?: string) => Promise<void>;
  close: () => Promise<void>;
}

export function whoami(refused: string | null) {
  return { uid: 1001, user: "alice", groups: [], cluster: "lab", version: "0", refused };
}

export function node(name: string, accelerators: Record<string, number>) {
  return {
    name,
    label: "",
    state: "UP",
    address: null,
    cpus: 8,
    cpus_free: 8,
    memory_gb: 16,
    memory_gb_free: 16,
    accelerators,
    accelerators_free: accelerators,
    warnings: [],
    last_report_seconds_ago: 1,
  };
}

function answerAsUsual(head: FakeHead): void {
  head.pages.set("/onprem/whoami", whoami(null));
  head.pages.set("/onprem/nodes", {
    cluster: "lab",
    unknown_attempts: 0,
    nodes: [node("n1", { V100: 4 }), node("n2", { V100: 4 })],
  });
  const submitted = { value: { job_id: 1, handle: { cluster_name: "lab" } } };
  head.results.set("/launch", (call) =>
    (call.body as { task: string }).task.includes("run:") ? submitted : { value: { ...submitted.value, job_id: null } },
  );
  head.results.set("/exec", submitted);
  head.results.set("/queue", { value: [] });
  head.results.set("/down", { value: null });
}

export async function startPerson(): Promise<Person> {
  const head = await startFakeHead();
  const home = mkdtempSync(join(tmpdir(), "sky-home-"));
  const interrupt = new AbortController();
  let out = "";
  mkdirSync(join(home, ".sky", "local"), { recursive: true });
  answerAsUsual(head);
  const register = (name: string): void => {
    const text = `cluster:\n  ips: [10.0.0.1, 10.0.0.2]\n  name: ${name}\nauth:\n  ssh_user: alice\n  ssh_private_key: ~/.ssh/id\n`;
    writeFileSync(join(home, ".sky", "local", `${name}.yml`), text);
  };
  const sky: Person["sky"] = async (words, told = {}) => {
    const stdin = Object.assign(new PassThrough(), { isTTY: told.answers !== undefined });
    stdin.write((told.answers ?? []).map((answer) => `${answer}\n`).join(""));
    if (told.closed === true) {
      stdin.end();
    }
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    out = "";
    let err = "";
    stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString("utf8");
    });
    stderr.on("data", (chunk: Buffer) => {
      err += chunk.toString("utf8");
    });
    const env = { COLUMNS: "80", ...told.env };
    const context: Context = {
      screen: createScreen({ stdin, stdout, stderr, env }),
      env,
      home,
      cwd: home,
      commandLine: commandLineOf(words),
      now: () => 2000,
      connect: () => head.connect(),
      interrupted: () => ({ signal: interrupt.signal, done: () => undefined }),
    };
    const code = await runSky(words, context);
    await new Promise((resolve) => setImmediate(resolve));
    return { code, out, err };
  };
  const initialize = async (name = "lab"): Promise<void> => {
    register(name);
    const { code, err } = await sky(["launch", "-c", name, "-y", ""]);
    if (code !== 0) {
      throw new Error(err);
    }
    head.calls.length = 0;
  };
  return {
    ...{ head, home, interrupt, sky, register, initialize },
    printed: () => out,
    close: async () => {
      await head.close();
      rmSync(home, { recursive: true, force: true });
    },
  };
}
