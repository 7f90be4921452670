/**
 * A soak: a deployed cluster on test machines, several users who submit small jobs without a pause, faults from a seed, and
 * at the end the question whether everything that was acknowledged has a known end, nothing ran twice and nothing is left.
 * Called by scripts/soak.ts for ten minutes and by soak.test.ts for a short one.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Running } from "../../help/run.ts";
import { until } from "../../help/until.ts";
import { type Cluster, clusterName, startCluster } from "../cluster.ts";
import { faults } from "./faults.ts";
import { randomFrom } from "./random.ts";
import { type Ended, faultsOf, linesOf, type Told } from "./verdict.ts";

export interface SoakOptions {
  seed: number;
  /** Milliseconds during which users submit and faults strike. */
  lengthMs: number;
  users: readonly string[];
  nodes: readonly string[];
  /** Milliseconds between two jobs of a user, on average. */
  pauseMs: number;
  /** A line for whoever watches. */
  say: (text: string) => void;
}

export interface SoakResult {
  seed: number;
  acknowledged: number;
  /** Jobs by the status that they ended with. */
  ended: Record<string, number>;
  strikes: Record<string, number>;
  /** What was wrong, for people; empty: nothing. */
  faults: string[];
}

/** Short enough that a soak sees leases run out and nodes given up; the faults' lengths fit these. */
const coordinatorConfig = {
  lost_node_seconds: 15,
  lease_seconds: 10,
  grace_seconds: 2,
  limits: { finished_jobs_kept_per_user: 100_000 },
};
const agentConfig = { skylet_idle_seconds: 3, accelerators: "V100:4" };
const calmLimitMs = 180_000;
const memberProgram = "/opt/soak-user.mjs";

async function bundleUser(target: string): Promise<void> {
  await build({
    entryPoints: [fileURLToPath(new URL("user.ts", import.meta.url))],
    outfile: target,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "silent",
  });
}

/** A user's program; started anew when its machine lost the power. What it was told is kept. */
class Member {
  readonly told: Told;
  private readonly cluster: Cluster;
  private readonly words: string[];
  private running: Running | null = null;
  private lives = 0;
  private stopping = false;
  private readonly watch: Promise<void>;

  constructor(cluster: Cluster, user: string, options: SoakOptions) {
    this.cluster = cluster;
    this.told = { user, acknowledged: new Map(), refused: [] };
    this.words = ["--seed", String(options.seed), "--cluster", clusterName, "--pause-ms", String(options.pauseMs)];
    this.watch = this.live();
  }

  private async live(): Promise<void> {
    while (!this.stopping) {
      this.lives += 1;
      const name = `${this.told.user}-${this.lives}`;
      const program = ["/opt/sky-onprem/current/lib/node", memberProgram, "--name", name, ...this.words];
      try {
        this.running = this.cluster.head.launch(program, {
          user: this.told.user,
          openInput: true,
          limitMs: 24 * 3_600_000,
        });
        const result = await this.running.ended;
        this.take(result.stdout);
        // The machine lost its power in the very moment in which the program was started there.
        const wasOff = result.stderr.startsWith("nsenter: ");
        if (result.code !== null && result.code !== 0 && !wasOff) {
          this.told.refused.push(`its program ended with ${result.code}: ${result.stderr.slice(0, 500)}`);
          return;
        }
      } catch {
        // The head is off: this user is at the machine that lost its power.
      }
      await delay(this.stopping ? 0 : 500);
    }
  }

  private take(output: string): void {
    for (const line of output.split("\n")) {
      const fact = parsed(line);
      if (fact?.acknowledged !== undefined && fact.key !== undefined) {
        this.told.acknowledged.set(fact.key, { id: fact.acknowledged, recovers: fact.recovers === true });
      } else if (fact?.refused !== undefined) {
        this.told.refused.push(fact.refused);
      }
    }
  }

  /** Lets it finish the call that is under way, and ends it. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.running?.child.stdin?.end();
    await this.watch;
  }
}

interface Fact {
  acknowledged?: number;
  key?: string;
  recovers?: boolean;
  refused?: string;
}

function parsed(line: string): Fact | null {
  try {
    return JSON.parse(line) as Fact;
  } catch {
    // The last line of a program that was killed.
    return null;
  }
}

async function queueOf(cluster: Cluster, user: string): Promise<Ended[]> {
  const text = await cluster.skyMust(user, ["queue", clusterName, "-o", "json"], { limitMs: 60_000 });
  return (JSON.parse(text) as Record<string, Ended[]>)[clusterName] ?? [];
}

/** Strikes until the time is over; returns how often each fault was dealt. */
async function strikeUntil(end: number, cluster: Cluster, options: SoakOptions): Promise<Record<string, number>> {
  const random = randomFrom(options.seed, "faults");
  const strikes: Record<string, number> = {};
  while (performance.now() < end) {
    await delay(random.between(1_000, 6_000));
    const fault = random.pick(faults, (one) => one.weight);
    const what = await fault.strike(cluster, random);
    strikes[fault.name] = (strikes[fault.name] ?? 0) + 1;
    options.say(`${fault.name}: ${what}`);
  }
  return strikes;
}

/** What is still there on a node although nobody has a job. */
async function leftOn(cluster: Cluster, node: string): Promise<string[]> {
  const machine = cluster.machine(node);
  const users = cluster.users.map(({ name }) => name).join(",");
  const processes = (await machine.run(["pgrep", "--list-full", "--euid", users])).stdout.trim();
  const units = (await machine.run("systemctl list-units --no-legend --plain 'sky-u*.service' | cat")).stdout.trim();
  const attempts = (await machine.run("ls -d /run/sky-onprem/[0-9]*/* 2>/dev/null | cat")).stdout.trim();
  const ledger = (await machine.run("find /var/lib/sky-onprem/agent/attempts -type f 2>/dev/null | cat")).stdout.trim();
  return Object.entries({ processes, units, attempts, ledger }).flatMap(([what, text]) =>
    text === "" ? [] : [`${node}: ${what} left over: ${text.slice(0, 500)}`],
  );
}

/** Grants that nobody should hold any more. */
async function heldGrants(cluster: Cluster): Promise<string[]> {
  interface Row {
    name: string;
    cpus: number;
    cpus_free: number;
    accelerators: Record<string, number>;
    accelerators_free: Record<string, number>;
  }
  const answer = (await cluster.api("/onprem/nodes")) as { unknown_attempts: number; nodes: Row[] };
  const held = answer.nodes.flatMap((row) => {
    const all = JSON.stringify([row.cpus, row.accelerators]);
    const free = JSON.stringify([row.cpus_free, row.accelerators_free]);
    return all === free ? [] : [`${row.name}: granted still: ${all} in all, ${free} free`];
  });
  return answer.unknown_attempts === 0 ? held : [...held, `${answer.unknown_attempts} unknown attempts`];
}

async function judge(cluster: Cluster, members: readonly Member[]): Promise<Pick<SoakResult, "ended" | "faults">> {
  const ended: Record<string, number> = {};
  const found: string[] = [];
  for (const { told } of members) {
    const queue = await queueOf(cluster, told.user);
    const files = cluster.nodes.map((machine) => join(machine.root, "var/tmp", `soak-${told.user}`));
    const lines = files.flatMap((file) => linesOf(readOrEmpty(file)));
    found.push(...faultsOf(told, queue, lines));
    for (const { status } of queue) {
      ended[status] = (ended[status] ?? 0) + 1;
    }
  }
  return { ended, faults: found };
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** Waits until every job has ended and everything is put away; what is not, after a limit. */
async function calmDown(cluster: Cluster, users: readonly string[]): Promise<string[]> {
  let left: string[] = [];
  const calm = async (): Promise<boolean> => {
    const queues = await Promise.all(users.map((user) => queueOf(cluster, user)));
    const open = queues.flat().filter((row) => /^(INIT|PENDING|SETTING_UP|RUNNING)$/.test(row.status));
    left = open.map((row) => `job ${row.job_id} is ${row.status}: ${row.reason ?? "no reason"}`);
    if (left.length === 0) {
      const nodes = await Promise.all(cluster.nodes.map(({ name }) => leftOn(cluster, name)));
      left = [...nodes.flat(), ...(await heldGrants(cluster))];
    }
    await delay(left.length === 0 ? 0 : 1_000);
    return left.length === 0;
  };
  await until(calm, "the cluster to be calm", calmLimitMs).catch((error: unknown) => {
    left = left.length === 0 ? [String(error)] : left;
  });
  return left;
}

/** Runs it. Throws when the machines themselves cannot be made. */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const folder = mkdtempSync(join(tmpdir(), "sky-soak-"));
  try {
    await bundleUser(join(folder, "user.mjs"));
    const program = readFileSync(join(folder, "user.mjs"), "utf8");
    await using cluster = await startCluster({
      users: options.users,
      nodes: options.nodes,
      coordinatorConfig,
      agentConfig,
    });
    await cluster.head.must(["tee", memberProgram], { input: program });
    const members = options.users.map((user) => new Member(cluster, user, options));
    const strikes = await strikeUntil(performance.now() + options.lengthMs, cluster, options);
    options.say("no more faults; waiting for what was begun");
    await cluster.waitUp();
    await Promise.all(members.map((member) => member.stop()));
    const left = await calmDown(cluster, options.users);
    const verdict = await judge(cluster, members);
    const found = [...verdict.faults, ...left];
    if (found.length > 0) {
      options.say(await cluster.tell());
    }
    const acknowledged = members.reduce((sum, { told }) => sum + told.acknowledged.size, 0);
    return { seed: options.seed, acknowledged, ended: verdict.ended, strikes, faults: found };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
