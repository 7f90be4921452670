import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { LedgerEntry } from "./core/state.ts";
import { Ledger } from "./ledger.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-ledger-"));
});
afterEach(() => rm(dir, { recursive: true }));

function entry(attempt: string, phase: LedgerEntry["phase"] = "accepted"): LedgerEntry {
  return {
    wanted: {
      attempt,
      uid: 1001,
      user: "alice",
      jobId: 1,
      jobName: "Zug-1",
      cluster: "c",
      rank: 0,
      grant: { node: "n1", devices: [0], share: 1, cpus: 1, memoryGb: 1 },
      setup: false,
      hasRun: true,
      mayRun: true,
      started: false,
      addresses: ["127.0.0.1"],
      nodeLabel: "head",
      singleNodeCluster: true,
      graceSeconds: 30,
      submittedAt: 1,
    },
    phase,
    bootId: "b",
    pid: null,
    startTime: null,
    setupExit: null,
    runExit: null,
    logDir: null,
    fault: null,
  };
}

it("gives back what was saved, the last version of each, to whoever comes next", async () => {
  const ledger = new Ledger(dir);
  expect(await ledger.read()).toEqual({ entries: [], identity: { stateId: null, epoch: 0 }, warnings: [] });
  await Promise.all([ledger.save(entry("aaaaaaaa-1")), ledger.save(entry("aaaaaaaa-2"))]);
  await ledger.save(entry("aaaaaaaa-1", "exited"));
  await ledger.drop("aaaaaaaa-2");
  await ledger.drop("aaaaaaaa-2");
  await ledger.saveIdentity({ stateId: "s".repeat(16), epoch: 7 });
  const next = await new Ledger(dir).read();
  expect(next).toEqual({
    entries: [entry("aaaaaaaa-1", "exited")],
    identity: { stateId: "s".repeat(16), epoch: 7 },
    warnings: [],
  });
});

it("sets damaged files aside with a warning and keeps the others", async () => {
  const ledger = new Ledger(dir);
  await ledger.read();
  for (const id of [1, 2, 3, 4]) {
    await ledger.save(entry(`aaaaaaaa-${id}`));
  }
  const file = (id: number): string => join(dir, "attempts", `aaaaaaaa-${id}.json`);
  await truncate(file(1), 40);
  await writeFile(file(2), JSON.stringify({ ...entry("aaaaaaaa-2"), uid: 0 }));
  await writeFile(file(3), JSON.stringify(entry("aaaaaaaa-4")));
  await writeFile(join(dir, "identity.json"), "\0\0\0");
  const { entries, identity, warnings } = await ledger.read();
  expect(entries.map((one) => one.wanted.attempt)).toEqual(["aaaaaaaa-4"]);
  expect(identity).toEqual({ stateId: null, epoch: 0 });
  expect(warnings).toHaveLength(4);
  expect(warnings[0]).toContain("aaaaaaaa-1.json");
  expect((await ledger.read()).warnings).toEqual([]);
  expect((await readdir(join(dir, "attempts"))).filter((name) => name.includes("damaged"))).toHaveLength(3);
});

it("does not take a write that was cut short for an entry, and removes what is left of it", async () => {
  const ledger = new Ledger(dir);
  await ledger.read();
  await ledger.save(entry("aaaaaaaa-1", "go"));
  const whole = await readFile(join(dir, "attempts", "aaaaaaaa-1.json"), "utf8");
  await appendFile(join(dir, "attempts", "aaaaaaaa-1.json.77-1.tmp"), whole.slice(0, 100));
  expect((await ledger.read()).entries).toEqual([entry("aaaaaaaa-1", "go")]);
  expect(await readdir(join(dir, "attempts"))).toEqual(["aaaaaaaa-1.json"]);
});

it("forgets what was only accepted when the power went, without a word; a lost identity it names", async () => {
  const ledger = new Ledger(dir);
  await ledger.read();
  await ledger.save(entry("aaaaaaaa-1"));
  await truncate(join(dir, "attempts", "aaaaaaaa-1.json"), 0);
  expect(await ledger.read()).toMatchObject({ entries: [], warnings: [] });
  await writeFile(join(dir, "identity.json"), "");
  expect((await ledger.read()).warnings).toHaveLength(1);
});

it("refuses to write an entry that it could not read back", async () => {
  const ledger = new Ledger(dir);
  await ledger.read();
  await expect(ledger.save({ ...entry("aaaaaaaa-1"), pid: -1 })).rejects.toThrow();
  await expect(ledger.drop("../identity")).rejects.toThrow();
  expect(await readdir(join(dir, "attempts"))).toEqual([]);
});
