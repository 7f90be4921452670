/**
 * A world: the private namespaces in which one test's machines live. Processes, mounts and network are its own, so several
 * worlds with the same addresses run side by side, nothing of this computer's network is touched, and the kernel removes
 * everything when the world's first process ends. That process ends with its owner (its standard input closes). Called by
 * machines.ts.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, must, type Result, run, type RunOptions } from "../help/run.ts";
import { until } from "../help/until.ts";
import { fileURLToPath } from "node:url";
import { newWorldName, removeRemains, worldsDir } from "./identity.ts";

/** The environment of programs that a world runs; nothing of the test's own gets in. */
const cleanEnv = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  HOME: "/root",
  // In the world's own /run: ansible keeps connections open by address, and all worlds have the same addresses.
  ANSIBLE_HOME: "/run/ansible",
  ANSIBLE_SSH_CONTROL_PATH_DIR: "/run/ansible/cp",
  ANSIBLE_LOCAL_TEMP: "/run/ansible/tmp",
};

export interface Namespaces {
  name: string;
  /** The world's folder on this computer. */
  folder: string;
  /** A path inside the world, as it can be opened from outside: mounts are seen as the world sees them. */
  seen: (path: string) => string;
  /** argv that runs a program of this computer in the world: same files, the world's network, ended with the world. */
  argv: (argv: readonly string[], cwd?: string) => string[];
  run: (argv: readonly string[], options?: RunOptions) => Promise<Result>;
  must: (argv: readonly string[], options?: RunOptions) => Promise<string>;
  close: () => Promise<void>;
}

/** Opens a world. `hosts` are the lines by which its names resolve. */
export async function openWorld(hosts: string): Promise<Namespaces> {
  const name = newWorldName();
  const folder = join(worldsDir, name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, "hosts"), hosts);
  const script = fileURLToPath(new URL("world.sh", import.meta.url));
  const spaces = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child"];
  const holder = launch([...spaces, "bash", script, name, folder], {
    env: cleanEnv,
    openInput: true,
    limitMs: 24 * 3_600_000,
  });
  const close = async (): Promise<void> => {
    holder.child.stdin?.end();
    await holder.ended;
    await removeRemains(name);
  };
  const ready = (): string | undefined => /^ready (\d+)$/m.exec(holder.stdout())?.[1];
  await until(() => ready() ?? holder.child.exitCode !== null, "a world of its own for the test's machines");
  const pid = ready();
  if (pid === undefined) {
    await close();
    throw new Error(`the namespaces for the test's machines could not be made: ${holder.stderr()}`);
  }
  const argv: Namespaces["argv"] = (argv, cwd) => [
    ...["nsenter", `--target=${pid}`, "--net", "--mount", "--pid", "--ipc", "--"],
    ...(cwd === undefined ? [] : ["env", `--chdir=${cwd}`]),
    ...argv,
  ];
  const withEnv = (options: RunOptions = {}): RunOptions => ({ ...options, env: { ...cleanEnv, ...options.env } });
  return {
    name,
    folder,
    seen: (path) => `/proc/${pid}/root${path}`,
    argv,
    run: (words, options) => run(argv(words, options?.cwd), withEnv(options)),
    must: (words, options) => must(argv(words, options?.cwd), withEnv(options)),
    close,
  };
}
