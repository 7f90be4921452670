/** The store of uploads on real folders: what it keeps, what it refuses, what it forgets, and that users stay apart. */
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { packBytesMax } from "../../shared/files.ts";
import { collect, fileEntry, manifestText, packOf, piecesOf, sha256 } from "../../test/help/uploads.ts";
import { openLog } from "../log.ts";
import { DiskFileStore } from "./store.ts";

const dayMs = 86_400_000;
const [alice, bob] = [1001, 1002];
const [red, green, blue] = ["red", "green", "blue"].map((word) => Buffer.from(word.repeat(500))) as [
  Buffer,
  Buffer,
  Buffer,
];
const nobody = async (): Promise<Set<string>> => new Set<string>();

let folder: string;
let clock: number;
let store: DiskFileStore;

function open(quotaGb = 1): DiskFileStore {
  const files = { quota_gb_per_user: quotaGb, keep_days: 14 };
  return new DiskFileStore({ state_dir: folder, files, limits: { free_disk_mb: 0 } }, openLog("error"), () => clock);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-files-"));
  clock = Date.now();
  store = open();
});

afterEach(() => {
  store.close();
  rmSync(folder, { recursive: true });
});

async function chunk(uid: number, hash: string, within?: ReadonlySet<string>): Promise<string> {
  const bytes: Buffer[] = [];
  for await (const one of store.readChunks(uid, [hash], within)) {
    expect(one.hash).toBe(hash);
    bytes.push(Buffer.from(one.bytes));
  }
  return Buffer.concat(bytes).toString();
}

async function upload(uid: number, entries: readonly ReturnType<typeof fileEntry>[]): Promise<string> {
  const { id, missing } = await store.putManifest(uid, piecesOf(manifestText(entries), 77));
  expect(missing).toEqual([]);
  return id;
}

/** Every file below a user's folder. */
function filesOf(uid: number): string[] {
  const own = join(folder, "files", String(uid));
  return existsSync(own)
    ? readdirSync(own, { recursive: true, encoding: "utf8" }).filter((name) => /[.0-9a-f]{24}/.test(name))
    : [];
}

describe("chunks", () => {
  it("are given back as they came, also after a restart, in the order asked for", async () => {
    const hashes = [red, green, blue].map((one) => sha256(one));
    expect(await store.missing(alice, hashes)).toEqual(hashes);
    expect(await store.putPack(alice, piecesOf(packOf([red, green, red]), 7))).toBe(2);
    expect(await store.putPack(alice, piecesOf(packOf([green, blue])))).toBe(1);
    store.close();
    store = open();
    expect(await store.missing(alice, [...hashes, sha256("no")])).toEqual([sha256("no")]);
    const asked = [sha256(blue), sha256(red), sha256(red), sha256(green)];
    const got: string[] = [];
    for await (const { hash, bytes } of store.readChunks(alice, asked)) {
      expect(sha256(bytes)).toBe(hash);
      got.push(hash);
    }
    expect(got).toEqual(asked);
  });

  it("of one user are never another's", async () => {
    await store.putPack(alice, piecesOf(packOf([red])));
    const id = await upload(alice, [fileEntry("a", [red])]);
    expect(await store.missing(bob, [sha256(red)])).toEqual([sha256(red)]);
    await expect(chunk(bob, sha256(red))).rejects.toThrow("is not on the coordinator");
    await expect(chunk(bob, sha256(red), new Set([id]))).rejects.toThrow("is not on the coordinator");
    expect(await store.hasManifest(bob, id)).toBe(false);
    await expect(collect(store.readManifest(bob, id))).rejects.toThrow("is not on the coordinator");
    const again = await store.putManifest(bob, piecesOf(manifestText([fileEntry("a", [red])])));
    expect(again).toEqual({ id, missing: [sha256(red)] });
    expect((await store.usage(bob)).bytes).toBe(0);
  });

  it("are given within manifests only to who names one that has them", async () => {
    await store.putPack(alice, piecesOf(packOf([red, green])));
    const one = await upload(alice, [fileEntry("a", [red])]);
    const other = await upload(alice, [fileEntry("a", [green])]);
    expect(await chunk(alice, sha256(red), new Set([one]))).toBe(red.toString());
    expect(await chunk(alice, sha256(red), new Set([other, one]))).toBe(red.toString());
    await expect(chunk(alice, sha256(red), new Set([other]))).rejects.toThrow("is not on the coordinator");
    await expect(chunk(alice, sha256(red), new Set())).rejects.toThrow("is not on the coordinator");
  });

  const wrong = packOf([red]);
  wrong[50] = (wrong[50] as number) ^ 1;
  const long = Buffer.alloc(40);
  long.writeUInt32BE(5 * 1024 * 1024, 32);
  it.each([
    ["another hash than its own", wrong, "is not what its hash"],
    ["an end in the middle of a chunk", packOf([red]).subarray(0, -1), "in the middle"],
    ["an end in the middle of a head", Buffer.concat([packOf([red]), Buffer.alloc(3)]), "in the middle"],
    ["a chunk of no bytes", Buffer.alloc(36), "a chunk of 0 bytes"],
    ["a chunk that is too long", long, "it may have 1 to"],
    [
      "more bytes than a pack may have",
      packOf(Array.from({ length: 5 }, (_, at) => Buffer.alloc(4 * 1024 * 1024, at))),
      `${packBytesMax / 1024 / 1024} MB`,
    ],
  ])("with %s are refused, and nothing stays", async (_what, body, text) => {
    await expect(store.putPack(alice, piecesOf(body, 65_536))).rejects.toThrow(text);
    expect(filesOf(alice)).toEqual([]);
    expect((await store.usage(alice)).bytes).toBe(0);
  });

  it("that were cut off leave nothing; what an earlier life left unfinished is removed", async () => {
    async function* cut(): AsyncGenerator<Uint8Array, void> {
      yield packOf([red, green]);
      throw new Error("the line is gone");
    }
    await expect(store.putPack(alice, cut())).rejects.toThrow("the line is gone");
    expect(filesOf(alice)).toEqual([]);
    await store.putPack(alice, piecesOf(packOf([red])));
    const packs = join(folder, "files", String(alice), "packs");
    const [whole = ""] = readdirSync(packs);
    writeFileSync(join(packs, `${"a".repeat(24)}.pack.${"0".repeat(16)}.tmp`), "half");
    writeFileSync(join(packs, `${"b".repeat(24)}.pack`), "not a pack");
    store.close();
    store = open();
    expect(await store.missing(alice, [sha256(red)])).toEqual([]);
    expect(readdirSync(packs)).toEqual([whole]);
    truncateSync(join(packs, whole), 100);
    store.close();
    store = open();
    expect(await store.missing(alice, [sha256(red)])).toEqual([sha256(red)]);
  });
});

describe("a user's quota", () => {
  it("is kept with what is used, what there is and what to do", async () => {
    store.close();
    store = open(0.0001);
    await store.putPack(alice, piecesOf(packOf([red])));
    const large = Array.from({ length: 30 }, (_, at) => Buffer.alloc(4096, at));
    const refusal = expect(store.putPack(alice, piecesOf(packOf(large)))).rejects;
    await refusal.toThrow(/^Your uploaded files take 0\.00 GB and may take 0\.00 GB/);
    expect(filesOf(alice)).toHaveLength(1);
    await store.putPack(bob, piecesOf(packOf([red])));
    expect(await store.usage(alice)).toEqual({ bytes: 4096, quotaBytes: 100_000, manifests: 0, keepDays: 14 });
  });

  it("of nothing allows nothing, and many at once cannot pass it", async () => {
    store.close();
    store = open(0);
    await expect(store.putPack(alice, piecesOf(packOf([red])))).rejects.toThrow("Your uploaded files take");
    store.close();
    store = open(0.00002);
    const packs = Array.from({ length: 10 }, (_, at) => packOf([Buffer.alloc(8000, at)]));
    const ends = await Promise.allSettled(packs.map((body) => store.putPack(alice, piecesOf(body))));
    expect(ends.filter(({ status }) => status === "fulfilled").length).toBeLessThanOrEqual(2);
    expect((await store.usage(alice)).bytes).toBeLessThanOrEqual(20_000);
  });

  it("and a nearly full disk are two things", async () => {
    store.close();
    const files = { quota_gb_per_user: 1, keep_days: 14 };
    store = new DiskFileStore({ state_dir: folder, files, limits: { free_disk_mb: 1e9 } }, openLog("error"));
    await expect(store.putPack(alice, piecesOf(packOf([red])))).rejects.toThrow("disk is nearly full");
  });
});

describe("forgetting", () => {
  it("takes what was not used for long and is not needed, and lets the rest be", async () => {
    await store.putPack(alice, piecesOf(packOf([red, green])));
    const old = await upload(alice, [fileEntry("a", [red])]);
    const needed = await upload(alice, [fileEntry("b", [green])]);
    clock += 10 * dayMs;
    await store.putPack(alice, piecesOf(packOf([blue])));
    const used = await upload(alice, [fileEntry("c", [blue])]);
    clock += 5 * dayMs;
    await store.sweep(async () => new Set([needed]));
    expect(await Promise.all([old, needed, used].map((id) => store.hasManifest(alice, id)))).toEqual([
      false,
      true,
      true,
    ]);
    expect(await chunk(alice, sha256(green))).toBe(green.toString());
    clock += 20 * dayMs;
    await store.sweep(nobody);
    expect(await store.usage(alice)).toMatchObject({ manifests: 0, bytes: 0 });
    expect(filesOf(alice)).toEqual([]);
  });

  it("writes packs anew of which little is needed", async () => {
    const large = Array.from({ length: 20 }, (_, at) => Buffer.alloc(100_000, at + 1));
    await store.putPack(alice, piecesOf(packOf(large), 65_536));
    const kept = large[7] as Buffer;
    const id = await upload(alice, [fileEntry("a", [kept])]);
    clock += 2 * dayMs;
    await store.sweep(nobody);
    const { bytes } = await store.usage(alice);
    expect(bytes).toBeLessThan(150_000);
    expect(await chunk(alice, sha256(kept), new Set([id]))).toBe(kept.toString());
    store.close();
    store = open();
    expect(await store.hasManifest(alice, id)).toBe(true);
    expect((await store.usage(alice)).bytes).toBe(bytes);
  });

  it("puts many small packs together", async () => {
    const small = Array.from({ length: 40 }, (_, at) => Buffer.alloc(1000, at));
    for (const bytes of small) {
      await store.putPack(alice, piecesOf(packOf([bytes])));
    }
    const id = await upload(alice, [fileEntry("a", small)]);
    clock += 2 * dayMs;
    await store.sweep(nobody);
    expect(filesOf(alice).filter((name) => name.endsWith(".pack"))).toHaveLength(1);
    store.close();
    store = open();
    expect(await store.hasManifest(alice, id)).toBe(true);
  });

  it("keeps what is fresh, and what an upload was just told is there", async () => {
    await store.putPack(alice, piecesOf(packOf([red])));
    await store.clean(alice, nobody);
    clock += 2 * dayMs;
    expect(await store.missing(alice, [sha256(red)])).toEqual([]);
    await store.sweep(nobody);
    await upload(alice, [fileEntry("a", [red])]);
    clock += 20 * dayMs;
    await store.sweep(nobody);
    expect(await store.missing(alice, [sha256(red)])).toEqual([sha256(red)]);
  });

  it("at the user's wish takes at once what no job needs", async () => {
    await store.putPack(alice, piecesOf(packOf([red])));
    await store.putPack(alice, piecesOf(packOf([green])));
    const needed = await upload(alice, [fileEntry("a", [red])]);
    const other = await upload(alice, [fileEntry("b", [green])]);
    clock += 120_000;
    expect(await store.clean(alice, async () => new Set([needed]))).toBeGreaterThan(0);
    expect(await store.missing(alice, [sha256(green), sha256(red)])).toEqual([sha256(green)]);
    expect(await store.hasManifest(alice, needed)).toBe(true);
    expect(await store.hasManifest(alice, other)).toBe(false);
  });

  it("of nothing when what is needed cannot be found out", async () => {
    await store.putPack(alice, piecesOf(packOf([red])));
    const id = await upload(alice, [fileEntry("a", [red])]);
    clock += 100 * dayMs;
    await store.sweep(async () => {
      throw new Error("Redis is away");
    });
    expect(await store.hasManifest(alice, id)).toBe(true);
  });
});
