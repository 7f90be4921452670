/**
 * No-op jobs through Slurm, as an ordinary user and with Slurm's own commands: a backlog that is let go at once, single
 * submissions to an idle cluster, and as many submissions as go. Every job's end and exit code is checked. Used by
 * scripts/bench/slurm.ts.
 */
import { rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { must, run } from "../../../test/help/run.ts";
import { runAs } from "../../../test/help/sky.ts";
import type { TestUser } from "../../../test/help/users.ts";
import { readStart, stampScript } from "./stamps.ts";
import type { SlurmServer } from "./server.ts";

/** Milliseconds between two looks at the queue; each costs Slurm some time. */
const lookEveryMs = 100;
const limitMs = 300_000;
/** sbatch processes at once: enough to keep the machine busy. */
const submitters = 8;

export class SlurmJobs {
  private readonly server: SlurmServer;
  private readonly user: TestUser;

  constructor(server: SlurmServer, user: TestUser) {
    this.server = server;
    this.user = user;
  }

  /** Jobs finished per second once `count` waiting jobs are let go. */
  async finishedPerSecond(count: number): Promise<number> {
    await this.partition("DOWN");
    await this.submit(count);
    const start = performance.now();
    await this.partition("UP");
    await this.untilEmpty();
    const seconds = (performance.now() - start) / 1000;
    await this.checkExits(count);
    return count / seconds;
  }

  /** Submissions acknowledged per second by `sbatch` processes. */
  async submittedPerSecond(count: number): Promise<number> {
    await this.partition("DOWN");
    const seconds = await this.submit(count);
    await this.partition("UP");
    await this.untilEmpty();
    return count / seconds;
  }

  /** Milliseconds from the start of the command to the first line of the job, on an idle cluster. */
  async startMs(command: "sbatch" | "srun"): Promise<number> {
    const file = `${this.user.home}/slurm-start`;
    rmSync(file, { force: true });
    const script = stampScript(file);
    const start = Date.now();
    const argv =
      command === "srun"
        ? ["srun", "-Q", "bash", "-c", script]
        : ["sbatch", "-Q", "-o", "/dev/null", "--wrap", `bash -c '${script}'`];
    await this.asUser(argv);
    const started = await readStart(file);
    await this.untilEmpty();
    return started - start;
  }

  /** Seconds until all are acknowledged. */
  private async submit(count: number): Promise<number> {
    const start = performance.now();
    const one = "exec sbatch -Q -o /dev/null --wrap true";
    await this.asUser(["bash", "-c", `seq ${count} | xargs -P ${submitters} -I{} sh -c '${one}' >/dev/null`]);
    return (performance.now() - start) / 1000;
  }

  private async asUser(argv: string[]): Promise<void> {
    const env = { SLURM_CONF: this.server.env["SLURM_CONF"] ?? "" };
    const result = await runAs(this.user, argv, { env, limitMs });
    if (result.code !== 0) {
      throw new Error(`${argv.join(" ")} ended with ${result.code}: ${result.stderr}`);
    }
  }

  private async partition(state: "UP" | "DOWN"): Promise<void> {
    await must(["scontrol", "update", "PartitionName=main", `State=${state}`], { env: this.server.env });
  }

  private async untilEmpty(): Promise<void> {
    const end = performance.now() + limitMs;
    while ((await must(["squeue", "-h", "-o", "%i"], { env: this.server.env })).trim() !== "") {
      if (performance.now() > end) {
        throw new Error("Slurm's queue does not become empty");
      }
      await delay(lookEveryMs);
    }
  }

  /** Finished jobs are kept for a minute. */
  private async checkExits(count: number): Promise<void> {
    const text = (await run(["scontrol", "-o", "show", "jobs"], { env: this.server.env })).stdout;
    const done = text.split("\n").filter((line) => / JobState=COMPLETED .* ExitCode=0:0 /.test(line)).length;
    if (done < count) {
      throw new Error(`only ${done} of at least ${count} jobs of Slurm completed with 0`);
    }
  }
}
