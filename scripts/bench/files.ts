/**
 * What a task's files cost: `sky exec --workdir` with 10,000 unchanged files against the same with an empty folder, in
 * turn, as a command that returns and as a job that has ended; and one changed byte in a file of 1 GB, in bytes that
 * leave this machine and in seconds. Over a real SSH connection. Prints one JSON object as its last line. `--files N`
 * (10000), `--megabytes N` (1000), `--rounds N` (9).
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type CountingProxy, startCountingProxy } from "../../test/help/counting-proxy.ts";
import { register, runAs, skyOk, startSky } from "../../test/help/sky.ts";
import { clusterName, type Site, startSite, untilStatus } from "../../test/help/site.ts";
import type { TestUser } from "../../test/help/users.ts";

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "10000" },
    megabytes: { type: "string", default: "1000" },
    rounds: { type: "string", default: "9" },
  },
});
const [files, megabytes] = [Number(values.files), Number(values.megabytes)];
const rounds = Math.max(3, Number(values.rounds));
const warmUp = 1;
const limitMs = 600_000;

function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

async function shell(user: TestUser, script: string): Promise<void> {
  const result = await runAs(user, ["bash", "-ec", script], { limitMs });
  if (result.code !== 0) {
    throw new Error(`${script} ended with ${result.code}: ${result.stderr}`);
  }
}

/** The most memory that a process has had so far; 0 when it is gone. */
function peakMb(pid: number | undefined): number {
  try {
    return Math.round(Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}

/** Milliseconds until `sky exec -d` has returned, and until the job has ended; and what memory `sky` took. */
async function once(user: TestUser, folder: string): Promise<{ sent: number; ended: number; peak: number }> {
  const start = performance.now();
  const args = ["exec", clusterName, "-d", "--workdir", folder, "--", "true"];
  const running = startSky(user, args, { limitMs });
  let peak = 0;
  const looking = setInterval(() => {
    peak = Math.max(peak, peakMb(running.child.pid));
  }, 50);
  const result = await running.ended;
  clearInterval(looking);
  const sent = performance.now() - start;
  const id = Number(/Job submitted, ID: (\d+)/.exec(result.stdout)?.[1]);
  if (result.code !== 0 || !Number.isInteger(id)) {
    throw new Error(`sky exec ended with ${result.code}: ${result.stderr}`);
  }
  await skyOk(user, ["logs", clusterName, String(id)], { limitMs });
  const ended = performance.now() - start;
  await untilStatus(user, id, "SUCCEEDED");
  return { sent, ended, peak };
}

async function manyFiles(user: TestUser): Promise<Record<string, number>> {
  await shell(
    user,
    `mkdir -p empty many; cd many; for d in $(seq 100); do mkdir d$d; for f in $(seq ${Math.ceil(files / 100)}); do ` +
      'echo "$d $f $RANDOM" > d$d/f$f; done; done',
  );
  const times = {
    empty: { sent: [] as number[], ended: [] as number[] },
    many: { sent: [] as number[], ended: [] as number[] },
  };
  const first = await once(user, "many");
  for (let round = -warmUp; round < rounds; round += 1) {
    for (const folder of ["empty", "many"] as const) {
      // Both go to the same place on the node; the job before has just brought the same folder there.
      await once(user, folder);
      const one = await once(user, folder);
      if (round >= 0) {
        times[folder].sent.push(one.sent);
        times[folder].ended.push(one.ended);
      }
    }
  }
  return {
    first_ms: Math.round(first.sent),
    empty_ms: Math.round(median(times.empty.sent)),
    unchanged_ms: Math.round(median(times.many.sent)),
    unchanged_extra_ms: Math.round(median(times.many.sent) - median(times.empty.sent)),
    job_extra_ms: Math.round(median(times.many.ended) - median(times.empty.ended)),
  };
}

async function largeFile(user: TestUser, proxy: CountingProxy): Promise<Record<string, number>> {
  const bytes = megabytes * 1_000_000;
  await shell(user, `mkdir -p large; head -c ${bytes} /dev/urandom > large/data`);
  proxy.reset();
  const first = await once(user, "large");
  const firstBytes = proxy.up();
  await shell(user, `printf x | dd of=large/data bs=1 seek=${Math.floor(bytes / 2)} conv=notrunc status=none`);
  proxy.reset();
  const changed = await once(user, "large");
  return {
    large_mb: megabytes,
    large_first_mb_sent: Math.round(firstBytes / 1e6),
    large_peak_mb: first.peak,
    large_first_s: Math.round(first.sent / 100) / 10,
    changed_byte_mb_sent: Math.round(proxy.up() / 1e5) / 10,
    changed_byte_s: Math.round(changed.sent / 100) / 10,
    changed_byte_job_s: Math.round(changed.ended / 100) / 10,
  };
}

async function measure(site: Site): Promise<Record<string, number>> {
  const user = site.users[0] as TestUser;
  const proxy = await startCountingProxy(site.sshd.port);
  try {
    register(user, site.cluster, { port: proxy.port, hostKey: site.sshd.hostKey });
    return { files, rounds, ...(await manyFiles(user)), ...(await largeFile(user, proxy)) };
  } finally {
    await proxy.stop();
  }
}

const site = await startSite({ accelerators: "-" });
try {
  const result = await measure(site);
  process.stdout.write(
    "aims: unchanged_extra_ms under 1000; changed_byte_mb_sent a few, not large_mb\n" +
      `${JSON.stringify({ bench: "files", ...result })}\n`,
  );
} finally {
  await site.stop();
}
