/**
 * How long a question about a year of usage takes, and what it costs meanwhile: a history of a million ranks of 500 users
 * in twelve files, summed for everybody and for one user, with the longest time for which nothing else had its turn and
 * the memory that it took. No cluster. Prints one JSON object as its last line; `--lines N` changes the size.
 */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { monthFile, usageFiles, usageFolder } from "../../coordinator/usage-files.ts";
import { readUsage } from "../../coordinator/usage-reader.ts";
import type { UsageQuestion } from "../../coordinator/usage-sum.ts";
import type { UsageLine } from "../../shared/scheduling.ts";

const { values } = parseArgs({ options: { lines: { type: "string", default: "1000000" } } });
const lines = Number(values.lines);
const users = 500;
const yearMs = 31_536_000_000;
const begin = Date.UTC(2026, 0, 1);
const batch = 10_000;

function lineOf(number: number): UsageLine {
  const uid = 20_000 + ((number * 7919) % users);
  const to = begin + Math.floor((number / lines) * yearMs);
  return {
    ...{ attempt: `abcdefgh-${number}`, node: `gpu${number % 100}`, uid, user: `user${uid}` },
    ...{ groups: ["lab", `group${uid % 20}`, "users"], jobId: Math.floor(number / users) + 1, kind: "H100" },
    ...{ accelerators: (number % 8) + 1, cpus: 16, memoryGb: 128, from: to - (number % 86_400_000), to },
  };
}

function write(folder: string): void {
  mkdirSync(folder);
  for (let at = 0; at < lines; at += batch) {
    const texts = new Map<string, string>();
    for (let number = at; number < Math.min(at + batch, lines); number += 1) {
      const line = lineOf(number);
      const name = monthFile(line.to);
      texts.set(name, `${texts.get(name) ?? ""}${JSON.stringify(line)}\n`);
    }
    for (const [name, text] of texts) {
      appendFileSync(join(folder, name), text);
    }
  }
}

interface Measured {
  seconds: number;
  longestBlockMs: number;
  peakMb: number;
}

async function measured(dir: string, question: Partial<UsageQuestion>): Promise<Measured> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let peak = 0;
  const before = process.memoryUsage().rss;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss - before);
  }, 50);
  delay.enable();
  const start = performance.now();
  await readUsage(dir, { from: begin, to: begin + yearMs, by: ["user", "kind"], uid: null, ...question }, []);
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  clearInterval(watch);
  return { seconds, longestBlockMs: delay.max / 1e6, peakMb: peak / 1024 / 1024 };
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

const dir = mkdtempSync(join(tmpdir(), "sky-bench-usage-"));
try {
  write(join(dir, usageFolder));
  const folder = join(dir, usageFolder);
  const bytes = (await usageFiles(folder)).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  const all = await measured(dir, {});
  const own = await measured(dir, { uid: 20_001 });
  const month = await measured(dir, { from: begin + yearMs - 30 * 86_400_000 });
  const round = (value: number): number => Math.round(value * 100) / 100;
  const shown = (name: string, { seconds, longestBlockMs, peakMb }: Measured): string =>
    `${name}: ${round(seconds)} s, others waited ${round(longestBlockMs)} ms at most, ${round(peakMb)} MB more memory`;
  print(`${lines} lines, ${round(bytes / 1024 / 1024)} MB`);
  print([shown("everybody, a year", all), shown("one user, a year", own), shown("a month", month)].join("\n"));
  print(
    JSON.stringify({
      ...{ lines, history_mb: round(bytes / 1024 / 1024), all_s: round(all.seconds), own_s: round(own.seconds) },
      ...{ month_s: round(month.seconds), longest_block_ms: round(Math.max(all.longestBlockMs, own.longestBlockMs)) },
      ...{ peak_mb: round(Math.max(all.peakMb, own.peakMb)) },
    }),
  );
} finally {
  rmSync(dir, { recursive: true, force: true });
}
