/** What was initialized on this machine: kept, forgotten, private, and safe with several writers. */
import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  dropUnregistered,
  forgetInitialized,
  type InitializedCluster,
  readInitialized,
  saveInitialized,
} from "./state.ts";

const cluster: InitializedCluster = {
  user: "alice",
  headIp: "10.0.0.1",
  resources: "[{'V100': 4}]",
  command: "sky launch -c lab ''",
  launchedAt: 1_700_000_000,
};
let home: string;
let file: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "sky-state-"));
  file = join(home, ".sky", "onprem", "state.json");
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

test("kept in a private file, forgotten again", async () => {
  expect(readInitialized(file).size).toBe(0);
  await saveInitialized(file, "lab", cluster);
  await saveInitialized(file, "lab", { ...cluster, command: null });
  expect([...readInitialized(file)]).toEqual([["lab", { ...cluster, command: null }]]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  await forgetInitialized(file, ["lab", "unknown"]);
  expect(readInitialized(file).size).toBe(0);
  expect(readdirSync(join(home, ".sky", "onprem"))).toEqual(["state.json"]);
});

test("writers at the same time lose nothing", async () => {
  const names = Array.from({ length: 20 }, (_, index) => `c${index}`);
  await Promise.all(names.map((name) => saveInitialized(file, name, cluster)));
  expect([...readInitialized(file).keys()].sort()).toEqual(names.sort());
});

test("a lock that a killed command left behind does not stop the next", async () => {
  await saveInitialized(file, "lab", cluster);
  writeFileSync(`${file}.lock`, "");
  utimesSync(`${file}.lock`, new Date(0), new Date(0));
  await saveInitialized(file, "other", cluster);
  expect(readInitialized(file).size).toBe(2);
});

test("a cluster whose file has gone is dropped with a line", async () => {
  await saveInitialized(file, "lab", cluster);
  await saveInitialized(file, "old", cluster);
  expect(await dropUnregistered(file, ["lab"])).toEqual([
    "Removing local cluster old from `sky status`. No config found in ~/.sky/local.",
  ]);
  expect([...readInitialized(file).keys()]).toEqual(["lab"]);
  expect(await dropUnregistered(file, ["lab"])).toEqual([]);
});

test.each(["{", "[]", '{"version": 2, "clusters": {}}', '{"version": 1, "clusters": {"lab": {"user": 1}}}'])(
  "damaged: %s",
  async (text) => {
    await saveInitialized(file, "lab", cluster);
    writeFileSync(file, text);
    expect(() => readInitialized(file)).toThrow(/state\.json is damaged/);
    await expect(saveInitialized(file, "x", cluster)).rejects.toThrow(/damaged/);
  },
);

test("a file that cannot be written is named", async () => {
  writeFileSync(join(home, ".sky"), "in the way");
  await expect(saveInitialized(file, "lab", cluster)).rejects.toThrow(`Cannot write ${file}: `);
});
