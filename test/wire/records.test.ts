/**
 * What lies on disk outlives an upgrade and a rollback: records and ledger entries of the version before are read here,
 * and what is written for a job that uses nothing new is read by the version before. That every record which the core
 * writes keeps this is watched in the simulator, which holds each against the same frozen schemas (test/sim/store.ts).
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Ledger } from "../../agent/ledger.ts";
import { jobRecordSchema } from "../../shared/job.ts";
import * as oldLedger from "./protocol-1/ledger.ts";
import * as oldJob from "./protocol-1/job.ts";

const frozen = (name: string): unknown =>
  JSON.parse(readFileSync(join(import.meta.dirname, "protocol-1", `${name}.json`), "utf8"));

it("reads a record of the version before, and writes it back as that version would", () => {
  const record = frozen("record");
  expect(oldJob.jobRecordSchema.parse(record)).toEqual(record);
  expect(jobRecordSchema.parse(record)).toEqual(record);
});

it("needs every key that the version before wrote and adds none by itself", () => {
  const shapeOf = (schema: unknown): string[] => Object.keys((schema as { shape: object }).shape).sort();
  const before = shapeOf(oldJob.jobRecordSchema);
  const optional = shapeOf(jobRecordSchema).filter(
    (key) => jobRecordSchema.shape[key as keyof typeof jobRecordSchema.shape].safeParse(undefined).success,
  );
  expect(shapeOf(jobRecordSchema).filter((key) => !before.includes(key))).toEqual(
    optional.filter((key) => !before.includes(key)),
  );
  expect(before.filter((key) => !shapeOf(jobRecordSchema).includes(key))).toEqual([]);
});

it("reads a ledger of the version before, and leaves one that it reads", async () => {
  const dir = await mkdtemp(join(tmpdir(), "sky-ledger-"));
  try {
    await mkdir(join(dir, "attempts"), { mode: 0o700 });
    const entry = oldLedger.entrySchema.parse(frozen("ledger-entry"));
    await writeFile(join(dir, "attempts", `${entry.wanted.attempt}.json`), JSON.stringify(entry));
    const ledger = new Ledger(dir);
    const contents = await ledger.read();
    expect(contents).toMatchObject({ entries: [entry], warnings: [] });
    const own = contents.entries[0];
    await ledger.save({ ...(own as NonNullable<typeof own>), phase: "exited", runExit: 0 });
    const written: unknown = JSON.parse(await readFile(join(dir, "attempts", `${entry.wanted.attempt}.json`), "utf8"));
    expect(oldLedger.entrySchema.parse(written)).toEqual({ ...entry, phase: "exited", runExit: 0 });
  } finally {
    await rm(dir, { recursive: true });
  }
});
