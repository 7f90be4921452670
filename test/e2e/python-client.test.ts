/**
 * `sky tunnel` on a real cluster: what SkyPilot's Python client sends goes through it, as the person who opened it, with
 * a workdir and a mount in a zip; nobody else on the machine gets anything.
 */
import { readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Running } from "../help/run.ts";
import { clusterName, type Site, startSite, untilStatus } from "../help/site.ts";
import { playFixture, type Reply, sendCall } from "../help/skypilot-client.ts";
import { startSky } from "../help/sky.ts";
import { until } from "../help/until.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
let tunnel: Running;
let url: URL;

beforeAll(async () => {
  site = await startSite({ accelerators: "V100:2" });
  user = site.users[0] as TestUser;
  tunnel = startSky(user, ["tunnel", "-c", clusterName], { limitMs: 280_000 });
  url = new URL(await until(async () => /^http:\S+$/m.exec(tunnel.stdout())?.[0], "the tunnel's address", 30_000));
});
afterAll(async () => await site?.stop());

const authorization = (): string => `Basic ${Buffer.from(`${url.username}:${url.password}`).toString("base64")}`;
const target = () => ({ host: url.hostname, port: url.port, headers: { Authorization: authorization() } });

async function call(path: string, body: object | null): Promise<Reply> {
  const method = body === null ? "GET" : "POST";
  const headers = body === null ? "requests" : "requests-json";
  const text = body === null ? {} : { body: JSON.stringify({ using_remote_api_server: true, ...body }) };
  return sendCall({ method, path, headers, status: 200, ...text }, target());
}

/** POST, then the result's value. */
async function result(path: string, body: object): Promise<unknown> {
  const id = String((await call(path, body)).headers["x-skypilot-request-id"]);
  const reply = await call(`/api/get?request_id=${id}`, null);
  expect(reply.status, reply.bytes.toString()).toBe(200);
  return JSON.parse((JSON.parse(reply.bytes.toString()) as { return_value: string }).return_value);
}

describe("the Python client through `sky tunnel`", () => {
  test("launches with a workdir, a mount, variables and a secret, and reads the log", async () => {
    const userHash = user.uid.toString(16).padStart(8, "0");
    await playFixture("skypilot-launch.json", { target: target(), user: user.name, userHash });
  });

  test("executes, sees the job run, cancels it, and hears its exit code", async () => {
    const task = "name: null\n---\nresources:\n  disk_size: 256\nrun: echo begun; sleep 1000\nfile_mounts: {}\n";
    const { job_id: id } = (await result("/exec", { task, cluster_name: clusterName })) as { job_id: number };
    await untilStatus(user, id, "RUNNING");
    const queue = (await result("/queue", { cluster_name: clusterName })) as { job_id: number; job_name: string }[];
    expect(queue.find((job) => job.job_id === id)).toMatchObject({
      job_name: "-",
      status: "RUNNING",
      username: user.name,
    });
    const cancel = { cluster_name: clusterName, job_ids: [id], all: false, all_users: false };
    expect(await result("/cancel", cancel)).toEqual([id]);
    await untilStatus(user, id, "CANCELLED");
    const logs = await call("/logs", { cluster_name: clusterName, job_id: id, follow: true, tail: 0 });
    expect(logs.bytes.toString()).toContain("begun");
    const got = await call(`/api/get?request_id=${String(logs.headers["x-skypilot-request-id"])}`, null);
    expect(JSON.parse(got.bytes.toString())).toMatchObject({ return_value: "103" });
  });

  test("is closed to everybody else, whoever asks", async () => {
    const ask = (headers: Record<string, string>) =>
      new Promise<number | undefined>((resolve, reject) => {
        const asked = request(
          { host: "127.0.0.1", port: url.port, path: "/api/health", headers, agent: false },
          (reply) => {
            reply.resume();
            reply.on("end", () => resolve(reply.statusCode));
          },
        );
        asked.on("error", reject);
        asked.end();
      });
    expect(await ask({ Authorization: authorization() })).toBe(200);
    expect(await ask({})).toBe(401);
    expect(await ask({ Authorization: authorization(), Host: "evil.example" })).toBe(401);
    expect(await ask({ Authorization: authorization(), Origin: "http://evil.example" })).toBe(401);
  });

  test("shows its credential in no process's arguments or environment", () => {
    const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
    const text = pids
      .map((pid) => ["cmdline", "environ"].map((name) => read(`/proc/${pid}/${name}`)).join(""))
      .join("");
    expect(text).toContain("tunnel");
    expect(text).not.toContain(url.password);
  });

  test("ends with Ctrl-C, and its port with it", async () => {
    tunnel.child.kill("SIGINT");
    expect(await tunnel.ended).toMatchObject({ code: 0 });
    const refused = await new Promise((resolve) => {
      const socket = connect(Number(url.port), "127.0.0.1");
      socket.once("connect", () => resolve(false));
      socket.once("error", () => resolve(true));
    });
    expect(refused).toBe(true);
  });
});

/** A file of a process; nothing when it has ended. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
