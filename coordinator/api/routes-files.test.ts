/** Uploads through the real API on its socket: what is kept, what is refused, and that a refusal reaches the caller. */
import { request } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { packBytesMax } from "../../shared/files.ts";
import { manifestsInUse } from "../files/in-use.ts";
import { until } from "../../test/help/until.ts";
import { type Reply, startTestCluster, type TestCluster } from "../../test/help/api-parts.ts";
import { fileEntry, manifestText, packOf, sha256 } from "../../test/help/uploads.ts";

let cluster: TestCluster;
const red = Buffer.from("red".repeat(500));
const missing = "/onprem/files/missing";

afterEach(() => cluster.close());

/** Sends bytes, in pieces and without a length when `chunked`. */
function send(path: string, body: Uint8Array | string, chunked = false): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const bytes = Buffer.from(body as Uint8Array);
    const headers = chunked ? {} : { "content-length": String(bytes.length) };
    const outgoing = request(
      { socketPath: cluster.socket, method: "POST", path, headers, agent: false },
      (incoming) => {
        let text = "";
        incoming.on("data", (piece: Buffer) => (text += piece.toString()));
        incoming.on("end", () => {
          const json: unknown = text === "" ? undefined : JSON.parse(text);
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text, json });
        });
      },
    );
    outgoing.on("error", reject);
    for (let at = 0; at < bytes.length; at += 50_000) {
      outgoing.write(bytes.subarray(at, at + 50_000));
    }
    outgoing.end();
  });
}

describe("uploads", () => {
  it("are asked for, sent, listed and forgotten", async () => {
    cluster = await startTestCluster();
    const hashes = [sha256(red)];
    expect((await cluster.call("POST", missing, { hashes })).json).toEqual({ missing: hashes });
    const text = manifestText([fileEntry("src/main.py", [red]), { type: "dir", path: "empty", mode: 0o755 }]);
    const id = sha256(text);
    expect((await cluster.call("GET", `/onprem/files/manifest/${id}`)).status).toBe(404);
    expect((await send("/onprem/files/manifest", text)).json).toEqual({ id, missing: hashes });
    expect((await send("/onprem/files/pack", packOf([red]), true)).json).toEqual({ stored: 1 });
    expect((await send("/onprem/files/pack", packOf([red]))).json).toEqual({ stored: 0 });
    expect((await cluster.call("POST", missing, { hashes })).json).toEqual({ missing: [] });
    expect((await send("/onprem/files/manifest", text, true)).json).toEqual({ id, missing: [] });
    expect((await cluster.call("GET", `/onprem/files/manifest/${id}`)).json).toEqual({ id, missing: [] });
    const usage = { bytes: 3 * 4096, quota_bytes: 50e9, manifests: 1, keep_days: 14 };
    expect((await cluster.call("GET", "/onprem/files")).json).toEqual(usage);
    // All of it came within the last minute.
    const cleaned = await cluster.result("/onprem/files/clean", {});
    expect([cleaned.name, cleaned.error, cleaned.return_value]).toEqual([
      "sky.files.clean",
      "null",
      '{"freed_bytes":0}',
    ]);
  });

  it("that are refused say why, and the connection is not broken by it", async () => {
    cluster = await startTestCluster(["one"], { files: { quota_gb_per_user: 0.001 } });
    const large = packOf(Array.from({ length: 4 }, (_, at) => Buffer.alloc(3_500_000, at)));
    for (const chunked of [true, false]) {
      const refused = await send("/onprem/files/pack", large, chunked);
      expect(refused.status).toBe(400);
      expect(refused.text).toContain("may take 0.00 GB");
    }
    const tooLong = await send("/onprem/files/pack", Buffer.alloc(packBytesMax + 1));
    expect([tooLong.status, tooLong.text]).toEqual([413, expect.stringContaining("The body is over 16 MB")]);
    expect((await send("/onprem/files/pack", Buffer.alloc(packBytesMax + 1), true)).status).toBe(400);
    const bad = await send("/onprem/files/manifest", manifestText([fileEntry("../up", [])]));
    expect([bad.status, bad.text]).toEqual([400, expect.stringContaining("Line 1 of the list of files")]);
    expect((await cluster.call("POST", missing, { hashes: ["../../etc"] })).status).toBe(422);
    expect((await cluster.call("GET", "/onprem/files/manifest/..%2f..%2fetc")).status).toBe(404);
    expect((await cluster.call("GET", "/onprem/files")).json).toMatchObject({ bytes: 0 });
  });

  it("of a job are in use until it ends", async () => {
    cluster = await startTestCluster();
    await send("/onprem/files/pack", packOf([red]));
    const { id } = (await send("/onprem/files/manifest", manifestText([fileEntry("a", [red])]))).json as { id: string };
    const inUse = manifestsInUse(cluster.loop.state, cluster.store);
    expect(await inUse(0)).toEqual(new Set());
    const task = "workdir: .\nresources: {cpus: 4}\nrun: sleep 100\n";
    const body = { task, cluster_name: "lab", uploads: { ".": id } };
    const launched = await cluster.result("/launch", body);
    expect(launched.error).toBe("null");
    expect(await inUse(0)).toEqual(new Set([id]));
    expect(await inUse(1)).toEqual(new Set());
    await cluster.result("/cancel", { cluster_name: "lab", job_ids: [1] });
    await cluster.report("one", (attempt) => Object.assign(attempt, { state: "exited", runExit: 143 }));
    await until(async () => (await inUse(0)).size === 0);
  });

  it("are only for who may run jobs", async () => {
    cluster = await startTestCluster(["one"], { users: { min_uid: 1000 } });
    const calls = [
      ...[cluster.call("GET", "/onprem/files"), cluster.call("POST", "/onprem/files/clean", {})],
      ...[send("/onprem/files/pack", packOf([red])), cluster.call("POST", missing, { hashes: [] })],
    ];
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual([403, 403, 403, 403]);
  });

  it("are taken without Redis; forgetting waits for it, since it must know which jobs there are", async () => {
    cluster = await startTestCluster();
    cluster.unavailable.cause = "Redis is away";
    expect((await send("/onprem/files/pack", packOf([red]))).json).toEqual({ stored: 1 });
    expect((await cluster.call("POST", "/onprem/files/clean", {})).status).toBe(503);
  });
});
