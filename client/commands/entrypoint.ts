/**
 * From what stands on the command line to a task: a YAML file or a command, with the flags that override it. It reads
 * the named files and the caller's environment, and nothing else. Used by launch and exec.
 */
import { readFile, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { readAccelerators } from "../../shared/accelerator-request.ts";
import { type AcceleratorRequest, type Task, type TaskResources, type TaskWay, waysOf } from "../../shared/task.ts";
import { readTask } from "../../shared/task-file.ts";
import { noResources, readLabel, withWays } from "../../shared/task-resources.ts";
import { readCpus, readMemory, readPriority, readTime } from "../../shared/units.ts";
import type { Context } from "./context.ts";

/** The flags of launch and exec that change the task. */
export interface TaskFlags {
  name?: string;
  numNodes?: number;
  gpus?: string;
  cpus?: string;
  memory?: string;
  label?: string[];
  time?: string;
  priority?: string;
  exclusive?: boolean;
  preemptible?: boolean;
  /** A folder; takes the place of what the file says. */
  workdir?: string;
  env: string[];
  envFile?: string;
  /** `--config`: a file, or any number of key=value. */
  config?: string[];
}

/** Whose files and variables a task may name. */
type Surroundings = Pick<Context, "cwd" | "env">;

/** SkyPilot's name for a task that was given as a command line; jobs' log lines carry it. */
const commandTaskName = "sky-cmd";
const fileBytesMax = 8 * 1024 * 1024;
const envName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

async function readSmallFile(path: string, what: string): Promise<string> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) {
      throw new Error("it is a folder");
    }
    if (found.size > fileBytesMax) {
      throw new Error("it is over 8 MB");
    }
    return await readFile(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    const cause =
      code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "you may not read it" : messageOf(error);
    throw new SkyError("ValueError", `Cannot read ${what} ${path}: ${cause}.`);
  }
}

/** `KEY=value` lines; `#` comments, `export ` in front and matching quotes around the value are understood. */
function parseEnvFile(text: string, file: string): [string, string][] {
  const found: [string, string][] = [];
  text.split(/\r?\n/).forEach((raw, index) => {
    const line = raw.trim().replace(/^export\s+/, "");
    if (line === "" || line.startsWith("#")) {
      return;
    }
    const at = line.indexOf("=");
    const key = at < 0 ? line : line.slice(0, at).trim();
    if (at < 0 || !envName.test(key)) {
      throw new SkyError("ValueError", `${file}, line ${index + 1}: expected KEY=VALUE.`);
    }
    const value = line.slice(at + 1).trim();
    const quoted = /^(["'])(.*)\1$/s.exec(value);
    found.push([key, quoted === null ? value.replace(/\s+#.*$/, "") : (quoted[2] ?? "")]);
  });
  return found;
}

/** What `--env-file` and `--env` say, later ones winning. `--env KEY` takes the caller's own value. */
async function envOverrides(flags: TaskFlags, context: Surroundings): Promise<Record<string, string>> {
  const pairs: [string, string][] = [];
  if (flags.envFile !== undefined) {
    const path = resolve(context.cwd, flags.envFile);
    pairs.push(...parseEnvFile(await readSmallFile(path, "the env file"), flags.envFile));
  }
  for (const flag of flags.env) {
    const at = flag.indexOf("=");
    const key = at < 0 ? flag : flag.slice(0, at);
    if (!envName.test(key)) {
      throw new SkyError("ValueError", `--env ${flag}: '${key}' cannot be the name of an environment variable.`);
    }
    const value = at < 0 ? context.env[key] : flag.slice(at + 1);
    if (value === undefined) {
      throw new SkyError(
        "ValueError",
        `--env ${key}: ${key} is not set in your environment.`,
        `Write --env ${key}=VALUE.`,
      );
    }
    pairs.push([key, value]);
  }
  return Object.fromEntries(pairs);
}

const emptyTask: Task = {
  name: null,
  numNodes: 1,
  resources: noResources,
  envs: {},
  setup: null,
  run: null,
};

async function baseTask(words: string[], overrides: Record<string, string>, context: Surroundings): Promise<Task> {
  const entrypoint = words.join(" ");
  if (words.length === 1 && /\.ya?ml$/.test(entrypoint) && !/\s/.test(entrypoint)) {
    const text = await readSmallFile(resolve(context.cwd, entrypoint), "the task file");
    return readTask(text, { file: basename(entrypoint), envOverrides: overrides });
  }
  if (entrypoint.trim() === "") {
    return { ...emptyTask, envs: overrides };
  }
  return { ...emptyTask, name: commandTaskName, run: entrypoint, envs: overrides };
}

/** The task of `[ENTRYPOINT…]`: one `.yaml`/`.yml` file, or words that make one command line; none or '': no task. */
export async function taskOf(words: string[], flags: TaskFlags, context: Surroundings): Promise<Task> {
  const overrides = await envOverrides(flags, context);
  const task = await baseTask(words, overrides, context);
  return {
    ...task,
    name: flags.name ?? task.name,
    numNodes: flags.numNodes ?? task.numNodes,
    ...(flags.workdir === undefined ? {} : { workdir: { kind: "local" as const, path: flags.workdir } }),
    resources: resourcesOver(task.resources, flags),
  };
}

/** `--gpus none` asks for none, as in SkyPilot. */
function acceleratorsFlag(text: string): AcceleratorRequest | null {
  return text.trim().toLowerCase() === "none" ? null : (readAccelerators(text).requests[0] ?? null);
}

/** The file's resources with what the flags say in its place: a flag holds for every way in which the task may run. */
function resourcesOver(resources: TaskResources, flags: TaskFlags): TaskResources {
  const labels = Object.fromEntries((flags.label ?? []).map(readLabel));
  const over: Partial<TaskWay> = {
    ...(flags.gpus === undefined ? {} : { accelerators: acceleratorsFlag(flags.gpus) }),
    ...(flags.cpus === undefined ? {} : { cpus: readCpus(flags.cpus) }),
    ...(flags.memory === undefined ? {} : { memoryGb: readMemory(flags.memory) }),
  };
  const ways = waysOf(resources).map((way) => ({
    ...way,
    ...over,
    ...(Object.keys(labels).length === 0 ? {} : { labels: { ...way.labels, ...labels } }),
  }));
  const priority = flags.priority === undefined ? resources.priority : readPriority(flags.priority);
  const timeLimitSeconds = flags.time === undefined ? resources.timeLimitSeconds : readTime(flags.time);
  return withWays(
    {
      ...resources,
      ...(priority === undefined ? {} : { priority }),
      ...(timeLimitSeconds === undefined ? {} : { timeLimitSeconds }),
      ...(flags.exclusive === true ? { exclusive: true } : {}),
      ...(flags.preemptible === true ? { preemptible: true, recovers: true } : {}),
    },
    ways,
    resources.anyOrder === true,
  );
}
