/** Zips of SkyPilot's client: what becomes of them, in pieces too; that hostile ones are refused and leave nothing. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { blobIdOf, type ZipItem, zipOf } from "../../test/help/zip-files.ts";
import { type ManifestEntry, manifestEntrySchema } from "../../shared/files.ts";
import { DiskFileStore } from "../files/store.ts";
import { openLog } from "../log.ts";
import { ZipUploads } from "./zips.ts";

let folder = "";
let store: DiskFileStore;
let zips: ZipUploads;

/** A place with this quota; `free`: megabytes that must be free on the disk. */
function openPlace(quotaBytes: number, free = 0): void {
  zips?.close();
  store?.close();
  const files = { quota_gb_per_user: quotaBytes / 1e9, keep_days: 1 };
  store = new DiskFileStore({ state_dir: folder, files, limits: { free_disk_mb: 0 } }, openLog("error"));
  zips = new ZipUploads(folder, free, store);
}
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-zips-"));
  openPlace(1e9);
});
afterEach(() => {
  zips.close();
  store.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What a manifest says, and each file's bytes. */
async function read(
  uid: number,
  id: string | undefined,
): Promise<{ entries: ManifestEntry[]; bytes: Map<string, Buffer> }> {
  const pieces: Uint8Array[] = [];
  for await (const piece of store.readManifest(uid, id ?? "")) {
    pieces.push(piece);
  }
  const lines = Buffer.concat(pieces).toString().trim().split("\n");
  const entries = lines.map((line) => manifestEntrySchema.parse(JSON.parse(line)));
  const bytes = new Map<string, Buffer>();
  for (const entry of entries.filter(({ type }) => type === "file")) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of store.readChunks(uid, entry.type === "file" ? entry.chunks : [])) {
      chunks.push(chunk.bytes);
    }
    bytes.set(entry.path, Buffer.concat(chunks));
  }
  return { entries, bytes };
}

const project: ZipItem[] = [
  { name: "home/ann/proj/" },
  { name: "home/ann/proj/train.py", content: "print(1)\n", mode: 0o100755, deflate: true },
  { name: "home/ann/proj/empty/" },
  { name: "home/ann/proj/süß \\ name", content: "x" },
  { name: "home/ann/proj/here", content: "train.py", mode: 0o120755 },
  { name: "home/ann/proj/env/", content: "../../../usr/lib", mode: 0o120755 },
  { name: "home/ann/keys/token", content: "secret" },
];
const places = { "/home/ann/proj": "/home/ann/proj", "/home/ann/keys/token": "/home/ann/keys/token" };

async function send(items: ZipItem[], options: { uid?: number; id?: string; bytes?: Buffer } = {}): Promise<string> {
  const blobId = options.id ?? blobIdOf(items);
  const body = Readable.from([options.bytes ?? zipOf(items)]);
  const state = await zips.receive(options.uid ?? 1000, { blobId, index: 0, total: 1 }, body);
  expect(state).toEqual({ status: "completed", missing: [] });
  return blobId;
}

/** Every file and folder below the state folder, without the two that are always there. */
function left(): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).filter((path) => /coming\/\d+\/./.test(path)).sort();
}

describe("a zip", () => {
  it("becomes one manifest for each source of the task, and goes away itself", async () => {
    const blobId = await send(project);
    const uploads = await zips.uploadsOf(1000, blobId, places);
    const proj = await read(1000, uploads["/home/ann/proj"]);
    expect(proj.entries.map(({ type, path }) => `${type} ${path}`)).toEqual([
      "dir ",
      "dir empty",
      "link env",
      "link here",
      "file süß \\ name",
      "file train.py",
    ]);
    expect(proj.bytes.get("train.py")?.toString()).toBe("print(1)\n");
    expect(proj.entries.find(({ path }) => path === "train.py")).toMatchObject({ mode: 0o755, size: 9 });
    expect(proj.entries.filter(({ type }) => type === "link")).toEqual([
      { type: "link", path: "env", target: "/usr/lib" },
      { type: "link", path: "here", target: "train.py" },
    ]);
    const token = await read(1000, uploads["/home/ann/keys/token"]);
    expect(token.entries).toMatchObject([{ type: "file", path: "", mode: 0o644, size: 6 }]);
    expect(left()).toEqual([]);
  });

  it("may come in pieces, in any order, and is known afterwards to its own user only", async () => {
    const bytes = zipOf(project);
    const blobId = blobIdOf(project);
    const cuts = [bytes.subarray(0, 100), bytes.subarray(100, 400), bytes.subarray(400)];
    const piece = (index: number) =>
      zips.receive(1000, { blobId, index, total: 3 }, Readable.from([cuts[index] as Buffer]));
    expect(await piece(2)).toEqual({ status: "uploading", missing: [0, 1] });
    expect(await zips.has(1000, blobId)).toBe(false);
    expect(await piece(0)).toEqual({ status: "uploading", missing: [1] });
    expect(await piece(1)).toEqual({ status: "completed", missing: [] });
    expect(await zips.has(1000, blobId)).toBe(true);
    expect(await zips.has(1001, blobId)).toBe(false);
    await expect(zips.uploadsOf(1001, blobId, places)).rejects.toThrow("not on the cluster");
    expect(await piece(0)).toEqual({ status: "completed", missing: [] });
  });

  it("of which the last two pieces come at once is taken in once", async () => {
    const bytes = zipOf(project);
    const blobId = blobIdOf(project);
    const half = Math.floor(bytes.length / 2);
    const states = await Promise.all([
      zips.receive(1000, { blobId, index: 0, total: 2 }, Readable.from([bytes.subarray(0, half)])),
      zips.receive(1000, { blobId, index: 1, total: 2 }, Readable.from([bytes.subarray(half)])),
    ]);
    expect(states.some(({ status }) => status === "completed")).toBe(true);
    expect(await zips.has(1000, blobId)).toBe(true);
  });

  it("with a source that is a link to a folder gives the folder", async () => {
    const items: ZipItem[] = [
      { name: "home/ann/link/", content: "real", mode: 0o120755 },
      { name: "home/ann/link/a", content: "1" },
    ];
    const uploads = await zips.uploadsOf(1000, await send(items), { "/home/ann/link": "/home/ann/link" });
    expect((await read(1000, uploads["/home/ann/link"])).entries.map(({ type }) => type)).toEqual(["dir", "file"]);
  });

  it("with a large file is stored in chunks", async () => {
    const content = Buffer.alloc(5_000_000, "abcdefg");
    const items: ZipItem[] = [{ name: "big", content, deflate: true }];
    const uploads = await zips.uploadsOf(1000, await send(items), { "/big": "/big" });
    const { bytes } = await read(1000, uploads["/big"]);
    expect(bytes.get("")?.equals(content)).toBe(true);
  });

  it("without a source of the task says which", async () => {
    const blobId = await send(project);
    await expect(zips.uploadsOf(1000, blobId, { "/home/bob": "/home/bob" })).rejects.toThrow(
      "'/home/bob' is not among",
    );
    await expect(zips.uploadsOf(1000, blobId, { "/x": "/home/../ann" })).rejects.toThrow("the name");
    await expect(zips.uploadsOf(1000, "../../etc/passwd", {})).rejects.toThrow("not on the cluster");
  });
});

describe("a hostile zip", () => {
  const bomb = Buffer.alloc(30_000_000);
  const cases: [string, ZipItem[], RegExp][] = [
    ["climbs", [{ name: "a/../../etc/passwd", content: "x" }], /holds the name/],
    ["is absolute", [{ name: "/etc/passwd", content: "x" }], /holds the name/],
    ["has an empty part", [{ name: "a//b", content: "x" }], /holds the name/],
    ["has a dot", [{ name: "a/./b", content: "x" }], /holds the name/],
    ["has a zero byte", [{ name: "a\0b", content: "x" }], /holds the name/],
    ["has a name of slashes", [{ name: "/" }], /holds the name/],
    ["has a long name", [{ name: "a".repeat(5000), content: "x" }], /holds the name/],
    ["has an absolute link", [{ name: "a", content: "/etc/passwd", mode: 0o120755 }], /link in it leads/],
    ["has an empty link", [{ name: "a", content: "", mode: 0o120755 }], /link in it leads/],
    ["has a long link", [{ name: "a", content: "b".repeat(5000), mode: 0o120755 }], /too long/],
    [
      "has a file above a file",
      [
        { name: "a", content: "1" },
        { name: "a/b", content: "2" },
      ],
      /beneath a file/,
    ],
    ["lies about a size", [{ name: "a", content: "x".repeat(1000), deflate: true, size: 10 }], /cannot be taken/],
    ["lies about a stored size", [{ name: "a", content: "xxxx", size: 1_000_000 }], /cannot be taken/],
    ["is encrypted", [{ name: "a", content: "x", deflate: true, flags: 0x801 }], /encrypted/],
    ["is a bomb", [{ name: "a", content: bomb, deflate: true }], /larger than what you may upload/],
    ["is a bomb that lies", [{ name: "a", content: bomb, deflate: true, size: 5 }], /cannot be taken/],
  ];
  it.each(cases)("that %s is refused and leaves nothing", async (_, items, complaint) => {
    openPlace(20_000_000);
    await expect(send(items)).rejects.toThrow(complaint);
    expect(await zips.has(1000, blobIdOf(items))).toBe(false);
    expect(left()).toEqual([]);
    expect((await store.usage(1000)).manifests).toBe(0);
  });

  it("with a link and a file beneath it gives only data below the source", async () => {
    const items: ZipItem[] = [
      { name: "src/" },
      { name: "src/out", content: "../../../etc", mode: 0o120755 },
      { name: "src/out/passwd", content: "x" },
    ];
    const uploads = await zips.uploadsOf(1000, await send(items), { src: "/src" });
    expect((await read(1000, uploads["src"])).entries.map(({ type, path }) => `${type} ${path}`)).toEqual([
      "dir ",
      "dir out",
      "file out/passwd",
    ]);
  });

  it("with many entries, a wrong name, or that is none at all, is refused", async () => {
    const many = zipOf([{ name: "a", content: "1" }]);
    many.writeUInt16LE(0xfffe, many.length - 14);
    many.writeUInt16LE(0xfffe, many.length - 12);
    await expect(send([], { bytes: many, id: "1".repeat(64) })).rejects.toThrow("cannot be taken");
    await expect(send(project, { id: "2".repeat(64) })).rejects.toThrow("not the one that its name says");
    await expect(send([], { bytes: Buffer.from("no zip"), id: "3".repeat(64) })).rejects.toThrow("cannot be taken");
    await expect(send([], { bytes: Buffer.alloc(0), id: "4".repeat(64) })).rejects.toThrow("cannot be taken");
    expect(left()).toEqual([]);
  });
});

describe("limits", () => {
  it("hold for what is on the way: bytes and zips of one user", async () => {
    openPlace(1000);
    const piece = { blobId: "a".repeat(64), index: 0, total: 2 };
    await expect(zips.receive(1000, piece, Readable.from([Buffer.alloc(2000)]))).rejects.toThrow("MB of uploads");
    openPlace(1e9);
    for (const digit of "bcdefgh") {
      await zips.receive(1000, { ...piece, blobId: digit.repeat(64) }, Readable.from([Buffer.from("x")]));
    }
    await expect(
      zips.receive(1000, { ...piece, blobId: "i".repeat(64) }, Readable.from([Buffer.from("x")])),
    ).rejects.toThrow("unfinished uploads");
    await zips.receive(1001, { ...piece, blobId: "i".repeat(64) }, Readable.from([Buffer.from("x")]));
  });

  it("refuse uploads while the disk is nearly full", async () => {
    openPlace(1e9, 1e12);
    const piece = { blobId: "a".repeat(64), index: 0, total: 1 };
    await expect(zips.receive(1000, piece, Readable.from([Buffer.from("x")]))).rejects.toThrow("nearly full");
  });

  it("drop a piece that breaks off", async () => {
    const body = new Readable({ read: () => undefined });
    const sent = zips.receive(1000, { blobId: "a".repeat(64), index: 0, total: 1 }, body);
    body.push("half");
    body.destroy(new Error("cut"));
    await expect(sent).rejects.toThrow("was not stored");
    expect(left().filter((path) => path.includes("draft") || path.includes("piece"))).toEqual([]);
  });
});
