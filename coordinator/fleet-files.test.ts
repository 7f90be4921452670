/** A node's questions for uploads over real ssh2, answered from a real store: what it gets, and what it may not have. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ClientChannel } from "ssh2";
import { agentConfigSchema } from "../agent/config.ts";
import { Link, readLinkKeys } from "../agent/link.ts";
import { filesFrameKinds } from "../shared/files.ts";
import { makeKeyPair } from "../system/key-pair.ts";
import { collect, fileEntry, manifestText, packOf, piecesOf, sha256 } from "../test/help/uploads.ts";
import { until } from "../test/help/until.ts";
import { coordinatorConfigSchema } from "./config.ts";
import { DiskFileStore } from "./files/store.ts";
import { startFleet } from "./fleet.ts";
import { type FileGrant, StoreUnavailable } from "./parts.ts";

const log = pino({ level: "silent" });
const keys = { host: makeKeyPair(), node: makeKeyPair() };
const [alice, bob] = [1001, 1002];
const red = Buffer.from("red".repeat(1000));
const green = Buffer.from("green".repeat(1000));
const attempt = "abcdefgh-1";

let dir = "";
let files: DiskFileStore;
let fleet: Awaited<ReturnType<typeof startFleet>>;
let link: Link;
let grants: Map<string, FileGrant | Error>;
let isWanted = true;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-fleet-files-"));
  await writeFile(join(dir, "host_key"), keys.host.private, { mode: 0o600 });
  await writeFile(join(dir, "node_key"), keys.node.private, { mode: 0o600 });
  const config = coordinatorConfigSchema.parse({
    ...{ cluster: "t", host_key: join(dir, "host_key"), state_dir: dir, redis: { socket: join(dir, "none") } },
    ...{ listen: { port: 0 }, limits: { free_disk_mb: 0 }, nodes: [{ name: "n1", key: keys.node.public }] },
  });
  files = new DiskFileStore(config, log);
  grants = new Map();
  isWanted = true;
  let ups = 0;
  const owner = {
    dispatch: () => undefined,
    keysOf: () => [keys.node.public.split(" ").slice(0, 2).join(" ")],
    payloadFor: async () => null,
    payloadAtHand: () => null,
    filesFor: async (node: string, id: string) => {
      const grant = grants.get(`${node}/${id}`) ?? null;
      if (grant instanceof Error) {
        throw grant;
      }
      return grant;
    },
    files,
  };
  fleet = await startFleet(config, owner, log);
  const agentConfig = agentConfigSchema.parse({
    node: "n1",
    coordinator: { address: "127.0.0.1", port: fleet.port, host_key: keys.host.public },
    key: join(dir, "node_key"),
  });
  const hello = { type: "hello", protocol: 1, version: "1", node: "n1", stateId: null, epoch: 0, bootId: "b" } as const;
  const owned = {
    hello: () => hello,
    onUp: () => void (ups += 1),
    onDown: () => undefined,
    onMessage: () => undefined,
  };
  link = new Link(agentConfig, await readLinkKeys(agentConfig), owned, log);
  link.start();
  await until(() => ups === 1);
});

afterEach(async () => {
  link.stop();
  await fleet.close();
  files.close();
  await rm(dir, { recursive: true });
});

/** Uploads one file of these chunks; the manifest's id. */
async function upload(uid: number, chunks: readonly Buffer[]): Promise<{ id: string; text: string }> {
  await files.putPack(uid, piecesOf(packOf(chunks), 65_536));
  const text = manifestText([fileEntry("data", chunks)]);
  const { id, missing } = await files.putManifest(uid, piecesOf(text));
  expect(missing).toEqual([]);
  return { id, text };
}

function grant(uid: number, ids: readonly string[]): void {
  grants.set(`n1/${attempt}`, { uid, manifests: new Set(ids), isWanted: () => isWanted });
}

interface Frame {
  kind: number;
  bytes: Buffer;
}

function framesOf(all: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < all.length; ) {
    const length = all.readUInt32BE(at + 1);
    frames.push({ kind: all.readUInt8(at), bytes: all.subarray(at + 5, at + 5 + length) });
    at += 5 + length;
  }
  return frames;
}

/** All frames that come for these lines, until the stream ends. */
async function ask(lines: readonly string[], id = attempt): Promise<Frame[]> {
  const channel: ClientChannel = await link.openFiles(id);
  channel.end(lines.map((line) => `${line}\n`).join(""));
  return framesOf(await collect(channel));
}

const manifest = (id: string): string => JSON.stringify({ get: "manifest", id });
const chunks = (hashes: readonly string[]): string => JSON.stringify({ get: "chunks", hashes });
const { end, fault } = filesFrameKinds;

describe("a node's questions", () => {
  it("are answered one after another, whole and in order", async () => {
    const large = Array.from({ length: 12 }, (_, at) => Buffer.alloc(4 * 1024 * 1024 - at, at + 1));
    await files.putPack(alice, piecesOf(packOf(large.slice(3, 6)), 65_536));
    await files.putPack(alice, piecesOf(packOf(large.slice(6, 9)), 65_536));
    await files.putPack(alice, piecesOf(packOf(large.slice(9)), 65_536));
    await files.putPack(alice, piecesOf(packOf(large.slice(0, 3)), 65_536));
    const { id, text } = await upload(alice, [red, green]);
    const all = manifestText([fileEntry("large", large)]);
    const other = (await files.putManifest(alice, piecesOf(all))).id;
    grant(alice, [id, other]);
    const hashes = [green, red, ...large].map((one) => sha256(one));
    const frames = await ask([manifest(id), chunks(hashes), manifest(other)]);
    const ends = frames.flatMap(({ kind }, at) => (kind === end ? [at] : []));
    expect(ends).toHaveLength(3);
    const [first = 0, second = 0, third] = ends;
    expect(Buffer.concat(frames.slice(0, first).map(({ bytes }) => bytes)).toString()).toBe(text);
    const given = frames.slice(first + 1, second);
    expect(given.map(({ bytes }) => bytes.subarray(0, 32).toString("hex"))).toEqual(hashes);
    expect(given.map(({ bytes }) => sha256(bytes.subarray(32)))).toEqual(hashes);
    expect(Buffer.concat(frames.slice(second + 1, third).map(({ bytes }) => bytes)).toString()).toBe(all);
  });

  it("are answered only with what the attempt's payload names, of its own user", async () => {
    const named = await upload(alice, [red]);
    const unnamed = await upload(alice, [green]);
    const foreign = await upload(bob, [Buffer.from("bob's")]);
    grant(alice, [named.id]);
    for (const question of [
      manifest(unnamed.id),
      manifest(foreign.id),
      chunks([sha256(green)]),
      chunks([sha256("bob's")]),
      chunks([sha256(red), sha256(green)]),
    ]) {
      const frames = await ask([question]);
      expect(frames.map(({ kind }) => kind)).toEqual([fault]);
    }
    expect((await ask([chunks([sha256(red)])])).map(({ kind }) => kind)).toEqual([filesFrameKinds.chunk, end]);
    const other = await ask([manifest(named.id)], "abcdefgh-2");
    expect(other[0]?.bytes.toString()).toBe("node 'n1' is not to run attempt abcdefgh-2");
  });

  it("are refused from the moment when the attempt is not wanted any more", async () => {
    const { id } = await upload(alice, [red]);
    grant(alice, [id]);
    const channel = await link.openFiles(attempt);
    const pieces: Buffer[] = [];
    channel.on("data", (piece: Buffer) => pieces.push(piece));
    const frames = (): Frame[] => framesOf(Buffer.concat(pieces));
    channel.write(`${manifest(id)}\n`);
    await until(() => pieces.length > 0 && frames().at(-1)?.kind === end);
    isWanted = false;
    channel.write(`${chunks([sha256(red)])}\n`);
    await until(() => frames().at(-1)?.kind === fault);
    expect(frames().filter(({ kind }) => kind === filesFrameKinds.chunk)).toEqual([]);
    channel.destroy();
  });

  it.each([
    ["what is no question", '{"get":"everything"}'],
    ["a path in place of a hash", '{"get":"manifest","id":"../../../etc/shadow"}'],
    ["too many hashes", chunks(Array.from({ length: 257 }, () => sha256(red)))],
    ["a line without an end", "x".repeat(40_000)],
  ])("are refused when they are %s, and the node stays connected", async (_what, line) => {
    const { id, text } = await upload(alice, [red]);
    grant(alice, [id]);
    expect((await ask([line])).map(({ kind }) => kind)).toEqual([fault]);
    expect((await ask([manifest(id)]))[0]?.bytes.toString()).toBe(text);
  });

  it("end without a word when Redis is away, so that the node asks again; with words when files are gone", async () => {
    grants.set(`n1/${attempt}`, new StoreUnavailable("Redis is away"));
    expect(await ask([manifest(sha256(""))])).toEqual([]);
    grant(alice, [sha256("")]);
    const frames = await ask([manifest(sha256(""))]);
    expect(frames[0]?.bytes.toString()).toContain("is not on the coordinator. Launch again");
  });

  it("may come all at once; they are answered as the node takes the answers", async () => {
    const large = Array.from({ length: 3 }, (_, at) => Buffer.alloc(4 * 1024 * 1024, at + 1));
    const { id } = await upload(alice, large);
    grant(alice, [id]);
    const hashes = large.map((one) => sha256(one));
    const channel = await link.openFiles(attempt);
    channel.end(`${Array.from({ length: 4 }, () => chunks(hashes)).join("\n")}\n`);
    const frames = framesOf(await collect(channel));
    expect(frames.filter(({ kind }) => kind === filesFrameKinds.chunk)).toHaveLength(12);
    expect(frames.filter(({ kind }) => kind === end)).toHaveLength(4);
  });
});
