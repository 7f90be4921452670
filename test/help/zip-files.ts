/**
 * Zips as SkyPilot's Python client makes them, hostile ones too, for tests: names are put in as they are. Nothing but
 * tests may import this.
 */
import { createHash } from "node:crypto";
import { crc32, deflateRawSync } from "node:zlib";

export interface ZipItem {
  /** As it stands in the zip; a folder's ends with a slash. */
  name: string;
  content?: string | Buffer;
  /** `st_mode`, such as 0o100644; default: by the name. A link has 0o120755. */
  mode?: number;
  deflate?: boolean;
  /** Says another size than the content has. */
  size?: number;
  flags?: number;
}

function bytesOf(item: ZipItem): Buffer {
  return Buffer.from((item.content ?? "") as string);
}

/** The bytes of a zip with these entries, in this order. */
export function zipOf(items: readonly ZipItem[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const item of items) {
    const content = bytesOf(item);
    const name = Buffer.from(item.name);
    const data = item.deflate === true ? deflateRawSync(content) : content;
    const mode = item.mode ?? (item.name.endsWith("/") ? 0o40755 : 0o100644);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(item.flags ?? 0x800, 2);
    common.writeUInt16LE(item.deflate === true ? 8 : 0, 4);
    common.writeUInt16LE(0x6000, 6);
    common.writeUInt16LE(0x5a21, 8);
    common.writeUInt32LE(crc32Of(content), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(item.size ?? content.length, 18);
    common.writeUInt16LE(name.length, 22);
    parts.push(Buffer.from("PK\x03\x04", "latin1"), common, name, data);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((mode << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from("PK\x01\x02\x14\x03", "latin1"), common, tail, name);
    offset += 30 + name.length + data.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(items.length, 8);
  end.writeUInt16LE(items.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}

function crc32Of(bytes: Buffer): number {
  // Node 20.19 has it; its types say 22.
  return (crc32 as (bytes: Buffer) => number)(bytes);
}

/** What SkyPilot's client calls a zip with these entries. */
export function blobIdOf(items: readonly ZipItem[]): string {
  const sha = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();
  const keyed = items.map((item) => ({ key: Buffer.from(item.name), digest: sha(bytesOf(item)) }));
  const hash = createHash("sha256");
  for (const { key, digest } of keyed.sort((one, other) => Buffer.compare(one.key, other.key))) {
    hash.update(key).update(digest);
  }
  return hash.digest("hex");
}
