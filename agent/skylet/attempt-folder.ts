/**
 * One attempt's folder under the user's runtime folder: writing it before a start, and telling from its files and from
 * /proc how the attempt stands. The files are the truth; whoever comes back after a crash reads the same state from
 * them. It must never decide anything by what a file's absence could mean two ways. Called by attempts.ts.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import * as z from "zod";
import { wantedAttemptSchema } from "../../shared/agent-wire.ts";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Payload } from "../../shared/job.ts";
import type { SkyletAttempt } from "../../shared/skylet-wire.ts";
import type { GeneratorOrder } from "./command-generator.ts";
import {
  containerEndScript,
  containerFiles,
  containerMain,
  type ContainerPlan,
  containerScript,
  registryOf,
} from "./container.ts";
import { environmentFile, eventVariables, runVariables, setupVariables } from "./environment.ts";
import type { FilesOrder } from "./files/order.ts";
import { insideScript, readOnlyLines } from "./inside.ts";
import { isAlive } from "./processes.ts";
import { attemptFiles, checkScript, eventScript, type RunnerPlan, runnerScript, userScript } from "./runner-script.ts";
import { makeScratch, type Scratch, scratchScript } from "./scratch.ts";
import { watcherScript } from "./watcher-script.ts";

const specSchema = z.strictObject({
  format: z.literal(1),
  bootId: z.string().max(64),
  wanted: wantedAttemptSchema,
  logDir: z.string().max(300),
});
export type AttemptSpec = z.infer<typeof specSchema>;

const runnerSchema = z.strictObject({ pid: z.int().positive(), startTime: z.string().max(32) });
export type Runner = z.infer<typeof runnerSchema>;

const mode = 0o600;

/** Writes everything a runner needs; the folder must not exist. */
export async function writeAttemptFolder(
  spec: AttemptSpec,
  payload: Payload,
  plan: RunnerPlan,
  order: FilesOrder | null,
  container: ContainerPlan | null,
  scratch: Scratch | null,
): Promise<void> {
  const { folder } = plan;
  // Last: a task that names another home is held to the one that it is to have.
  const home = plan.scratchHome === undefined ? {} : { HOME: plan.scratchHome };
  const envs = { ...payload.envs, ...payload.secrets, ...home };
  // At once: it is the machine's own memory, and a turn of the thread pool for each file costs more than the write.
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text, { mode, flag: "wx" });
  mkdirSync(folder, { mode: 0o700 });
  put(attemptFiles.spec, JSON.stringify(spec));
  put(attemptFiles.runnerScript, runnerScript(plan));
  if (plan.setup) {
    put(attemptFiles.setupEnvironment, environmentFile(setupVariables(spec.wanted, envs)));
    put(attemptFiles.setupScript, userScript(plan, attemptFiles.setupEnvironment, payload.setup ?? ""));
  }
  if (plan.run) {
    put(attemptFiles.runEnvironment, environmentFile(runVariables(spec.wanted, envs)));
    if (payload.runGenerator === undefined) {
      put(attemptFiles.runScript, userScript(plan, attemptFiles.runEnvironment, payload.run ?? ""));
    } else {
      put(attemptFiles.generatorOrder, JSON.stringify(generatorOrderOf(spec, plan, payload.runGenerator)));
    }
  }
  if (order !== null) {
    put(attemptFiles.filesOrder, JSON.stringify(order));
  }
  if (plan.eventLog !== undefined) {
    put(attemptFiles.eventEnvironment, environmentFile(eventVariables(spec.wanted, envs)));
    put(attemptFiles.eventScript, eventScript(plan, payload.eventCallback ?? ""));
  }
  if (scratch !== null) {
    makeScratch(scratch);
  }
  if (plan.check === true) {
    put(attemptFiles.checkScript, checkScript(plan));
  }
  if (container !== null) {
    put(attemptFiles.insideScript, containerScript(container));
    put(containerFiles.main, containerMain(container));
    put(attemptFiles.containerEnd, containerEndScript(container));
    put(containerFiles.registryPassword, registryOf(payload)?.password ?? "");
  } else if (plan.inside === true) {
    put(attemptFiles.insideScript, insideText(payload, scratch));
  }
  if (plan.lease !== null) {
    put(attemptFiles.watcherScript, watcherScript(plan.folder, plan.lease));
  }
  if (spec.wanted.mayRun) {
    put(attemptFiles.mayRun, "");
  } else {
    await makeFifo(join(folder, attemptFiles.wake));
  }
}

/** Around the scripts on the machine itself: volumes that may only be read, and the job's own folders. */
function insideText(payload: Payload, scratch: Scratch | null): string {
  const paths = readOnlyPaths(payload);
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  return scratch === null || scratch.mounted.length === 0
    ? insideScript(paths, uid, gid)
    : scratchScript(scratch.mounted, readOnlyLines(paths), uid, gid);
}

function generatorOrderOf({ wanted }: AttemptSpec, { home }: RunnerPlan, source: string): GeneratorOrder {
  return { format: 1, source, rank: wanted.rank, addresses: wanted.addresses, home };
}

/** Paths of volumes that may only be read. */
export function readOnlyPaths({ files }: Payload): string[] {
  return (files ?? []).flatMap((plan) => (plan.kind === "volume" && plan.readOnly ? [plan.path] : []));
}

/** Node has no call for it. */
async function makeFifo(path: string): Promise<void> {
  await promisify(execFile)("mkfifo", ["-m", "600", path], { timeout: 10_000 });
}

/** Written and renamed, so that a reader sees all of it or nothing. */
export function writeRunner(folder: string, runner: Runner): void {
  const draft = join(folder, `${attemptFiles.runner}.part`);
  writeFileSync(draft, JSON.stringify(runner), { mode });
  renameSync(draft, join(folder, attemptFiles.runner));
}

/**
 * Written and renamed: the runner, which watches it, must never read half a number. What cannot be written is asked again
 * with the next renewal; until then the runner goes by the last one.
 */
export function writeLease(folder: string, untilUptimeMs: number): void {
  const until = Math.floor(untilUptimeMs / 1000);
  if (until <= Number(readText(folder, attemptFiles.lease) ?? 0)) {
    return;
  }
  const draft = join(folder, `${attemptFiles.lease}.part`);
  try {
    writeFileSync(draft, `${until}\n`, { mode });
    renameSync(draft, join(folder, attemptFiles.lease));
  } catch {
    // See above.
  }
}

function readText(folder: string, name: string): string | null {
  try {
    return readFileSync(join(folder, name), "utf8");
  } catch {
    return null;
  }
}

function readJson<T>(folder: string, name: string, schema: z.ZodType<T>): T | null {
  const text = readText(folder, name);
  try {
    return text === null ? null : schema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

export function readSpec(folder: string): AttemptSpec | null {
  return readJson(folder, attemptFiles.spec, specSchema);
}

export function readRunner(folder: string): Runner | null {
  return readJson(folder, attemptFiles.runner, runnerSchema);
}

/** An exit code, `-` for "never began", or null while the line is not complete. */
function readExit(folder: string, name: string): number | "-" | null {
  const text = readText(folder, name);
  const match = /^(-|\d{1,3})\n$/.exec(text ?? "");
  return match === null ? null : match[1] === "-" ? "-" : Math.min(255, Number(match[1]));
}

export interface Standing {
  snapshot: SkyletAttempt;
  /** The runner lives. */
  alive: boolean;
  /** No user code has run and this runner can never begin any: it ended at its gate. */
  neverStarted: boolean;
}

function namesIn(folder: string): Set<string> {
  try {
    return new Set(readdirSync(folder));
  } catch {
    return new Set();
  }
}

/**
 * How the attempt of this runner stands now. The runner's life is looked at before its files, or its last words could be
 * missed.
 */
export function readStanding(folder: string, spec: AttemptSpec, runner: Runner | null, bootId: string): Standing {
  const sameBoot = spec.bootId === bootId;
  const alive = sameBoot && runner !== null && isAlive(runner.pid, runner.startTime);
  const names = namesIn(folder);
  const has = (name: string): boolean => names.has(name);
  const started = has(attemptFiles.started);
  const setupExit = has(attemptFiles.setupExit) ? readExit(folder, attemptFiles.setupExit) : null;
  const exit = has(attemptFiles.exit) ? readExit(folder, attemptFiles.exit) : null;
  const running = has(attemptFiles.running);
  const stopped = has(attemptFiles.stopped);
  const snapshot: SkyletAttempt = {
    attempt: spec.wanted.attempt,
    state: "exited",
    pid: alive || started ? (runner?.pid ?? null) : null,
    startTime: alive || started ? (runner?.startTime ?? null) : null,
    setupExit: setupExit === "-" ? null : setupExit,
    runExit: exit === "-" ? null : exit,
    logDir: spec.logDir,
    fault: has(attemptFiles.fault) ? (readText(folder, attemptFiles.fault)?.trim().slice(0, 900) ?? null) : null,
  };
  const neverStarted = !alive && !started && !stopped && exit === null;
  if (exit !== null) {
    return { snapshot, alive, neverStarted };
  }
  if (alive && started) {
    const done = !(spec.wanted.setup || has(attemptFiles.filesOrder)) || setupExit === 0;
    snapshot.state = running ? "running" : done ? "setupDone" : "setup";
  } else if (alive || neverStarted) {
    snapshot.state = "starting";
  } else {
    describeVanished(snapshot, { sameBoot, stopped, running, started });
  }
  return { snapshot, alive, neverStarted };
}

/** A runner that is gone without an exit code. One that was stopped needs no explanation. */
function describeVanished(
  snapshot: SkyletAttempt,
  facts: { sameBoot: boolean; stopped: boolean; running: boolean; started: boolean },
): void {
  if (facts.running || (facts.started && !facts.stopped)) {
    snapshot.runExit = 137;
  }
  if (!facts.sameBoot) {
    snapshot.fault ??= `Machine '${hostname()}' was restarted while the job ran there.`;
  } else if (!facts.stopped) {
    snapshot.fault ??= `The job's runner was killed on machine '${hostname()}' (with SIGKILL, or by the kernel for lack of memory), so its exit code is unknown.`;
  }
}

const causes: Record<string, string> = {
  ENOSPC: "the disk is full. Free space there and launch again",
  EDQUOT: "the disk quota is used up. Free space there and launch again",
  EACCES: "permission denied. Give the user write permission there",
  EPERM: "not permitted. Give the user write permission there",
  EROFS: "the file system is read-only. Ask the machine's admin",
  ENOENT: "it does not exist. Ask the machine's admin whether the home is made and mounted there",
  ENOTDIR: "a file stands where a folder is needed. Move it away and launch again",
  EEXIST: "a file stands where a folder is needed. Move it away and launch again",
  ESTALE: "the file server has lost it (stale handle). Ask the machine's admin to mount it again",
  EIO: "input/output error. Ask the machine's admin to look at the disk",
  EAGAIN: "the user's limit of processes is reached. End some and launch again",
  ENOMEM: "the machine has no memory left. Try again later",
};

/** What a user is told when a start failed: machine, path, cause and way out. */
export function startFailure(thrown: unknown, doing: string): string {
  const error = thrown as NodeJS.ErrnoException;
  if (thrown instanceof SkyError || error.code === undefined) {
    return `machine '${hostname()}': ${messageOf(thrown)}`.slice(0, 1000);
  }
  const path = error.path === undefined || doing.includes(error.path) ? "" : ` (${error.path})`;
  return `machine '${hostname()}': cannot ${doing}${path}: ${causes[error.code] ?? error.message}.`.slice(0, 1000);
}
