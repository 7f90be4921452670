/**
 * What daemons promise is on disk: after a power loss on a disk that forgets what was not fsynced, keys, ledgers and
 * backups are what they were. Also what an earlier process has written and never got to fsync, since the next one builds
 * on it. The test of a whole head is test/hosts/power-loss.test.ts.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { open as openFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Ledger } from "../../agent/ledger.ts";
import { Archive } from "../../coordinator/backup/archive.ts";
import { takeBackup } from "../../coordinator/backup/take.ts";
import { coordinatorConfigSchema } from "../../coordinator/config.ts";
import { openLink } from "../../coordinator/redis.ts";
import { openSecrets } from "../../coordinator/secrets.ts";
import { RedisStore } from "../../coordinator/store.ts";
import { openLog } from "../../coordinator/log.ts";
import { type FragileDisk, makeFragileDisk } from "../help/fragile-disk.ts";
import { startRedis } from "../help/redis.ts";

let disk: FragileDisk;
beforeEach(async () => {
  disk = await makeFragileDisk();
});
afterEach(() => disk.remove());

const stateId = "s".repeat(16);
const identity = `${JSON.stringify({ stateId, epoch: 7 })}\n`;

test("the disk really forgets", async () => {
  writeFileSync(join(disk.path(), "file"), "text");
  await disk.losePower();
  expect(() => readFileSync(join(disk.path(), "file"))).toThrow("ENOENT");
});

test("the key file is there before anything is sealed with it, whoever has made it", async () => {
  const made = openSecrets(disk.path()).fingerprint;
  await disk.losePower();
  expect(openSecrets(disk.path()).fingerprint).toBe(made);
  // A coordinator that was killed between making the file and fsyncing its folder.
  mkdirSync(join(disk.path(), "other"));
  writeFileSync(join(disk.path(), "other/secrets.key"), Buffer.alloc(32, 7), { mode: 0o600 });
  const found = openSecrets(join(disk.path(), "other")).fingerprint;
  await disk.losePower();
  expect(readFileSync(join(disk.path(), "other/secrets.key"))).toEqual(Buffer.alloc(32, 7));
  expect(openSecrets(join(disk.path(), "other")).fingerprint).toBe(found);
});

test("a node's ledger keeps what it has said, also when an agent that was killed has written it", async () => {
  const ledger = new Ledger(join(disk.path(), "agent"));
  await ledger.read();
  await ledger.saveIdentity({ stateId, epoch: 3 });
  await disk.losePower();
  expect((await new Ledger(join(disk.path(), "agent")).read()).identity).toEqual({ stateId, epoch: 3 });
  // Renamed and not fsynced: the next agent has read it and acts by it.
  writeFileSync(join(disk.path(), "agent/identity.json"), identity);
  expect((await new Ledger(join(disk.path(), "agent")).read()).identity).toEqual({ stateId, epoch: 7 });
  await disk.losePower();
  expect((await new Ledger(join(disk.path(), "agent")).read()).identity).toEqual({ stateId, epoch: 7 });
});

test("a backup is whole on disk when the command has said so", async () => {
  const redis = await startRedis();
  try {
    const config = coordinatorConfigSchema.parse({
      ...{
        cluster: "lab",
        host_key: join(redis.dir, "host_key"),
        redis: { socket: redis.socket },
        state_dir: redis.dir,
      },
      nodes: [{ name: "n1", key: "ssh-ed25519 AAAA" }],
    });
    writeFileSync(join(redis.dir, "host_key"), "key");
    const store = new RedisStore(await openLink(redis.socket, "test"), openSecrets(redis.dir), openLog("error"));
    await store.open();
    await store.close();
    const options = { file: join(disk.path(), "b"), configText: "cluster: lab\n", move: false };
    await takeBackup(config, options, () => {});
    await disk.losePower();
    const file = await openFile(join(disk.path(), "b"));
    expect((await Archive.open(file, "b")).manifest.cluster).toBe("lab");
    await file.close();
  } finally {
    await redis.remove();
  }
});
