/**
 * The form of a backup: one tar archive (`tar tf` lists it) whose last part is a manifest with the size and SHA-256 of
 * every other part, so that a file that is cut off or changed is never taken for a backup. It knows nothing of Redis and
 * never reads more of a foreign file into memory than one small part. Used by take.ts and put-back.ts.
 */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import * as z from "zod";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { clusterNameSchema, stateIdSchema } from "../../shared/ids.ts";

/** The form of this release, and the one without a usage history; a backup of a later form is refused. */
const archiveFormat = 2;
/** The parts in their order; the files of the usage history follow. */
const partNames = ["coordinator.yaml", "host_key", "secrets.key", "redis.rdb"] as const;
export type PartName = (typeof partNames)[number] | UsagePart;
export type UsagePart = `usage/${string}`;
const usagePattern = /^usage\/\d{4,6}-\d{2}\.jsonl$/;
const usagePartsMax = 10_000;
const manifestName = "manifest.json";

const blockBytes = 512;
/** Parts other than the snapshot are small files. */
const smallPartMax = 1024 * 1024;
/** Largest part: what eleven octal digits of a tar header hold. */
const partMax = 8 ** 11 - 1;
const chunkBytes = 1024 * 1024;

const partSchema = z.strictObject({ bytes: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const manifestSchema = z.strictObject({
  format: z.union([z.literal(1), z.literal(archiveFormat)]),
  /** Of the release that took it. */
  version: z.string().max(100),
  commit: z.string().max(100),
  cluster: clusterNameSchema,
  stateId: stateIdSchema,
  epoch: z.int().min(0),
  takenAt: z.iso.datetime().max(40),
  /** The old head has stopped for good with this backup, so nothing has happened since. */
  moved: z.boolean(),
  redisVersion: z.string().max(100),
  parts: z.strictObject({
    "coordinator.yaml": partSchema,
    host_key: partSchema,
    "secrets.key": partSchema,
    "redis.rdb": partSchema,
  }),
  /** The files of the usage history, by their parts' names. */
  usage: z.record(z.string().regex(usagePattern), partSchema).optional(),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** Where a part lies in the archive, in bytes. */
export interface Place {
  start: number;
  bytes: number;
}

/** Writes an archive through a file that was opened for it alone. Nothing is complete before finish() returns. */
export class ArchiveWriter {
  readonly #file: FileHandle;
  readonly #parts: Record<string, z.infer<typeof partSchema>> = {};
  readonly #usage: Record<string, z.infer<typeof partSchema>> = {};
  #end = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async add(name: PartName, bytes: Buffer): Promise<void> {
    await this.stream(name, (write) => write(bytes));
  }

  /** Adds a part of unknown size: `produce` is handed the function that takes the next bytes. */
  async stream(name: PartName, produce: (write: (bytes: Buffer) => Promise<void>) => Promise<void>): Promise<void> {
    const parts = isUsage(name) ? this.#usage : this.#parts;
    parts[name] = await this.#put(name, produce);
  }

  /** Adds the manifest and makes everything durable. */
  async finish(facts: Omit<Manifest, "format" | "parts" | "usage">): Promise<void> {
    const parts = { parts: this.#parts, usage: this.#usage };
    const manifest = manifestSchema.parse({ format: archiveFormat, ...facts, ...parts });
    const text = `${JSON.stringify(manifest, null, 2)}\n`;
    await this.#put(manifestName, (write) => write(Buffer.from(text)));
    await this.#write(Buffer.alloc(2 * blockBytes), this.#end);
    await this.#file.sync();
  }

  async #put(
    name: string,
    produce: (write: (bytes: Buffer) => Promise<void>) => Promise<void>,
  ): Promise<z.infer<typeof partSchema>> {
    const start = this.#end + blockBytes;
    const hash = createHash("sha256");
    let bytes = 0;
    await produce(async (chunk) => {
      hash.update(chunk);
      await this.#write(chunk, start + bytes);
      bytes += chunk.length;
    });
    if (bytes > partMax) {
      throw new SkyError("InternalError", `${name} has ${bytes} bytes; a backup can hold ${partMax}.`);
    }
    await this.#write(headerOf(name, bytes), this.#end);
    this.#end = start + Math.ceil(bytes / blockBytes) * blockBytes;
    await this.#write(Buffer.alloc(this.#end - start - bytes), start + bytes);
    return { bytes, sha256: hash.digest("hex") };
  }

  async #write(bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  }
}

/** A header of the form `ustar`. */
function headerOf(name: string, bytes: number): Buffer {
  const header = Buffer.alloc(blockBytes);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  header.write(name, 0);
  header.write(octal(0o600, 7), 100);
  header.write(octal(0, 7) + octal(0, 7), 108);
  header.write(octal(bytes, 11), 124);
  header.write(octal(Math.floor(Date.now() / 1000), 11), 136);
  header.write("        0", 148);
  header.write("ustar\u000000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

/** An archive that was read to its end and is whole. */
export class Archive {
  readonly manifest: Manifest;
  readonly #file: FileHandle;
  readonly #places: ReadonlyMap<string, Place>;

  private constructor(file: FileHandle, manifest: Manifest, places: ReadonlyMap<string, Place>) {
    this.#file = file;
    this.manifest = manifest;
    this.#places = places;
  }

  /** Reads everything once. Throws SkyError when it is no backup, not whole, damaged, or of a later form. */
  static async open(file: FileHandle, path: string): Promise<Archive> {
    const places = await placesIn(file, path);
    const manifest = await readManifest(file, path, places.get(manifestName));
    for (const [name, { bytes, sha256 }] of Object.entries({ ...manifest.parts, ...manifest.usage })) {
      const place = places.get(name);
      if (place === undefined || place.bytes !== bytes || (await hashOf(file, place)) !== sha256) {
        throw broken(path, `its part ${name} is not what its manifest says`);
      }
    }
    return new Archive(file, manifest, places);
  }

  /** The files of the usage history, with what they must be. */
  usageParts(): [UsagePart, z.infer<typeof partSchema>][] {
    return Object.entries(this.manifest.usage ?? {}) as [UsagePart, z.infer<typeof partSchema>][];
  }

  /** One of the small parts. */
  async read(name: PartName): Promise<Buffer> {
    const place = this.#place(name);
    if (place.bytes > smallPartMax) {
      throw new SkyError("ValueError", `The backup's part ${name} has ${place.bytes} bytes, which is too much.`);
    }
    return readAll(this.#file, place);
  }

  async copy(name: PartName, to: FileHandle): Promise<void> {
    for await (const chunk of chunksOf(this.#file, this.#place(name))) {
      await to.writeFile(chunk);
    }
    await to.sync();
  }

  #place(name: PartName): Place {
    return this.#places.get(name) ?? { start: 0, bytes: 0 };
  }
}

function isUsage(name: string): name is UsagePart {
  return usagePattern.test(name);
}

function broken(path: string, why: string): SkyError {
  return new SkyError(
    "ValueError",
    `${path} is not a usable backup: ${why}.`,
    "Nothing was changed. Take another backup.",
  );
}

async function placesIn(file: FileHandle, path: string): Promise<Map<string, Place>> {
  const places = new Map<string, Place>();
  const { size } = await file.stat();
  const known: readonly string[] = [...partNames, manifestName];
  const most = known.length + usagePartsMax;
  for (let at = 0; at + blockBytes <= size && places.size < most && !places.has(manifestName); ) {
    const header = await readAll(file, { start: at, bytes: blockBytes });
    const name = header.toString("latin1", 0, 100).split("\0")[0] ?? "";
    const bytes = Number.parseInt(header.toString("latin1", 124, 135), 8);
    const isKnown = known.includes(name) || isUsage(name);
    if (!isKnown || places.has(name) || !Number.isSafeInteger(bytes) || !header.equals(sealed(header))) {
      throw broken(path, `it is no archive of 'sky-coordinator backup' (at byte ${at})`);
    }
    const place = { start: at + blockBytes, bytes };
    if (place.start + bytes > size) {
      throw broken(path, `it ends in the middle of ${name}`);
    }
    places.set(name, place);
    at = place.start + Math.ceil(bytes / blockBytes) * blockBytes;
  }
  return places;
}

/** The header with the sum that belongs to it. */
function sealed(header: Buffer): Buffer {
  const copy = Buffer.from(header);
  copy.write("        ", 148);
  const sum = copy.reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return copy;
}

async function readManifest(file: FileHandle, path: string, place: Place | undefined): Promise<Manifest> {
  if (place === undefined || place.bytes > smallPartMax) {
    throw broken(path, "it has no manifest at its end, so it was never completed");
  }
  let value: unknown;
  try {
    value = JSON.parse((await readAll(file, place)).toString());
  } catch (error) {
    throw broken(path, `its manifest cannot be read (${messageOf(error).slice(0, 100)})`);
  }
  const form = z.object({ format: z.int(), version: z.string() }).safeParse(value);
  if (form.success && form.data.format > archiveFormat) {
    throw new SkyError(
      "ValueError",
      `${path} was made by version ${form.data.version} in form ${form.data.format}; this one reads form ${archiveFormat}.`,
      "Install that version first.",
    );
  }
  const manifest = manifestSchema.safeParse(value);
  if (!manifest.success) {
    const issue = manifest.error.issues[0];
    throw broken(path, `its manifest is not valid (${issue?.path.join(".")}: ${issue?.message})`.slice(0, 300));
  }
  return manifest.data;
}

async function* chunksOf(file: FileHandle, place: Place): AsyncIterable<Buffer> {
  for (let done = 0; done < place.bytes; ) {
    const buffer = Buffer.alloc(Math.min(chunkBytes, place.bytes - done));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, place.start + done);
    if (bytesRead === 0) {
      throw new SkyError("ValueError", "The backup became shorter while it was read.");
    }
    done += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function readAll(file: FileHandle, place: Place): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of chunksOf(file, place)) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function hashOf(file: FileHandle, place: Place): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunksOf(file, place)) {
    hash.update(chunk);
  }
  return hash.digest("hex");
}
