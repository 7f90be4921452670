/**
 * Config files in real folders: which are found, which wins, what `--config` takes, and what a person is told when one is
 * missing or faulty.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { mergeLayers } from "../../shared/config-layers.ts";
import { clientConfig, clientLayers, type ConfigPlaces } from "./config-files.ts";

let folder = "";
let places: ConfigPlaces;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sky-config-"));
  places = { home: join(folder, "home"), cwd: join(folder, "project"), env: {} };
  mkdirSync(join(places.home, ".sky"), { recursive: true });
  mkdirSync(places.cwd);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, options: string): void {
  writeFileSync(path, `docker:\n  run_options: ["${options}"]\n`);
}

test("no files: nothing", () => {
  expect(clientLayers(places)).toEqual([]);
});

test("the project's file wins over the user's, the command line over both", () => {
  writeFileSync(join(places.home, ".sky", "config.yaml"), "docker:\n  run_options: [-u]\naws: {vpc_name: x}\n");
  write(join(places.cwd, ".sky.yaml"), "-p");
  const two = mergeLayers(clientLayers(places));
  expect(two.tree).toEqual({ docker: { run_options: ["-p"] }, aws: { vpc_name: "x" } });
  expect(two.origins).toEqual(
    new Map([
      ["docker.run_options", ".sky.yaml"],
      ["aws.vpc_name", "~/.sky/config.yaml"],
    ]),
  );
  expect(clientConfig({ ...places, options: ["docker.run_options=-c"] })).toMatchObject({
    docker: { run_options: "-c" },
  });
  write(join(places.cwd, "whole.yaml"), "-w");
  expect(clientConfig({ ...places, options: ["whole.yaml"] })).toMatchObject({ docker: { run_options: ["-w"] } });
});

test("variables name other files, and are named when those are missing", () => {
  write(join(places.home, "mine.yaml"), "-m");
  const named = { ...places, env: { SKYPILOT_GLOBAL_CONFIG: "~/mine.yaml" } };
  expect(clientLayers(named)).toEqual([
    { origin: "~/mine.yaml (SKYPILOT_GLOBAL_CONFIG)", tree: { docker: { run_options: ["-m"] } } },
  ]);
  const missing = { ...places, env: { SKYPILOT_PROJECT_CONFIG: "gone.yaml" } };
  expect(() => clientLayers(missing)).toThrow(
    "FileNotFoundError: SKYPILOT_PROJECT_CONFIG names the config file gone.yaml, which is not there.",
  );
});

test("faults name the file and the line; files and key=value do not mix", () => {
  writeFileSync(join(places.cwd, ".sky.yaml"), "\ndockr: {}\n");
  expect(() => clientLayers(places)).toThrow(
    "Invalid config YAML .sky.yaml:2: unknown key 'dockr'. Did you mean 'docker'?",
  );
  rmSync(join(places.cwd, ".sky.yaml"));
  mkdirSync(join(places.cwd, ".sky.yaml"));
  expect(() => clientLayers(places)).toThrow("Cannot read the config file .sky.yaml: it is not a file.");
  rmSync(join(places.cwd, ".sky.yaml"), { recursive: true });
  write(join(places.cwd, "whole.yaml"), "-w");
  expect(() => clientLayers({ ...places, options: ["whole.yaml", "aws.x=1"] })).toThrow("not both");
  expect(() => clientLayers({ ...places, options: ["gone.yaml"] })).toThrow("Invalid config override: gone.yaml");
});
