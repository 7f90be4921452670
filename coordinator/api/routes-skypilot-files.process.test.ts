/** Zips in both directions with Python's own zipfile, which is what SkyPilot's client uses. Needs python3. */
import { execFileSync } from "node:child_process";
import { type IncomingMessage, request } from "node:http";
import { afterEach, beforeEach, expect, it } from "vitest";
import { logFrame, startTestCluster, streamOf, type TestCluster } from "../../test/help/api-parts.ts";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster();
});
afterEach(async () => await cluster.close());

function python(program: string, input: Buffer | string): unknown {
  return JSON.parse(execFileSync("python3", ["-c", program], { input, encoding: "utf8" }));
}

/** Two sources: a folder with a file, an empty folder and a link, and a file; then the id as the client computes it. */
const writer = `
import base64, hashlib, io, json, zipfile
out = io.BytesIO()
with zipfile.ZipFile(out, 'w', compression=zipfile.ZIP_DEFLATED) as made:
    for name, mode, text in (('home/ann/p/', 0o40755, ''), ('home/ann/p/empty/', 0o40755, ''),
                             ('home/ann/p/ü.txt', 0o100600, 'x' * 100000), ('home/ann/f', 0o100644, 'f')):
        info = zipfile.ZipInfo(name, (2025, 1, 2, 3, 4, 6))
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        made.writestr(info, text)
    link = zipfile.ZipInfo('home/ann/p/to')
    link.external_attr = 0xA1ED0000
    made.writestr(link, 'ü.txt')
entries = []
with zipfile.ZipFile(out) as made:
    for info in made.infolist():
        entries.append((info.filename, hashlib.sha256(made.read(info)).digest()))
whole = hashlib.sha256()
for name, digest in sorted(entries, key=lambda entry: entry[0]):
    whole.update(name.encode('utf-8'))
    whole.update(digest)
print(json.dumps({'id': whole.hexdigest(), 'zip': base64.b64encode(out.getvalue()).decode()}))
`;

it("a zip of Python's is taken under the id that the client computes", async () => {
  const { id, zip } = python(writer, "") as { id: string; zip: string };
  const path = `/upload_v2?user_hash=f0e1d2c3&upload_id=${id}&chunk_index=0&total_chunks=1`;
  const bytes = Buffer.from(zip, "base64");
  const reply = await new Promise<IncomingMessage>((resolve, reject) => {
    const call = request({ socketPath: cluster.socket, method: "POST", path, agent: false }, resolve);
    call.once("error", reject);
    call.end(bytes);
  });
  reply.resume();
  expect(reply.statusCode).toBe(200);
  const there = await cluster.call("GET", `/upload_v2/blob?user_hash=f0e1d2c3&blob_id=${id}`);
  expect(there.json).toEqual({ exists: true });
});

it("the zip of logs is unpacked by Python as the client does it", async () => {
  await cluster.result("/launch", { task: "name: train\nrun: x", cluster_name: "lab" });
  await cluster.report("one", (attempt) => Object.assign(attempt, { state: "exited", runExit: 0 }));
  cluster.fleet.source = () => streamOf([logFrame("pid", "7"), logFrame("run", "größe\n"), logFrame("end", "")], "end");
  const folder = "~/.sky/api_server/clients/f0e1d2c3/sky_logs/lab/1-train";
  const incoming = await cluster.open("POST", "/download", { folder_paths: [folder] });
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) {
    chunks.push(chunk as Buffer);
  }
  const reader = `
import io, json, os, sys, zipfile
found = {}
with zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())) as made:
    assert made.testzip() is None
    for member in made.namelist():
        place = os.path.dirname('/' + member).replace('${String(incoming.headers["x-home-path"])}', '~')
        assert place.startswith('${folder}'), place
        local = place.replace('~/.sky/api_server/clients/f0e1d2c3/sky_logs', '~/sky_logs')
        found[os.path.join(local, os.path.basename(member))] = made.read(member).decode()
print(json.dumps(found))
`;
  expect(python(reader, Buffer.concat(chunks))).toEqual({
    "~/sky_logs/lab/1-train/": "",
    "~/sky_logs/lab/1-train/setup.log": "",
    "~/sky_logs/lab/1-train/tasks/run.log": "größe\n",
  });
});
