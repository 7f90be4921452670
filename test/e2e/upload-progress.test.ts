/**
 * What a person at a terminal sees while files go up a slow line, and that a script sees nothing of it. The line is a relay
 * before the head's sshd.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type CountingProxy, startCountingProxy } from "../help/counting-proxy.ts";
import { clusterName, plain, type Site, startSite } from "../help/site.ts";
import { register, runAs, sky, startSkyAtTerminal } from "../help/sky.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
let proxy: CountingProxy;

const megabyte = 1_000_000;
/** Slow enough that the bar comes, which it does after a second, and stays for a while. */
const perSecond = 4 * megabyte;

beforeAll(async () => {
  site = await startSite({ accelerators: "-" });
  user = site.users[0] as TestUser;
  proxy = await startCountingProxy(site.sshd.port);
  register(user, site.cluster, { port: proxy.port, hostKey: site.sshd.hostKey });
  proxy.pace(perSecond);
});
afterAll(async () => {
  await proxy?.stop();
  await site?.stop();
});

async function folder(name: string, bytes: number): Promise<string[]> {
  const made = await runAs(user, ["bash", "-ec", `mkdir ${name}; head -c ${bytes} /dev/urandom > ${name}/data`]);
  expect(made.code).toBe(0);
  return ["launch", "-c", clusterName, "-y", "-d", "--workdir", name, "--", "true"];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what lines are erased with
const draws = /\r\u001b\[K(\[[^\r\n]*)/g;

test("at a terminal: a bar with the rate and the time that is left, which goes away", async () => {
  const running = startSkyAtTerminal(user, await folder("slow", 28 * megabyte), { limitMs: 120_000 });
  const { code, stdout } = await running.ended;
  expect(code, stdout).toBe(0);
  const bars = [...stdout.matchAll(draws)].map(([, bar]) => bar ?? "");
  const full = bars.filter((bar) =>
    /^\[#*\.*\] [\d.]+ [kM]?B of 28 MB, [\d.]+ [kM]B\/s, \d+ s left uploading slow$/.test(bar),
  );
  expect(full.length, bars.join("\n")).toBeGreaterThan(3);
  expect(bars.slice(bars.indexOf(full[0] ?? ""), bars.lastIndexOf(full.at(-1) ?? ""))).not.toContainEqual(
    expect.stringContaining("waiting"),
  );
  const shares = full.map((bar) => Number(/\] ([\d.]+) MB/.exec(bar)?.[1] ?? 0));
  expect(shares).toEqual([...shares].sort((a, b) => a - b));
  // A busy machine may be slower than the line; at the beginning buffers on the way take some at once.
  const rates = full.map((bar) => Number(/, ([\d.]+) MB\/s/.exec(bar)?.[1] ?? 0));
  expect(rates.at(-1)).toBeLessThan((2 * perSecond) / megabyte);
  bars.forEach((bar) => expect(bar.length).toBeLessThan(80));
  // What stays on the screen: no bar, and whole lines after it.
  const kept = plain(stdout);
  expect(kept).not.toContain("[#");
  expect(kept).toMatch(/^Uploaded 'slow': 28 MB in [\d.]+ s\.$/m);
  expect(kept).toMatch(/^.*Job submitted, ID: \d+$/m);
});

test("in a script: no bar, no control characters; of a small folder not a word", async () => {
  const large = await sky(user, await folder("large", 18 * megabyte), { limitMs: 120_000 });
  expect([large.code, large.stderr]).toEqual([
    0,
    expect.stringMatching(/^Uploading 'large' to lab: 18 MB\.\.\.\nUploaded 'large': 18 MB in [\d.]+ s\.\n$/),
  ]);
  const small = await sky(user, await folder("small", 8 * megabyte), { limitMs: 120_000 });
  expect([small.code, small.stderr]).toEqual([0, ""]);
});
