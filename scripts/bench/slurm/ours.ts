/**
 * No-op jobs through our own cluster, as an ordinary user through one connection of the SDK: a backlog that is let go at
 * once, single submissions to an idle cluster, and as many submissions as go; and how much processor time each of our
 * programs took. Durable settings are the product's own. Used by scripts/bench/slurm.ts.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { build } from "esbuild";
import { startCluster, type TestCluster } from "../../../test/help/cluster.ts";
import { register, sky, skyOk, startAs } from "../../../test/help/sky.ts";
import { processesOf, type TestUser } from "../../../test/help/users.ts";
import type { Answer, Order } from "./driver.ts";
import { readStart, stampScript } from "./stamps.ts";

const lookEveryMs = 50;
const limitMs = 300_000;
/** Submissions of the one connection that are under way at a time. */
const atOnce = 16;
/** Of these last jobs the ends are waited for before all are looked at; more than run at a time. */
const lastLooked = 256;
const clusterName = "bench";

/** Milliseconds of processor time by program. */
export type Cpu = Record<string, number>;

export class OurJobs {
  private readonly cluster: TestCluster;
  private readonly user: TestUser;
  private readonly dir: string;
  private readonly runtimeDir: string;
  private readonly driver: ReturnType<typeof startAs>;
  private readonly answers: AsyncIterator<string>;

  private constructor(cluster: TestCluster, user: TestUser, dir: string, runtimeDir: string) {
    this.runtimeDir = runtimeDir;
    this.cluster = cluster;
    this.user = user;
    this.dir = dir;
    this.driver = startAs(user, [process.execPath, join(dir, "driver.mjs"), clusterName], {
      openInput: true,
      limitMs: 3_600_000,
    });
    const { stdout } = this.driver.child;
    if (stdout === null) {
      throw new Error("the driver has no output");
    }
    this.answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  /** A cluster of one node with this many CPUs declared, and the user's connection to it. */
  static async start(user: TestUser, slots: number): Promise<OurJobs> {
    const dir = mkdtempSync("/tmp/sky-driver-");
    await build({
      entryPoints: [join(import.meta.dirname, "driver.ts")],
      outfile: join(dir, "driver.mjs"),
      ...{ bundle: true, platform: "node", format: "esm", target: "node20.19", external: ["cpu-features", "ssh2"] },
      banner: { js: 'import { createRequire as r } from "node:module"; const require = r(import.meta.url);' },
      logLevel: "error",
    });
    chmodSync(dir, 0o755);
    // In memory, as the installed product's /run/sky-onprem is on every machine with systemd.
    const runtimeDir = mkdtempSync("/dev/shm/sky-run-");
    chmodSync(runtimeDir, 0o755);
    const cluster = await startCluster([
      ...["--name", clusterName, "--accelerators=-"],
      ...["--agent-config", JSON.stringify({ cpus: slots, memory_gb: slots, runtime_dir: join(runtimeDir, "run") })],
    ]);
    register(user, cluster, null);
    await skyOk(user, ["launch", "-c", clusterName, "", "-y"]);
    return new OurJobs(cluster, user, dir, runtimeDir);
  }

  async stop(): Promise<void> {
    this.driver.child.stdin?.end();
    await this.driver.ended.catch(() => {});
    await this.cluster.stop();
    rmSync(this.dir, { recursive: true, force: true });
    rmSync(this.runtimeDir, { recursive: true, force: true });
  }

  /** Jobs finished per second once `count` waiting jobs are let go, and the processor time per job. */
  async finishedPerSecond(count: number): Promise<{ rate: number; cpu: Cpu }> {
    await this.node("drain");
    const { ids } = await this.submit(count, noop);
    const before = this.cpu();
    const start = performance.now();
    await this.node("resume");
    await this.untilEnded(ids);
    const seconds = (performance.now() - start) / 1000;
    const after = this.cpu();
    const perJob = ([name, ms]: [string, number]): [string, number] => [name, (ms - (before[name] ?? 0)) / count];
    return { rate: count / seconds, cpu: Object.fromEntries(Object.entries(after).map(perJob)) };
  }

  /** Submissions acknowledged per second through the one connection. */
  async submittedPerSecond(count: number): Promise<number> {
    await this.node("drain");
    const { from, to, ids } = await this.submit(count, noop);
    await this.node("resume");
    await this.untilEnded(ids);
    return count / ((to - from) / 1000);
  }

  /** The same by the command line, one process each. */
  async submittedByCliPerSecond(count: number): Promise<number> {
    await this.node("drain");
    const start = performance.now();
    let left = count;
    const one = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const result = await sky(this.user, ["exec", clusterName, "-d", "--", "true"]);
        if (result.code !== 0) {
          throw new Error(`sky exec ended with ${result.code}: ${result.stderr}`);
        }
      }
    };
    await Promise.all([one(), one(), one(), one()]);
    const seconds = (performance.now() - start) / 1000;
    await this.node("resume");
    return count / seconds;
  }

  /** Milliseconds from the call to the first line of the job, on an idle cluster. */
  async startMs(): Promise<number> {
    const file = `${this.user.home}/sky-start`;
    rmSync(file, { force: true });
    const { from, ids } = await this.submit(1, `resources: {cpus: 1}\nrun: ${stampScript(file)}\n`);
    const started = await readStart(file);
    await this.untilEnded(ids);
    return started - from;
  }

  private async submit(count: number, task: string): Promise<Answer> {
    return await this.ask({ do: "submit", count, atOnce: Math.min(count, atOnce), task });
  }

  private async ask(order: Order): Promise<Answer> {
    this.driver.child.stdin?.write(`${JSON.stringify(order)}\n`);
    const answer = await this.answers.next();
    if (answer.done === true) {
      throw new Error(`the driver has ended: ${this.driver.stderr()}`);
    }
    return JSON.parse(answer.value) as Answer;
  }

  /** Waits for the end of all; each must have succeeded. */
  private async untilEnded(ids: number[]): Promise<void> {
    const end = performance.now() + limitMs;
    const last = ids.slice(-lastLooked);
    for (const looked of [last, ids]) {
      for (let asked = looked; ; ) {
        const { statuses } = await this.ask({ do: "statuses", ids: asked });
        const open = Object.entries(statuses).filter(([, status]) => status !== "SUCCEEDED");
        const bad = open.find(([, status]) => status === null || /FAILED|CANCELLED/.test(status));
        if (bad !== undefined) {
          throw new Error(`job ${bad[0]} ended as ${bad[1]}`);
        }
        if (open.length === 0) {
          break;
        }
        asked = open.map(([id]) => Number(id));
        if (performance.now() > end) {
          throw new Error(`${open.length} of our jobs do not end`);
        }
        await delay(lookEveryMs);
      }
    }
  }

  /** As root, who is an admin, on the coordinator's own socket. */
  private async node(verb: "drain" | "resume"): Promise<void> {
    const body = JSON.stringify(verb === "drain" ? { nodes: ["n1"], reason: "bench" } : { nodes: ["n1"] });
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    await new Promise<void>((resolve, reject) => {
      const { socket: socketPath } = this.cluster;
      const call = request({ socketPath, path: `/onprem/admin/${verb}`, method: "POST", headers }, (reply) => {
        reply.resume();
        reply.on("end", () =>
          reply.statusCode === 200 ? resolve() : reject(new Error(`${verb}: ${reply.statusCode}`)),
        );
      });
      call.on("error", reject);
      call.end(body);
    });
  }

  private cpu(): Cpu {
    const skylet = processesOf(this.user.uid).find((pid) => cmdlineOf(pid).includes("skylet.mjs"));
    return {
      coordinator: cpuMs(this.cluster.pid("coordinator")),
      redis: cpuMs(this.cluster.pid("redis")),
      agent: cpuMs(this.cluster.pid("agent:n1")),
      skylet: skylet === undefined ? 0 : cpuMs(skylet),
      jobs: skylet === undefined ? 0 : cpuMs(skylet, "children"),
    };
  }
}

const noop = 'resources: {cpus: 1}\nrun: "true"\n';

function cmdlineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** Processor time of a process itself, or of the children that it has waited for; the kernel counts in 10 ms. */
function cpuMs(pid: number, whose: "own" | "children" = "own"): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
  return (whose === "own" ? user + system : childUser + childSystem) * 10;
}
