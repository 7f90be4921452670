/**
 * The release that the test machines run: made by scripts/package from this checkout, once for each state of its sources,
 * and kept outside the tree. Called by cluster.ts and by tests of installing and upgrading.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must } from "../help/run.ts";
import { cacheDir } from "./image.ts";
import { locked } from "./lock.ts";

export const checkout = fileURLToPath(new URL("../..", import.meta.url));

/** What a release is made of. Documents are in it too, but change nothing that a test could see. */
const sources = ["shared", "system", "coordinator", "agent", "doctor", "client", "ansible", "scripts"];
const single = ["package.json", "package-lock.json"];
const unusedForMs = 2 * 86_400_000;

function filesIn(folder: string): string[] {
  const entries = existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }) : [];
  return entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** A hash of everything that the release holds. */
export function releaseKey(): string {
  const hash = createHash("sha256");
  for (const file of [...sources.flatMap((folder) => filesIn(join(checkout, folder))), ...single]) {
    const path = join(checkout, file.replace(checkout, ""));
    hash.update(`${path.replace(checkout, "")} ${statSync(path).mode}\n`).update(readFileSync(path));
  }
  return hash.digest("hex").slice(0, 16);
}

/** Removes kept folders that nothing has used for two days; to be called under the lock that guards their making. */
export function forgetUnused(prefix: string): void {
  for (const name of readdirSync(cacheDir).filter((entry) => entry.startsWith(prefix))) {
    const path = join(cacheDir, name);
    if (Date.now() - statSync(path).mtimeMs > unusedForMs) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

/** The archive's path, for this computer's architecture. `version`: another number than the checkout's, for upgrades. */
export async function theRelease(version?: string): Promise<string> {
  const folder = join(cacheDir, `release-${releaseKey()}${version === undefined ? "" : `-${version}`}`);
  const architecture = process.arch;
  mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
  await locked(join(cacheDir, "release.lock"), async () => {
    if (!existsSync(folder)) {
      forgetUnused("release-");
      const making = `${folder}.making`;
      rmSync(making, { recursive: true, force: true });
      const words = ["--arch", architecture, "--out", making, ...(version === undefined ? [] : ["--version", version])];
      const env = { ...(process.env as Record<string, string>) };
      await must([join(checkout, "scripts/package"), ...words], { cwd: checkout, env, limitMs: 300_000 });
      renameSync(making, folder);
    }
    utimesSync(folder, new Date(), new Date());
  });
  const archive = readdirSync(folder).find((name) => name.endsWith(`linux-${architecture}.tar.gz`));
  if (archive === undefined) {
    throw new Error(`scripts/package made no archive for ${architecture} in ${folder}`);
  }
  return join(folder, archive);
}
