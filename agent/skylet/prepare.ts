/**
 * One start of a rank up to the gate: scripts fetched, home checked, log folder claimed, files written, runner started
 * and blocked. What fails on the way is taken back, so that nothing half-done is left, and told in words for the user.
 * It must never let user code run: that is `go`, in attempts.ts, the only caller.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { SkyError } from "../../shared/errors.ts";
import type { Payload } from "../../shared/job.ts";
import {
  type AttemptSpec,
  readOnlyPaths,
  type Runner,
  startFailure,
  writeAttemptFolder,
  writeRunner,
} from "./attempt-folder.ts";
import { type Bounds, boundsOf } from "./bounds.ts";
import type { AgentAddress } from "./control.ts";
import { runnerEnvironment } from "./environment.ts";
import type { FilesOrder } from "./files/order.ts";
import type { ContainerPlan } from "./container.ts";
import { containerEngine, readyEngine } from "./container-engine.ts";
import { claimLogFolder, rankFileOf, releaseLogFolder, writeRankFile } from "./log-folder.ts";
import { livingProcess } from "./processes.ts";
import { attemptFiles, type RunnerPlan } from "./runner-script.ts";
import { removeScratch, type Scratch } from "./scratch.ts";

export interface PrepareOptions {
  home: string;
  /** As `ulimit -Sn` printed it in the user's login shell. */
  nofile: string;
  bootId: string;
  /** Node and the bundle that this program is. */
  program: { node: string; program: string };
  /** Where files are asked for. */
  address: AgentAddress;
  /** Waits for it until `signal` is aborted. */
  fetchPayload: (attempt: string, signal: AbortSignal) => Promise<Payload>;
}

export interface PreparedRunner {
  spec: AttemptSpec;
  runner: Runner;
  /** Its stdin is the gate. */
  child: ChildProcess;
}

/** `given`: the payload if it is here already. Throws a SkyError whose message names machine, path, cause and way out. */
export async function prepareRunner(
  options: PrepareOptions,
  folder: string,
  wanted: WantedAttempt,
  given: Payload | null,
  cancelled: AbortSignal,
): Promise<PreparedRunner> {
  const { home } = options;
  let doing = "fetch the job's scripts";
  let child: ChildProcess | null = null;
  let logDir: string | null = null;
  try {
    const payload = given ?? (await options.fetchPayload(wanted.attempt, cancelled));
    doing = "run /bin/bash";
    await access("/bin/bash", constants.X_OK);
    doing = `use the home ${home}`;
    await access(home, constants.W_OK | constants.X_OK);
    doing = `make the job's log folder in ${join(home, "sky_logs")}`;
    logDir = await claimLogFolder(home, wanted);
    doing = `write the job's files in ${folder}`;
    const spec = await writeFiles(options, folder, wanted, payload, logDir);
    doing = "start the job's runner";
    child = await spawnRunner(folder, home, wanted.attempt);
    const runner = runnerOf(child);
    await writeRankFile(join(home, logDir), wanted.rank, rankFileOf(wanted, runner.pid));
    writeRunner(folder, runner);
    if (cancelled.aborted) {
      throw new SkyError("RequestCancelled", "the job was stopped before it could start.");
    }
    return { spec, runner, child };
  } catch (error) {
    child?.stdin?.destroy();
    if (logDir !== null) {
      await releaseLogFolder(join(home, logDir), wanted.rank, rankFileOf(wanted, 1));
    }
    await removeScratch(folder);
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    throw new SkyError("InternalError", startFailure(error, doing));
  }
}

async function writeFiles(
  options: PrepareOptions,
  folder: string,
  wanted: WantedAttempt,
  payload: Payload,
  logDir: string,
): Promise<AttemptSpec> {
  const { home, nofile, bootId } = options;
  const order = filesOrderOf(options, wanted, payload);
  const bounds = boundsOf(payload, wanted, folder);
  const { scratch } = bounds;
  const container = containerOf(options, folder, wanted, payload, scratch);
  const isInside = container !== null || readOnlyPaths(payload).length > 0 || (scratch?.mounted.length ?? 0) > 0;
  const spec: AttemptSpec = { format: 1, bootId, wanted, logDir };
  // The pid is in the prefixes only, which the runner does not need.
  const logs = rankFileOf(wanted, 1);
  await rm(folder, { recursive: true, force: true });
  const plan: RunnerPlan = {
    folder,
    home,
    nofile,
    // With files alone there is no script; that they are there is what `setup` waits for.
    setup: wanted.setup && (payload.setup !== null || order === null),
    run: wanted.hasRun,
    lease: wanted.leaseSeconds === undefined ? null : { graceSeconds: wanted.graceSeconds },
    setupLog: join(home, logDir, logs.setupLog),
    runLog: join(home, logDir, logs.runLog),
    ...(order === null ? {} : { files: options.program }),
    ...(payload.runGenerator === undefined ? {} : { generator: options.program }),
    ...(isInside ? { inside: true } : {}),
    ...(container === null ? {} : { container: true }),
    // One rank speaks for the job.
    ...(payload.eventCallback === undefined || wanted.rank > 0
      ? {}
      : { eventLog: join(home, logDir, "event_callback.log") }),
    ...boundParts(bounds, payload),
  };
  await writeAttemptFolder(spec, payload, plan, order, container, scratch);
  if (container !== null) {
    await readyEngine(container.engine);
  }
  return spec;
}

/** What the runner does for the launch spec. What is mounted for files is mounted by programs with privileges. */
function boundParts({ setpriv, workingDir, scratch }: Bounds, { files }: Payload): Partial<RunnerPlan> {
  const isMounted = files?.some((plan) => plan.kind === "uri" && plan.mode !== "COPY") === true;
  return {
    ...(setpriv === null ? {} : { guard: { setpriv, files: !isMounted } }),
    ...(workingDir === null ? {} : { workingDir }),
    ...(scratch === null ? {} : { scratchRoot: scratch.root }),
    ...(scratch === null || scratch.home === null ? {} : { scratchHome: scratch.home }),
    ...(workingDir === null && (scratch?.mounted.length ?? 0) === 0 ? {} : { check: true }),
  };
}

/** Null: the job runs on the machine itself. */
function containerOf(
  options: PrepareOptions,
  folder: string,
  wanted: WantedAttempt,
  payload: Payload,
  scratch: Scratch | null,
): ContainerPlan | null {
  if (payload.image === undefined) {
    return null;
  }
  const engine = containerEngine(payload.image.name);
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  return { engine, folder, home: options.home, uid, gid, wanted, payload, scratch };
}

/** Variables by which git and the tools of buckets prove who asks. */
const credentialName = /^(GIT_TOKEN|GIT_SSH_KEY_PATH|(AWS|RCLONE|GOOGLE|CLOUDSDK|HF|HUGGING_FACE|R2)_\w+|\w+_proxy)$/iu;

/** Null: the job brings no files. */
function filesOrderOf(options: PrepareOptions, wanted: WantedAttempt, payload: Payload): FilesOrder | null {
  if (payload.files === undefined || payload.files.length === 0) {
    return null;
  }
  const variables = Object.entries({ ...payload.envs, ...payload.secrets });
  return {
    format: 1,
    socket: options.address.socket,
    agentUid: options.address.agentUid,
    attempt: wanted.attempt,
    job: wanted.jobId,
    home: options.home,
    plans: payload.files,
    credentials: Object.fromEntries(variables.filter(([name]) => credentialName.test(name))),
  };
}

/** A session of its own, no terminal; its only open file is the gate. */
async function spawnRunner(folder: string, home: string, attempt: string): Promise<ChildProcess> {
  const child = spawn("/bin/sh", [join(folder, attemptFiles.runnerScript)], {
    cwd: home,
    detached: true,
    env: runnerEnvironment(process.env, attempt, folder),
    stdio: ["pipe", "ignore", "ignore"],
  });
  child.stdin?.on("error", () => undefined);
  await new Promise((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  child.on("error", () => undefined);
  child.unref();
  return child;
}

/** The start time is read while the runner waits at its gate, so the pid is certainly its own. */
function runnerOf(child: ChildProcess): Runner {
  const stat = child.pid === undefined ? null : livingProcess(child.pid);
  if (stat === null) {
    const text = "the job's runner ended at once. Ask the machine's admin to look at /bin/sh there.";
    throw new SkyError("InternalError", text);
  }
  return { pid: stat.pid, startTime: stat.startTime };
}
