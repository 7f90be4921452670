/** Tools that end, hang, print too much or are not there; what is left of one that was given up. */
import { expect, test } from "vitest";
import { run } from "../test/help/run.ts";
import { until } from "../test/help/until.ts";
import { machineProbes, untilEnded } from "./probes.ts";

const probes = machineProbes();

test("what a tool says, with its exit code and a clean environment", async () => {
  const answer = await probes.tool(["sh", "-c", "echo out; echo err >&2; exit 3"]);
  expect(answer).toMatchObject({ code: 3, stdout: "out\n", stderr: "err\n" });
  const { stdout } = await probes.tool(["env"]);
  expect(stdout.split("\n").map((line) => line.split("=")[0])).toEqual(["PATH", "LC_ALL", ""]);
  expect((await probes.tool(["cat"])).stdout).toBe("");
});

test("one that hangs is given up, with all that it has started in sessions of its own", async () => {
  const mark = `${process.pid}.75`;
  const script = `trap '' TERM; setsid sleep ${mark} & sleep ${mark}`;
  await expect(probes.tool(["sh", "-c", script], 500)).rejects.toThrow("did not end within 0.5 seconds");
  await untilEnded();
  await until(async () => (await run(["pgrep", "-f", `^sleep ${mark}$`])).code === 1, "the end of its processes");
});

test("one that has ended is not waited for, nor is its number signalled, when something of it holds its output", async () => {
  const mark = `${process.pid}.85`;
  const answer = await probes.tool(["sh", "-c", `sleep ${mark} & echo said`], 8_000);
  expect(answer).toMatchObject({ code: 0, stdout: "said\n" });
  expect(answer.ms).toBeLessThan(7_000);
  await run(["pkill", "-f", `^sleep ${mark}$`]);
});

test("one that is not there, and one that prints without end", async () => {
  await expect(probes.tool(["no-such-tool-of-ours"])).rejects.toMatchObject({ kind: "missing" });
  await expect(probes.tool(["yes"], 20_000)).rejects.toThrow("printed more than 2 MB");
  await untilEnded();
});

test("files and folders that are not there are null; those that cannot be read say so", async () => {
  expect(await probes.file("/proc/sys/kernel/hostname")).toMatch(/\S/);
  expect([
    await probes.file("/nonexistent"),
    await probes.list("/nonexistent"),
    await probes.link("/nonexistent"),
  ]).toEqual([null, null, null]);
  expect(await probes.link("/proc/self/exe")).toMatch(/^\//);
  await expect(probes.file("/proc")).rejects.toThrow("/proc cannot be read (EISDIR)");
});
