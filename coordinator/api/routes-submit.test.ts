/** Tasks with files, secrets and images through the API: what is queued, what is refused, and that secrets show nowhere. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { RequestPayload } from "../../shared/api.ts";
import { type TestCluster, startTestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster;
beforeEach(async () => {
  const volumes = [{ name: "scratch", path: "/mnt/scratch" }];
  cluster = await startTestCluster(["one"], { volumes });
});
afterEach(() => cluster.close());

async function send(task: string, more: Record<string, unknown> = {}, path = "/launch"): Promise<RequestPayload> {
  return cluster.result(path, { task, cluster_name: "lab", ...more });
}

function faultOf(payload: RequestPayload): string {
  expect(payload.status).toBe("FAILED");
  return (JSON.parse(payload.error) as { message: string }).message;
}

function jobOf(payload: RequestPayload): number | null {
  expect(payload).toMatchObject({ status: "SUCCEEDED", error: "null" });
  return (JSON.parse(payload.return_value) as { job_id: number | null }).job_id;
}

const empty = JSON.stringify({ type: "dir", path: "", mode: 0o755 });
async function uploadManifest(): Promise<string> {
  const reply = await cluster.call("POST", "/onprem/files/manifest", `${empty}\n`, {
    "Content-Type": "application/octet-stream",
  });
  expect(reply.status, reply.text).toBe(200);
  return (reply.json as { id: string }).id;
}

test("a launch with an uploaded folder and a volume, and an exec without a folder", async () => {
  const manifest = await uploadManifest();
  const task = "workdir: ./code\nvolumes: {/scratch: scratch}\nrun: make\n";
  expect(jobOf(await send(task, { uploads: { "./code": manifest } }))).toBe(1);
  expect(cluster.store.payloads.at(-1)?.files).toEqual([
    { kind: "volume", destination: "/scratch", name: "scratch", path: "/mnt/scratch", readOnly: false },
    { kind: "upload", destination: "sky_workdir", manifest },
  ]);
  // Files are a part of a launch's setup, so that a later exec elsewhere gets them.
  expect(cluster.queue.records.get("0/1")).toMatchObject({ hasSetup: true, hasRun: true, shape: { brings: true } });
  expect(jobOf(await send("run: ls\n", {}, "/exec"))).toBe(2);
  expect(cluster.store.payloads.at(-1)).toEqual({ setup: null, run: "ls", envs: {} });
});

test("files alone make a job, since they are to be brought", async () => {
  const uploads = { "./code": await uploadManifest() };
  expect(jobOf(await send("workdir: ./code\n", { uploads }))).toBe(1);
  expect(jobOf(await send("workdir: ./code\n", { uploads, no_setup: true }))).toBe(2);
  expect(cluster.queue.records.get("0/2")).toMatchObject({ hasSetup: false, hasRun: false });
});

test.each([
  ["workdir: ./code\nrun: a\n", "The working folder './code' was not uploaded with the task."],
  ["volumes: {/a: scrath}\nrun: a\n", "There is no volume 'scrath' on cluster 'lab'."],
  ["resources: {image_id: docker:a}\nrun: a\n", "neither podman nor docker"],
  ["resources: {use_spot: true}\nrun: a\n", "'resources.use_spot' cannot be used here. Nobody takes"],
])("refused: %j", async (task, text) => {
  expect(faultOf(await send(task))).toContain(text);
  expect(cluster.queue.records.size).toBe(0);
});

test.each([
  ["/launch", { down: true }, "'down' cannot be used here. The machines are never stopped;"],
  ["/exec", { down: true }, "'down' cannot be used here."],
  ["/launch", { idle_minutes_to_autostop: 10 }, "'idle_minutes_to_autostop' cannot be used here."],
  ["/launch", { clone_disk_from: "other" }, "'clone_disk_from' cannot be used here."],
])("what no cluster of one's own can do is refused, not dropped: %s %j", async (path, more, text) => {
  expect(faultOf(await send("run: a\n", more, path))).toContain(text);
  expect(cluster.queue.records.size).toBe(0);
  expect(jobOf(await send("run: a\n", { down: false, idle_minutes_to_autostop: null, clone_disk_from: null }))).toBe(1);
});

test("secrets lie in the payload, and nowhere that anybody is shown", async () => {
  const payload = await send("secrets: {TOKEN: hunter2}\nenvs: {SEEN: value}\nrun: a\n");
  expect(jobOf(payload)).toBe(1);
  expect(cluster.store.payloads.at(-1)?.secrets).toEqual({ TOKEN: "hunter2" });
  const shown = [
    JSON.stringify(payload),
    JSON.stringify(cluster.queue.records.get("0/1")),
    JSON.stringify(await cluster.result("/queue", { cluster_name: "lab" })),
    (await cluster.call("GET", "/api/status")).text,
    JSON.stringify(await send("secrets: {TOKEN: hunter2}\nrun: a\n", { dryrun: true })),
  ].join("\n");
  expect(shown).not.toContain("hunter2");
});
