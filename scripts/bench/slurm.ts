/**
 * Slurm and this product side by side: the same no-op jobs of the same ordinary user on the same machine, in turn, round
 * after round, and the machine's own limit beside them. Medians of the rounds count. Prints one JSON object as its last
 * line; README.md says what its keys mean. `--rounds N` (3), `--jobs N` a round (300), `--slots N` jobs at once (64),
 * `--starts N` single submissions (40), `--ours-only` leaves Slurm out, for work on ourselves.
 */
import { parseArgs } from "node:util";
import { run } from "../../test/help/run.ts";
import { makeUser, removeUser, type TestUser } from "../../test/help/users.ts";
import { scriptsPerSecond } from "./slurm/limit.ts";
import { SlurmJobs } from "./slurm/jobs.ts";
import { type Cpu, OurJobs } from "./slurm/ours.ts";
import { type SlurmServer, startSlurm } from "./slurm/server.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    jobs: { type: "string", default: "300" },
    slots: { type: "string", default: "64" },
    starts: { type: "string", default: "40" },
    "ours-only": { type: "boolean", default: false },
  },
});
const [rounds, jobs, slots, starts] = [values.rounds, values.jobs, values.slots, values.starts].map(Number) as [
  number,
  number,
  number,
  number,
];
/** Slurm finishes fewer jobs a second; a round of it is to last about as long. */
const slurmJobs = Math.max(20, Math.round(jobs / 2));
/** A process of the command line is slow to start. */
const cliSubmissions = 20;
/** Of Slurm's single submissions each waits up to a second. */
const slurmStarts = Math.max(5, Math.round(starts / 4));

function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

const median = (numbers: readonly number[]): number => quantile(numbers, 0.5);
const rounded = (value: number, digits = 1): number => Math.round(value * 10 ** digits) / 10 ** digits;

interface Measured {
  limit: number[];
  ours: number[];
  oursSubmit: number[];
  cliSubmit: number[];
  slurm: number[];
  slurmSubmit: number[];
  cpu: Cpu[];
}

async function oneRound(user: TestUser, ours: OurJobs, slurm: SlurmJobs | null, into: Measured): Promise<void> {
  into.limit.push(await scriptsPerSecond(user, jobs, slots));
  const done = await ours.finishedPerSecond(jobs);
  into.ours.push(done.rate);
  into.cpu.push(done.cpu);
  into.slurm.push(slurm === null ? Number.NaN : await slurm.finishedPerSecond(slurmJobs));
  into.oursSubmit.push(await ours.submittedPerSecond(jobs));
  into.slurmSubmit.push(slurm === null ? Number.NaN : await slurm.submittedPerSecond(slurmJobs));
  into.cliSubmit.push(await ours.submittedByCliPerSecond(cliSubmissions));
  const last = (list: number[]): string => rounded(list.at(-1) ?? Number.NaN).toString();
  process.stdout.write(
    `a second: limit ${last(into.limit)}; finished: ours ${last(into.ours)}, slurm ${last(into.slurm)}; ` +
      `submitted: ours ${last(into.oursSubmit)}, sky ${last(into.cliSubmit)}, sbatch ${last(into.slurmSubmit)}\n`,
  );
}

async function startTimes(ours: OurJobs, slurm: SlurmJobs | null): Promise<Record<string, number>> {
  const times: Record<"ours" | "sbatch" | "srun", number[]> = { ours: [], sbatch: [], srun: [] };
  for (let turn = 0; turn < starts; turn += 1) {
    times.ours.push(await ours.startMs());
    if (slurm !== null && turn % 4 === 0 && times.sbatch.length < slurmStarts) {
      times.sbatch.push(await slurm.startMs("sbatch"));
      times.srun.push(await slurm.startMs("srun"));
    }
  }
  return {
    start_p50_ms: rounded(median(times.ours)),
    start_p99_ms: rounded(quantile(times.ours, 0.99)),
    sbatch_start_p50_ms: rounded(median(times.sbatch)),
    sbatch_start_p99_ms: rounded(quantile(times.sbatch, 0.99)),
    srun_start_p50_ms: rounded(median(times.srun)),
    srun_start_p99_ms: rounded(quantile(times.srun, 0.99)),
  };
}

function cpuPerJob(cpus: readonly Cpu[]): Cpu {
  const names = Object.keys(cpus[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, rounded(median(cpus.map((cpu) => cpu[name] ?? 0)), 2)]));
}

async function measure(user: TestUser, server: SlurmServer | null): Promise<Record<string, unknown>> {
  const slurm = server === null ? null : new SlurmJobs(server, user);
  const ours = await OurJobs.start(user, slots);
  try {
    // The first job opens the user's session; both systems have done all once before it counts.
    await oneRound(user, ours, slurm, {
      limit: [],
      ours: [],
      oursSubmit: [],
      cliSubmit: [],
      slurm: [],
      slurmSubmit: [],
      cpu: [],
    });
    const all: Measured = { limit: [], ours: [], oursSubmit: [], cliSubmit: [], slurm: [], slurmSubmit: [], cpu: [] };
    for (let round = 0; round < rounds; round += 1) {
      await oneRound(user, ours, slurm, all);
    }
    const times = await startTimes(ours, slurm);
    return {
      finished_ratio: rounded(median(all.ours) / median(all.slurm), 2),
      ...times,
      submit_ratio: rounded(median(all.oursSubmit) / median(all.slurmSubmit), 2),
      machine_share: rounded(median(all.ours) / median(all.limit), 2),
      finished_per_second: rounded(median(all.ours)),
      slurm_finished_per_second: rounded(median(all.slurm)),
      submitted_per_second: rounded(median(all.oursSubmit)),
      sbatch_per_second: rounded(median(all.slurmSubmit)),
      sky_exec_per_second: rounded(median(all.cliSubmit)),
      limit_per_second: rounded(median(all.limit)),
      cpu_ms_per_job: cpuPerJob(all.cpu),
    };
  } finally {
    await ours.stop();
  }
}

const user = await makeUser();
let server: SlurmServer | null = null;
try {
  server = values["ours-only"] ? null : await startSlurm(slots);
  const result = await measure(user, server);
  const redis = (await run(["redis-server", "--version"])).stdout.replace(/.* v=(\S+).*\n/s, "$1");
  const versions = { slurm: server?.version ?? null, redis, node: process.versions.node };
  process.stdout.write(
    "aims: finished_ratio 4, start_p50_ms 30, start_p99_ms 120, submit_ratio 20, machine_share 0.55\n" +
      `${JSON.stringify({ bench: "slurm", rounds, jobs, slots, ...result, versions })}\n`,
  );
} finally {
  await server?.stop();
  await removeUser(user);
}
