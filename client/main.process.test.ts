/** The real `sky` process: exit codes, Ctrl-C as a signal, a reader that goes away, a cut in the middle of a launch. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../test/help/until.ts";
import { type FakeHead, jobRow, startFakeHead } from "../test/help/stand-in-head.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
let head: FakeHead;
let home: string;
let children: ChildProcess[];

beforeEach(async () => {
  head = await startFakeHead();
  home = mkdtempSync(join(tmpdir(), "sky-main-"));
  children = [];
  const { username } = userInfo();
  mkdirSync(join(home, ".sky", "local"), { recursive: true });
  writeFileSync(
    join(home, ".sky", "local", "lab.yml"),
    `cluster: {ips: [127.0.0.1], name: lab}\nauth: {ssh_user: ${username}}\ncoordinator: {socket: ${head.socketPath}}\n`,
  );
  const me = { uid: 0, user: username, groups: [], cluster: "lab", version: "0", refused: null };
  head.pages.set("/onprem/whoami", me);
  head.pages.set("/onprem/nodes", { cluster: "lab", unknown_attempts: 0, nodes: [] });
  head.results.set("/launch", { value: { job_id: 4, handle: { cluster_name: "lab" } } });
});
afterEach(async () => {
  for (const child of children) {
    child.kill("SIGKILL");
  }
  await head.close();
  rmSync(home, { recursive: true, force: true });
});

function start(words: string[]) {
  const env = { PATH: process.env["PATH"], HOME: home };
  const child = spawn(process.execPath, ["--import", "tsx", "client/main.ts", ...words], { cwd: root, env });
  children.push(child);
  const text = { out: "", err: "" };
  child.stdin.end();
  child.stdout.on("data", (chunk: Buffer) => {
    text.out += chunk.toString("utf8");
  });
  child.stderr.on("data", (chunk: Buffer) => {
    text.err += chunk.toString("utf8");
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, text, ended };
}

async function sky(...words: string[]) {
  const { text, ended } = start(words);
  const code = await ended;
  return { code, ...text };
}

const endless: FakeHead["logs"] = (_call, reply) =>
  new Promise((resolve) => {
    reply.write("working\n");
    reply.on("close", () => resolve());
  });

it("ends with the exit codes of usage, errors and success", async () => {
  expect(await sky("queu")).toMatchObject({ code: 2, out: "" });
  expect(await sky("exec", "lab", "true")).toMatchObject({ code: 1, out: "" });
  expect(await sky("launch", "-c", "lab", "-y", "-d", "true")).toMatchObject({ code: 0, err: "" });
  head.results.set("/queue", { value: [jobRow(4)] });
  const queue = await sky("queue");
  expect(queue).toMatchObject({ code: 0, err: "" });
  expect(queue.out).toContain("4   train  ");
}, 60_000);

it("submits once when the connection is cut before the reply", async () => {
  let cuts = 0;
  head.disturb = (call) => (call.path === "/launch" && cuts++ === 0 ? "cut" : null);
  const { code, out, err } = await sky("launch", "-c", "lab", "-y", "-d", "true");
  expect(code).toBe(0);
  expect(err).toContain("trying again");
  expect(out).toContain("Job submitted, ID: 4");
  const ids = head.calls.filter((call) => call.path === "/launch").map((call) => call.requestId);
  expect(ids).toHaveLength(2);
  expect(ids[0]).toBe(ids[1]);
}, 60_000);

it("Ctrl-C while following ends with 130 and leaves the job alone", async () => {
  head.logs = endless;
  const { child, text, ended } = start(["launch", "-c", "lab", "-y", "sleep 1000"]);
  await until(() => text.out.includes("working"), "output", 30_000);
  child.kill("SIGINT");
  expect(await ended).toBe(130);
  expect(text.out).toContain("Job 4 was not killed.");
  expect(text.err).toBe("");
  expect(head.calls.some((call) => call.path === "/cancel")).toBe(false);
}, 60_000);

it("ends quietly when nobody reads its output any more", async () => {
  head.logs = async (call, reply) => {
    for (let line = 0; line < 2000 && !reply.destroyed; line += 1) {
      await new Promise<void>((resolve) => reply.write("x".repeat(10_000), () => resolve()));
    }
    await endless(call, reply);
  };
  const { child, text, ended } = start(["launch", "-c", "lab", "-y", "yes"]);
  await until(() => text.out.includes("xxx"), "output", 30_000);
  child.stdout.destroy();
  expect(await ended).toBe(141);
  expect(text.err).toBe("");
}, 60_000);
