/**
 * The release that the test machines run: made by scripts/package from this checkout, once for each state of its sources,
 * and kept outside the tree. Called by cluster.ts and by tests of installing and upgrading.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must } from "../help/run.ts";
import { cacheDir } from "./image.ts";
import { locked } from "./lock.ts";

export const checkout = fileURLToPath(new URL("../..", import.meta.url));

/** What a release is made of. Documents are in it too, but change nothing that a test could see. */
const sources = ["shared", "system", "coordinator", "agent", "doctor", "client", "ansible", "scripts"];
const single = ["package.json", "package-lock.json"];

export interface Release {
  /** The archive's path, for this computer's architecture. */
  archive: string;
  /** VERSION-COMMIT7: its folder's name on a node. */
  name: string;
  /** A machine's layer in which this release is installed and current. */
  layer: string;
}

/** Kept whatever their age, because the next run may want them; others go when nothing has used them for some hours. */
const keptMin = 4;
const unusedForMs = 4 * 3_600_000;

function filesIn(folder: string): string[] {
  const entries = existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }) : [];
  return entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** A hash of what these files and folders of the checkout hold. */
export function hashOf(entries: readonly string[]): string {
  const hash = createHash("sha256");
  for (const entry of entries) {
    const path = join(checkout, entry);
    for (const file of statSync(path, { throwIfNoEntry: false })?.isFile() === true ? [path] : filesIn(path)) {
      hash.update(`${file.slice(checkout.length)} ${statSync(file).mode}\n`).update(readFileSync(file));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

/**
 * Removes kept folders but the newest, once no test can be using them any more; to be called under the lock that guards
 * their making. A layer must never be removed under a machine, hence the hours.
 */
export function forgetUnused(prefix: string): void {
  const kept = readdirSync(cacheDir)
    .filter((name) => name.startsWith(prefix))
    .map((name) => ({ path: join(cacheDir, name), usedAt: statSync(join(cacheDir, name)).mtimeMs }))
    .toSorted((a, b) => b.usedAt - a.usedAt);
  for (const { path, usedAt } of kept.slice(keptMin)) {
    if (Date.now() - usedAt > unusedForMs) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

function archiveIn(folder: string): string {
  const archive = readdirSync(folder).find((name) => name.endsWith(`linux-${process.arch}.tar.gz`));
  if (archive === undefined) {
    throw new Error(`scripts/package made no archive for ${process.arch} in ${folder}`);
  }
  return join(folder, archive);
}

/** Installed as the playbook does it: a folder of its own, and the link `current`. */
async function unpackInto(layer: string, archive: string): Promise<void> {
  const prefix = join(layer, "opt/sky-onprem");
  const unpacked = join(prefix, ".unpacked");
  mkdirSync(unpacked, { recursive: true });
  await must(["tar", "--extract", "--gzip", "--strip-components=1", `--directory=${unpacked}`, `--file=${archive}`]);
  const name = readFileSync(join(unpacked, "RELEASE"), "utf8").trim();
  renameSync(unpacked, join(prefix, name));
  symlinkSync(name, join(prefix, "current"));
}

/** The release of this checkout. `version`: with another number than the checkout's, for upgrades. */
export async function theRelease(version?: string): Promise<Release> {
  const key = hashOf([...sources, ...single]);
  const folder = join(cacheDir, `release-${key}${version === undefined ? "" : `-${version}`}`);
  mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
  await locked(join(cacheDir, "release.lock"), async () => {
    if (!existsSync(folder)) {
      forgetUnused("release-");
      const making = `${folder}.making`;
      rmSync(making, { recursive: true, force: true });
      const words = ["--arch", process.arch, "--out", making, ...(version === undefined ? [] : ["--version", version])];
      const env = { ...(process.env as Record<string, string>) };
      await must([join(checkout, "scripts/package"), ...words], { cwd: checkout, env, limitMs: 300_000 });
      await unpackInto(join(making, "layer"), archiveIn(making));
      renameSync(making, folder);
    }
    utimesSync(folder, new Date(), new Date());
  });
  const layer = join(folder, "layer");
  const name = readFileSync(join(layer, "opt/sky-onprem/current/RELEASE"), "utf8").trim();
  return { archive: archiveIn(folder), name, layer };
}
