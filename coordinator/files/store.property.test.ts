/**
 * Any order of uploads, readings, sweeps and restarts against a model of what must be there; and a process that uploads
 * and sweeps and is killed at any moment.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { collect, fileEntry, manifestText, packOf, piecesOf, sha256 } from "../../test/help/uploads.ts";
import { openLog } from "../log.ts";
import { DiskFileStore } from "./store.ts";

const dayMs = 86_400_000;
const files = { quota_gb_per_user: 1, keep_days: 14 };
const log = openLog("error");
/** Chunks that uploads are made of; of very different sizes, so that packs become thin and are written anew. */
const chunks = Array.from({ length: 12 }, (_, at) => Buffer.alloc(1 + at ** 3 * 20, at + 1));

type Step =
  | { do: "pack"; uid: number; chunks: number[] }
  | { do: "manifest"; uid: number; chunks: number[] }
  | { do: "read"; uid: number }
  | { do: "sweep"; days: number }
  | { do: "clean"; uid: number }
  | { do: "restart" };

const uid = fc.constantFrom(1001, 1002);
const some = fc.array(fc.nat(chunks.length - 1), { minLength: 1, maxLength: 6 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant("pack" as const), uid, chunks: some }),
  fc.record({ do: fc.constant("manifest" as const), uid, chunks: some }),
  fc.record({ do: fc.constant("read" as const), uid }),
  fc.record({ do: fc.constant("sweep" as const), days: fc.constantFrom(0, 2, 9, 20) }),
  fc.record({ do: fc.constant("clean" as const), uid }),
  fc.record({ do: fc.constant("restart" as const) }),
);

interface Kept {
  text: string;
  chunks: number[];
  usedAt: number;
}

/** What a store must have, whatever else it still has. */
class Model {
  readonly manifests = new Map<string, Kept>();
  forget(before: number, of?: number): void {
    for (const [key, { usedAt }] of this.manifests) {
      if (usedAt < before && (of === undefined || key.startsWith(`${of}/`))) {
        this.manifests.delete(key);
      }
    }
  }
}

class Run {
  readonly folder = mkdtempSync(join(tmpdir(), "sky-files-"));
  readonly model = new Model();
  clock = Date.now();
  store = this.open();

  open(): DiskFileStore {
    return new DiskFileStore({ state_dir: this.folder, files, limits: { free_disk_mb: 0 } }, log, () => this.clock);
  }

  async take(one: Step): Promise<void> {
    this.clock += 1000;
    switch (one.do) {
      case "pack":
        await this.store.putPack(one.uid, piecesOf(packOf(one.chunks.map((at) => chunks[at] as Buffer))));
        return;
      case "manifest":
        return this.name(one.uid, one.chunks);
      case "read":
        return this.check(one.uid);
      case "sweep":
        this.clock += one.days * dayMs;
        await this.store.sweep(async () => new Set());
        this.model.forget(this.clock - files.keep_days * dayMs);
        return;
      case "clean":
        this.clock += 60_000;
        await this.store.clean(one.uid, async () => new Set());
        this.model.forget(this.clock - 60_000, one.uid);
        return;
      case "restart":
        this.store.close();
        this.store = this.open();
    }
  }

  /** As a client does: what is missing is sent, then the manifest is there. */
  async name(owner: number, numbers: number[]): Promise<void> {
    const text = manifestText([
      fileEntry(
        "data",
        numbers.map((at) => chunks[at] as Buffer),
      ),
    ]);
    const first = await this.store.putManifest(owner, piecesOf(text));
    const lacking = chunks.filter((bytes) => first.missing.includes(sha256(bytes)));
    if (lacking.length > 0) {
      await this.store.putPack(owner, piecesOf(packOf(lacking)));
    }
    expect(await this.store.putManifest(owner, piecesOf(text))).toEqual({ id: sha256(text), missing: [] });
    this.model.manifests.set(`${owner}/${sha256(text)}`, { text, chunks: numbers, usedAt: this.clock });
  }

  async check(owner: number): Promise<void> {
    for (const [key, kept] of this.model.manifests) {
      const [of, id = ""] = key.split("/");
      const other = owner === 1001 ? 1002 : 1001;
      if (of === String(owner)) {
        expect((await collect(this.store.readManifest(owner, id))).toString()).toBe(kept.text);
        kept.usedAt = this.clock;
        const hashes = kept.chunks.map((at) => sha256(chunks[at] as Buffer));
        for await (const { hash, bytes } of this.store.readChunks(owner, hashes, new Set([id]))) {
          expect(sha256(bytes)).toBe(hash);
        }
        expect(await this.store.hasManifest(other, id)).toBe(this.model.manifests.has(`${other}/${id}`));
        if (this.model.manifests.has(`${other}/${id}`)) {
          (this.model.manifests.get(`${other}/${id}`) as Kept).usedAt = this.clock;
        }
      }
    }
    const { manifests } = await this.store.usage(owner);
    expect(manifests).toBe([...this.model.manifests.keys()].filter((key) => key.startsWith(`${owner}/`)).length);
  }

  end(): void {
    this.store.close();
    rmSync(this.folder, { recursive: true });
  }
}

describe("the store of uploads", () => {
  it("has what was named and is in use, whatever happens around it, and gives back all space", {
    timeout: 180_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const run = new Run();
        try {
          for (const one of steps) {
            await run.take(one);
          }
          await run.check(1001);
          await run.check(1002);
          await run.take({ do: "restart" });
          await run.check(1001);
          await run.take({ do: "sweep", days: 30 });
          expect([await run.store.usage(1001), await run.store.usage(1002)].map(({ bytes }) => bytes)).toEqual([0, 0]);
        } finally {
          run.end();
        }
      }),
      { numRuns: 40 },
    );
  });

  it("keeps what it has acknowledged when it is killed in the middle of uploads and sweeps", {
    timeout: 180_000,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "sky-files-kill-"));
    try {
      for (let round = 0; round < 3; round += 1) {
        const named = await uploadUntilKilled(folder, 8 + round * 7);
        const store = new DiskFileStore({ state_dir: folder, files, limits: { free_disk_mb: 0 } }, log);
        for (const [id, hashes] of named) {
          expect(sha256(await collect(store.readManifest(1001, id)))).toBe(id);
          for await (const { hash, bytes } of store.readChunks(1001, hashes, new Set([id]))) {
            expect(sha256(bytes)).toBe(hash);
          }
        }
        store.close();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** A program that uploads and sweeps until it is killed after so many acknowledgements; what it had acknowledged. */
function uploadUntilKilled(folder: string, acknowledged: number): Promise<Map<string, string[]>> {
  const program = join(import.meta.dirname, "../../test/help/upload-forever.ts");
  const child = spawn(process.execPath, ["--import", "tsx", program, folder], { stdio: ["pipe", "pipe", "inherit"] });
  const named = new Map<string, string[]>();
  return new Promise((resolve, reject) => {
    let text = "";
    child.once("error", reject);
    child.stdout.on("data", (piece: Buffer) => {
      const lines = (text + piece.toString()).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const [id = "", ...hashes] = line.split(" ");
        named.set(id, hashes);
      }
      if (named.size >= acknowledged) {
        child.kill("SIGKILL");
      }
    });
    child.once("close", () => (named.size >= acknowledged ? resolve(named) : reject(new Error("it ended by itself"))));
  });
}
