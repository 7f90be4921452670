/** Uploads over real HTTP to a keeper in memory: once, again, changed, cut off, taken away, changing meanwhile. */
import { createHash, randomFillSync } from "node:crypto";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type FilesHead, startFilesHead } from "../../test/help/stand-in-files.ts";
import { chunkBytes, type ManifestEntry } from "../../shared/files.ts";
import { createFilesCalls, type FilesCalls } from "../sdk/files-calls.ts";
import { Transport } from "../sdk/transport.ts";
import { type UploadedSource, type UploadOptions, type UploadState, uploadSources } from "./upload.ts";

let head: FilesHead;
let home: string;
let transport: Transport;
let calls: FilesCalls;
let said: string[];

beforeEach(async () => {
  head = await startFilesHead();
  home = mkdtempSync(join(tmpdir(), "sky-upload-"));
  mkdirSync(join(home, "src"));
  transport = new Transport("lab", () => head.connect());
  said = [];
  calls = createFilesCalls(transport, (text) => said.push(text));
});
afterEach(async () => {
  transport.close();
  await head.close();
  rmSync(home, { recursive: true, force: true });
});

function put(name: string, content: string | Buffer, ageSeconds = 100): string {
  const path = join(home, "src", name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, content);
  const at = Date.now() / 1000 - ageSeconds;
  utimesSync(path, at, at);
  return path;
}

function noise(bytes: number): Buffer {
  return randomFillSync(Buffer.allocUnsafe(bytes));
}

async function upload(sources = ["src"], more: Partial<UploadOptions> = {}): Promise<UploadedSource[]> {
  const uploaded: UploadedSource[] = [];
  const options = { cwd: home, home, warn: (text: string) => said.push(text), ...more };
  const ids = await uploadSources(calls, sources, { ...options, onDone: (one) => uploaded.push(one) });
  expect([...ids.values()]).toEqual(uploaded.map(({ manifest }) => manifest));
  return uploaded;
}

/** The files of a manifest that was kept, with their content. */
function kept(id: string): Map<string, string> {
  const lines = (head.manifests.get(id) ?? "").split("\n").filter((line) => line !== "");
  const files = lines.map((line) => JSON.parse(line) as ManifestEntry).filter((entry) => entry.type === "file");
  return new Map(
    files.map(({ path, chunks }) => [
      path,
      Buffer.concat(chunks.map((hash) => head.chunks.get(hash) ?? Buffer.alloc(0))).toString("latin1"),
    ]),
  );
}

describe("an upload", () => {
  it("brings every byte, and says so by the manifest's own hash", async () => {
    const large = noise(5 * 1024 * 1024);
    put("large", large);
    put("sub/small", "hello");
    put("empty", "");
    put("same", "hello");
    symlinkSync("sub/small", join(home, "src/link"));
    const [one] = await upload();
    expect(one).toMatchObject({ source: "src", files: 4, bytes: large.length + 10, sentBytes: large.length + 5 });
    expect(kept(one?.manifest ?? "")).toEqual(
      new Map([
        ["empty", ""],
        ["large", large.toString("latin1")],
        ["same", "hello"],
        ["sub/small", "hello"],
      ]),
    );
    const text = head.manifests.get(one?.manifest ?? "") ?? "";
    expect(createHash("sha256").update(text).digest("hex")).toBe(one?.manifest);
    expect(text).toContain('{"type":"link","path":"link","target":"sub/small"}\n');
  });

  it("asks one question the second time and sends nothing", async () => {
    put("a", "a");
    const [first] = await upload();
    head.calls.length = 0;
    const [second] = await upload();
    expect(second).toEqual({ ...first, sentBytes: 0 });
    expect(head.calls).toEqual(["GET /onprem/files/manifest/ID"]);
  });

  it("of a large file with one changed byte sends little", async () => {
    const large = noise(16 * 1024 * 1024);
    put("large", large);
    await upload();
    large[large.length >> 1] = (large[large.length >> 1] ?? 0) ^ 1;
    put("large", large, 50);
    const [again] = await upload();
    expect(again?.sentBytes).toBeLessThanOrEqual(3 * chunkBytes.max);
    expect(again?.sentBytes).toBeGreaterThan(0);
    expect(kept(again?.manifest ?? "").get("large")).toBe(large.toString("latin1"));
  });

  it("takes single files, `~`, and absolute paths, each once", async () => {
    const path = put("one.txt", "1");
    const uploaded = await upload(["src/one.txt", "~/src/one.txt", path, "src/one.txt"]);
    expect(uploaded.map(({ source }) => source)).toEqual(["src/one.txt", "~/src/one.txt", path]);
    expect(new Set(uploaded.map(({ manifest }) => manifest)).size).toBe(1);
    expect(kept(uploaded[0]?.manifest ?? "")).toEqual(new Map([["", "1"]]));
  });

  it("of something that is not there names it before anything is sent", async () => {
    put("a", "a");
    await expect(upload(["src", "srk"])).rejects.toMatchObject({
      type: "ValueError",
      message: `The task's local path 'srk' cannot be uploaded: ${join(home, "srk")}: there is no such file or folder.`,
    });
    expect(head.calls).toEqual([]);
  });

  it("tells how far it is, to the end", async () => {
    put("large", noise(3 * 1024 * 1024));
    const states: UploadState[] = [];
    await upload(["src"], { onProgress: (state) => states.push({ ...state }) });
    for (const phase of ["read", "send"] as const) {
      const own = states.filter((state) => state.phase === phase);
      expect(own.at(-1)).toMatchObject({ source: "src", done: 3 * 1024 * 1024, total: 3 * 1024 * 1024 });
      expect(own.every((state, index) => index === 0 || state.done >= (own[index - 1]?.done ?? 0))).toBe(true);
    }
  });
});

describe("when something goes wrong", () => {
  it("sends a lost pack again, and nothing twice that had arrived", async () => {
    put("large", noise(40 * 1024 * 1024));
    let packs = 0;
    head.disturb = (route) => route.endsWith("/pack") && (packs += 1) === 3;
    const [one] = await upload();
    expect(one?.sentBytes).toBe(40 * 1024 * 1024);
    expect(kept(one?.manifest ?? "").get("large")?.length).toBe(40 * 1024 * 1024);
    expect(said.some((text) => text.includes("trying again"))).toBe(true);
  });

  it("goes on where a run before stopped", async () => {
    put("large", noise(24 * 1024 * 1024));
    let packs = 0;
    const refused = createFilesCalls(transport, () => undefined);
    const stopped: FilesCalls = {
      ...refused,
      sendPack: (pieces, sent) =>
        (packs += 1) > 1 ? Promise.reject(new Error("stop")) : refused.sendPack(pieces, sent),
    };
    const options = { cwd: home, home, warn: () => undefined };
    await expect(uploadSources(stopped, ["src"], options)).rejects.toThrow("stop");
    const [one] = await upload();
    expect(one?.sentBytes).toBeGreaterThan(0);
    expect(one?.sentBytes).toBeLessThanOrEqual(24 * 1024 * 1024 - 4 * 1024 * 1024);
    expect(kept(one?.manifest ?? "").get("large")?.length).toBe(24 * 1024 * 1024);
  });

  it("sends again what the cluster has lost meanwhile", async () => {
    put("a", "a");
    put("b", "b");
    let once = true;
    head.disturb = (route) => {
      if (route === "POST /onprem/files/manifest" && once) {
        once = false;
        head.chunks.clear();
      }
      return false;
    };
    const [one] = await upload();
    expect(kept(one?.manifest ?? "")).toEqual(new Map(Object.entries({ a: "a", b: "b" })));
  });

  it("reads a file again that was changed between reading and sending", async () => {
    const path = put("a", "before");
    let once = true;
    head.disturb = (route) => {
      if (route === "POST /onprem/files/missing" && once) {
        once = false;
        writeFileSync(path, "afterwards");
      }
      return false;
    };
    const [one] = await upload();
    expect(kept(one?.manifest ?? "")).toEqual(new Map([["a", "afterwards"]]));
  });

  it("refuses a file that never stands still", async () => {
    const path = put("growing", noise(2 * 1024 * 1024));
    const grow = (): void => appendFileSync(path, "x");
    await expect(upload(["src"], { onProgress: grow })).rejects.toThrow(/growing: it changes all the time/);
  });

  it("does not trust a cache that is damaged or cut off", async () => {
    put("a", "a");
    await upload();
    const caches = join(home, ".sky/onprem/files");
    const cache = join(caches, readdirSync(caches)[0] ?? "");
    const hash = createHash("sha256").update("a").digest("hex");
    writeFileSync(
      cache,
      readFileSync(cache, "utf8").replace(hash, hash.replace(/^./, hash.startsWith("0") ? "1" : "0")),
    );
    const [second] = await upload();
    truncateSync(cache, 90);
    const [third] = await upload();
    expect(kept(second?.manifest ?? "")).toEqual(new Map([["a", "a"]]));
    expect(third?.manifest).toBe(second?.manifest);
  });

  it("reads again what kept its size and time but is another file", async () => {
    const path = put("a", "old");
    await upload();
    rmSync(path);
    put("a", "new");
    const [one] = await upload();
    expect(kept(one?.manifest ?? "")).toEqual(new Map([["a", "new"]]));
  });
});
