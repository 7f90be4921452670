/**
 * From what stands on the command line to a task: a YAML file or a command, with the flags that override it. It reads
 * the named files and the caller's environment, and nothing else. Used by launch and exec.
 */
import { readFile, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { readAccelerators } from "../../shared/accelerator-request.ts";
import {
  type AcceleratorRequest,
  type FileSource,
  type Task,
  type TaskResources,
  type TaskWay,
  waysOf,
} from "../../shared/task.ts";
import { readTask } from "../../shared/task-file.ts";
import { holdsPassword, passwordInUrl } from "../../shared/task-files.ts";
import { noResources, readLabel, withWays } from "../../shared/task-resources.ts";
import { readImage, readPorts } from "../../shared/task-settings.ts";
import { readCpus, readMemory, readPriority, readTime } from "../../shared/units.ts";
import type { Context } from "./context.ts";
import { isEnvName, parseEnvFile } from "./env-file.ts";

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
  gitUrl?: string;
  gitRef?: string;
  imageId?: string;
  ports?: string[];
  env: string[];
  envFile?: string;
  secret?: string[];
  secretFile?: string;
  /** `--config`: a file, or any number of key=value. */
  config?: string[];
}

/** Whose files and variables a task may name. */
type Surroundings = Pick<Context, "cwd" | "env">;

/** SkyPilot's name for a task that was given as a command line; jobs' log lines carry it. */
const commandTaskName = "sky-cmd";
const fileBytesMax = 8 * 1024 * 1024;

/** The text of a file that the person named; `what` it is, for messages. Throws SkyError when it cannot be read. */
export async function readSmallFile(path: string, what: string): Promise<string> {
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

/** What a file of variables and repeated flags say, later ones winning. `KEY` alone takes the caller's own value. */
async function variables(
  flag: "--env" | "--secret",
  file: string | undefined,
  given: readonly string[],
  context: Surroundings,
): Promise<Record<string, string>> {
  const pairs: [string, string][] = [];
  if (file !== undefined) {
    const text = await readSmallFile(resolve(context.cwd, file), flag === "--env" ? "the env file" : "the secret file");
    pairs.push(...parseEnvFile(text, file, context.env));
  }
  for (const text of given) {
    const at = text.indexOf("=");
    const key = at < 0 ? text : text.slice(0, at);
    if (!isEnvName(key)) {
      throw new SkyError("ValueError", `${flag} ${key}: '${key}' cannot be the name of an environment variable.`);
    }
    const value = at < 0 ? context.env[key] : text.slice(at + 1);
    if (value === undefined) {
      const hint = `Write ${flag} ${key}=VALUE.`;
      throw new SkyError("ValueError", `${flag} ${key}: ${key} is not set in your environment.`, hint);
    }
    pairs.push([key, value]);
  }
  return Object.fromEntries(pairs);
}

/** Whether a word of the command line is the path of a task file. */
export function isTaskFile(word: string): boolean {
  return /\.ya?ml$/.test(word) && !/\s/.test(word);
}

const emptyTask: Task = {
  name: null,
  numNodes: 1,
  resources: noResources,
  envs: {},
  setup: null,
  run: null,
};

interface Overrides {
  envs: Record<string, string>;
  secrets: Record<string, string>;
  /** In place of the file's. */
  image?: string;
}

async function baseTask(words: string[], overrides: Overrides, context: Surroundings): Promise<Task> {
  const { envs, secrets, image } = overrides;
  const withImage = image === undefined ? {} : { image };
  const entrypoint = words.join(" ");
  if (words.length === 1 && isTaskFile(entrypoint)) {
    const text = await readSmallFile(resolve(context.cwd, entrypoint), "the task file");
    return readTask(text, { file: basename(entrypoint), envOverrides: envs, secretOverrides: secrets, ...withImage });
  }
  const plain = { ...emptyTask, ...withImage, envs, ...(Object.keys(secrets).length === 0 ? {} : { secrets }) };
  return entrypoint.trim() === "" ? plain : { ...plain, name: commandTaskName, run: entrypoint };
}

/** The task of `[ENTRYPOINT…]`: one `.yaml`/`.yml` file, or words that make one command line; none or '': no task. */
export async function taskOf(words: string[], flags: TaskFlags, context: Surroundings): Promise<Task> {
  const envs = await variables("--env", flags.envFile, flags.env, context);
  const secrets = await variables("--secret", flags.secretFile, flags.secret ?? [], context);
  const image = flags.imageId === undefined ? {} : { image: readImage(flags.imageId) };
  const task = await baseTask(words, { envs, secrets, ...image }, context);
  const workdir = workdirFlag(flags) ?? task.workdir;
  const ports = flags.ports === undefined ? task.ports : readPorts(flags.ports);
  return {
    ...task,
    name: flags.name ?? task.name,
    numNodes: flags.numNodes ?? task.numNodes,
    resources: resourcesOver(task.resources, flags),
    ...(workdir === undefined ? {} : { workdir }),
    ...(ports === undefined ? {} : { ports }),
  };
}

function workdirFlag({ workdir, gitUrl, gitRef }: TaskFlags): FileSource | null {
  if (workdir !== undefined && (gitUrl !== undefined || gitRef !== undefined)) {
    throw new SkyError("ValueError", "--workdir and --git-url exclude each other: the job has one working folder.");
  }
  if (gitRef !== undefined && gitUrl === undefined) {
    throw new SkyError("ValueError", "--git-ref needs --git-url.");
  }
  if (gitUrl !== undefined && holdsPassword(gitUrl)) {
    throw new SkyError("ValueError", `--git-url ${passwordInUrl}`);
  }
  if (gitUrl !== undefined) {
    return { kind: "git", url: gitUrl, ref: gitRef ?? null };
  }
  return workdir === undefined ? null : { kind: "local", path: workdir };
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
