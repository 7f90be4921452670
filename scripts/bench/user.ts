/**
 * What the product costs a user, measured against what a login costs anyway: `sky queue` against `ssh HOST true`, submit
 * to first byte against that plus `sudo -H su --login USER -c true`; and what the daemons hold in memory. All of one run
 * are measured in turn, so that a slow moment of the machine hits all of them. Prints one JSON object as its last line.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { run } from "../../test/help/run.ts";
import { runAs, sky, startSky } from "../../test/help/sky.ts";
import { clusterName, plain, type Site, startSite } from "../../test/help/site.ts";
import { until } from "../../test/help/until.ts";
import { processesOf, type TestUser } from "../../test/help/users.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "21" } } });
const rounds = Math.max(3, Number(values.rounds));
const warmUp = 3;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function expectOk(result: { code: number | null; stderr: string }, what: string): void {
  if (result.code !== 0) {
    throw new Error(`${what} ended with ${result.code}: ${result.stderr}`);
  }
}

/** Milliseconds from the start of `sky exec` to the first byte that the job itself wrote. */
async function firstByte(user: TestUser): Promise<number> {
  const start = performance.now();
  const running = startSky(user, ["exec", clusterName, "--", "echo first-byte"]);
  const { stdout } = running.child;
  const seen = await new Promise<number>((resolve, reject) => {
    stdout?.on("data", () => {
      if (/\) first-byte/.test(plain(running.stdout()))) {
        resolve(performance.now() - start);
      }
    });
    running.ended.then(
      (result) => reject(new Error(`the job ended without output: ${result.stdout}${result.stderr}`)),
      reject,
    );
  });
  expectOk(await running.ended, "sky exec");
  return seen;
}

function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function residentMb(pid: number): number {
  const kb = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  return Math.round(kb / 1024);
}

async function skyletPid(user: TestUser): Promise<number> {
  return await until(() => {
    return processesOf(user.uid).find((pid) =>
      /^Name:\s+(node|sky)/m.test(readFileSync(`/proc/${pid}/status`, "utf8")),
    );
  }, "the user's skylet");
}

async function measure(site: Site): Promise<Record<string, number>> {
  const user = site.users[0] as TestUser;
  const sshTrue = ["ssh", "-o", "BatchMode=yes", "-p", String(site.sshd.port), `${user.name}@127.0.0.1`, "true"];
  const times: Record<"ssh" | "su" | "queue" | "first", number[]> = { ssh: [], su: [], queue: [], first: [] };
  for (let round = -warmUp; round < rounds; round += 1) {
    const one = {
      ssh: await timed(async () => expectOk(await runAs(user, sshTrue), "ssh")),
      su: await timed(async () => expectOk(await run(["sudo", "-H", "su", "--login", user.name, "-c", "true"]), "su")),
      queue: await timed(async () => expectOk(await sky(user, ["queue", clusterName]), "sky queue")),
      first: await firstByte(user),
    };
    if (round >= 0) {
      for (const [name, list] of Object.entries(times)) {
        list.push(one[name as keyof typeof times]);
      }
    }
  }
  const [ssh, su, queue, first] = [median(times.ssh), median(times.su), median(times.queue), median(times.first)];
  process.stdout.write(
    `median of ${rounds}, in ms: ssh HOST true ${ssh.toFixed(0)}, sudo su --login ${su.toFixed(0)}, ` +
      `sky queue ${queue.toFixed(0)}, submit to first byte ${first.toFixed(0)}\n`,
  );
  const round2 = (value: number): number => Math.round(value * 100) / 100;
  return {
    queue_ratio: round2(queue / ssh),
    first_byte_ratio: round2(first / (ssh + su)),
    coordinator_mb: residentMb(site.cluster.pid("coordinator")),
    agent_mb: residentMb(site.cluster.pid("agent:n1")),
    skylet_mb: residentMb(await skyletPid(user)),
  };
}

const site = await startSite({ accelerators: "-" });
try {
  const result = await measure(site);
  process.stdout.write(
    "aims: queue_ratio 1.5, first_byte_ratio 1.5, coordinator 120 MB, agent 80 MB, skylet 60 MB\n" +
      `${JSON.stringify({ bench: "user", rounds, ...result })}\n`,
  );
} finally {
  await site.stop();
}
