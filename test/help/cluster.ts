/**
 * A development cluster for one test file, made by the real script, in a folder of its own. Parts can be killed and
 * started again by their recorded identity. Used by the end-to-end tests and benchmarks.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkout, readCluster } from "../../scripts/cluster/layout.ts";
import { gone, isAlive, readPids, signal } from "../../scripts/cluster/processes.ts";
import { notReady, startPart } from "../../scripts/cluster/start.ts";
import { must, run } from "./run.ts";
import { until } from "./until.ts";

export interface TestCluster {
  dir: string;
  name: string;
  /** The file for `~/.sky/local`. */
  registration: string;
  socket: string;
  /** SIGKILL, and wait until it is gone. Parts: redis, coordinator, agent:n1 … */
  kill(part: string): Promise<void>;
  /** Starts a killed part again; `ready` waits until the whole cluster works. */
  startPart(part: string): void;
  ready(): Promise<void>;
  pid(part: string): number;
  log(part: string): string;
  stop: () => Promise<void>;
}

const script = join(checkout, "scripts/dev-cluster");

/** Starts a cluster; `flags` are those of scripts/dev-cluster. */
export async function startCluster(flags: readonly string[] = []): Promise<TestCluster> {
  const dir = mkdtempSync("/tmp/sky-");
  execFileSync("chmod", ["755", dir]);
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/root", LANG: "C.UTF-8" };
  const result = await run([script, "start", "--dir", dir, "--json", ...flags], { env, limitMs: 120_000 });
  if (result.code !== 0) {
    await run([script, "stop", "--dir", dir], { env });
    throw new Error(`the cluster did not start: ${result.stderr}`);
  }
  const facts = JSON.parse(result.stdout) as { registration: string; socket: string; name: string };
  const cluster = readCluster(dir);
  if (cluster === null) {
    throw new Error(`${dir} holds no cluster after its start`);
  }
  const identity = (part: string) => {
    const found = readPids(dir).get(part);
    if (found === undefined) {
      throw new Error(`no part ${part}`);
    }
    return found;
  };
  return {
    dir,
    ...facts,
    async kill(part) {
      signal(identity(part), "SIGKILL");
      if (!(await gone([identity(part)], 10_000))) {
        throw new Error(`${part} does not end`);
      }
    },
    startPart: (part) => startPart(cluster, part),
    async ready() {
      let problem: string | null = null;
      await until(
        async () => {
          problem = await notReady(cluster.options);
          return problem === null;
        },
        "a working cluster",
        60_000,
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}: ${problem}`);
      });
    },
    pid(part) {
      const found = identity(part);
      if (!isAlive(found)) {
        throw new Error(`${part} does not run`);
      }
      return found.pid;
    },
    log: (part) => readFileSync(join(dir, "log", `${part.replace(":", "-")}.log`), "utf8"),
    async stop() {
      await must([script, "stop", "--dir", dir], { env, limitMs: 120_000 });
    },
  };
}
