/**
 * A private Slurm of one node on loopback: Debian's packages (installed if missing), munge, slurmctld and slurmd with a
 * config, key and state of their own in a temporary folder. The system's own Slurm, if there is one, is never read or
 * touched, and what was started is ended by its process id. Used by scripts/bench/slurm.ts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { must, run } from "../../../test/help/run.ts";
import { freePort } from "../../../test/help/sshd.ts";
import { until } from "../../../test/help/until.ts";

export interface SlurmServer {
  /** `slurm-wlm 22.05.8` */
  version: string;
  /** For every Slurm command, also those of users. */
  env: Record<string, string>;
  /** Process ids by name: munged, slurmctld, slurmd. */
  pids: Record<string, number>;
  stop(): Promise<void>;
}

const programs = ["slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "munged"];
const packages = ["slurmctld", "slurmd", "slurm-client", "munge"];
const path = `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

/** Debian's packages, if one of the programs is missing; no service of theirs is started. */
async function install(): Promise<void> {
  const there = await Promise.all(programs.map((name) => run(["which", name], { env: { PATH: path } })));
  if (there.every((result) => result.code === 0)) {
    return;
  }
  const policy = "/usr/sbin/policy-rc.d";
  const isOurs = !existsSync(policy);
  if (isOurs) {
    writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  }
  try {
    const env = { PATH: path, DEBIAN_FRONTEND: "noninteractive", LANG: "C.UTF-8" };
    await run(["apt-get", "update"], { env, limitMs: 300_000 });
    await must(["apt-get", "install", "-y", "--no-install-recommends", ...packages], { env, limitMs: 600_000 });
  } finally {
    if (isOurs) {
      rmSync(policy, { force: true });
    }
  }
}

/**
 * SchedMD's guide for high throughput: no accounting, no job completion plugin, no prolog, FIFO order by the builtin
 * scheduler without backfill, many starts in one pass, finished jobs dropped soon, munge with ten threads. Jobs are
 * started at their submission (no `defer`), because the latency of an idle cluster counts too. State is written to disk
 * as by default.
 */
function configText(dir: string, slots: number, ports: { controller: number; node: number }): string {
  return `${[
    "ClusterName=bench",
    `SlurmctldHost=${hostname()}(127.0.0.1)`,
    ...["SlurmUser=root", "SlurmdUser=root", "AuthType=auth/munge", "CredType=cred/munge"],
    `AuthInfo=socket=${dir}/munge/socket`,
    ...[`SlurmctldPort=${ports.controller}`, `SlurmdPort=${ports.node}`],
    ...[`StateSaveLocation=${dir}/state`, `SlurmdSpoolDir=${dir}/spool`],
    ...[`SlurmctldPidFile=${dir}/slurmctld.pid`, `SlurmdPidFile=${dir}/slurmd.pid`],
    ...["SlurmctldDebug=error", "SlurmdDebug=error", "SlurmdParameters=config_overrides"],
    ...["ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "MpiDefault=none", "ReturnToService=2"],
    ...["SelectType=select/cons_tres", "SelectTypeParameters=CR_CPU"],
    ...["AccountingStorageType=accounting_storage/none", "JobAcctGatherType=jobacct_gather/none"],
    ...["JobCompType=jobcomp/none", "PriorityType=priority/basic", "SchedulerType=sched/builtin"],
    "SchedulerParameters=batch_sched_delay=1,sched_min_interval=50000,default_queue_depth=1000,partition_job_depth=1000",
    ...["MaxJobCount=50000", "MinJobAge=60", "MessageTimeout=60", "KillWait=5", "EpilogMsgTime=100"],
    `NodeName=bench NodeHostname=${hostname()} NodeAddr=127.0.0.1 CPUs=${slots} RealMemory=${slots * 100} State=UNKNOWN`,
    "PartitionName=main Nodes=bench Default=YES MaxTime=INFINITE DefMemPerCPU=1 State=UP OverSubscribe=NO",
  ].join("\n")}\n`;
}

interface Started {
  name: string;
  child: ChildProcess;
}

function start(name: string, argv: string[], env: Record<string, string>, dir: string): Started {
  const log = openSync(join(dir, `${name}.log`), "a");
  const [command = "", ...args] = argv;
  const child = spawn(command, args, { env, cwd: dir, stdio: ["ignore", log, log], detached: true });
  closeSync(log);
  child.on("error", () => {});
  return { name, child };
}

async function end({ child }: Started): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await gone;
    clearTimeout(timer);
  }
}

/** Starts it with this many CPUs declared; resolves when its node takes jobs. */
export async function startSlurm(slots: number): Promise<SlurmServer> {
  await install();
  const dir = mkdtempSync("/tmp/sky-slurm-");
  const started: Started[] = [];
  const env = { PATH: path, LANG: "C.UTF-8", HOME: "/root", SLURM_CONF: join(dir, "slurm.conf") };
  const stop = async (): Promise<void> => {
    for (const one of started.reverse()) {
      await end(one);
    }
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    chmodSync(dir, 0o755);
    for (const name of ["munge", "state", "spool"]) {
      mkdirSync(join(dir, name), { mode: 0o755 });
    }
    writeFileSync(env.SLURM_CONF, configText(dir, slots, { controller: await freePort(), node: await freePort() }));
    const key = join(dir, "munge.key");
    writeFileSync(key, randomBytes(128), { mode: 0o600 });
    const mungeFiles = ["socket", "pid", "log", "seed"].map(
      (name) => `--${name === "socket" ? name : `${name}-file`}=${dir}/munge/${name}`,
    );
    started.push(
      start(
        "munged",
        ["munged", "--foreground", "--force", "--num-threads=10", `--key-file=${key}`, ...mungeFiles],
        env,
        dir,
      ),
    );
    await until(() => existsSync(join(dir, "munge/socket")), "munge's socket");
    started.push(start("slurmctld", ["slurmctld", "-D", "-i"], env, dir));
    started.push(start("slurmd", ["slurmd", "-D", "-N", "bench"], env, dir));
    await until(
      async () => (await run(["sinfo", "-h", "-o", "%T"], { env })).stdout.trim() === "idle",
      "Slurm's node",
      60_000,
    ).catch((error: unknown) => {
      const logs = started.map(({ name }) => `${name}: ${readFileSync(join(dir, `${name}.log`), "utf8").slice(-2000)}`);
      throw new Error(`${String(error)}\n${logs.join("\n")}`);
    });
    const version = (await must(["sinfo", "--version"], { env })).trim();
    const pids = Object.fromEntries(started.map(({ name, child }) => [name, child.pid ?? 0]));
    return { version, env, pids, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
