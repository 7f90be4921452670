/**
 * Release archives on the admin's machine: which of those found are to be installed, and the playbooks that one of them
 * carries, so that a release is always installed by its own playbooks. It must never fetch anything.
 * Called by commands/admin/deploy.ts.
 */
import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import type { Releases } from "./inventory.ts";

const extractLimitMs = 120_000;
const archiveName = /^sky-onprem-(\d[A-Za-z0-9.+-]*)-linux-(x64|arm64)\.tar\.gz$/;

interface Archive {
  file: string;
  version: string;
  architecture: string;
}

function archiveOf(file: string): Archive | null {
  const [, version, architecture] = archiveName.exec(basename(file)) ?? [];
  return version === undefined || architecture === undefined ? null : { file, version, architecture };
}

function archivesIn(folder: string): Archive[] {
  try {
    return readdirSync(folder).flatMap((name) => archiveOf(join(folder, name)) ?? []);
  } catch {
    return [];
  }
}

export interface Found {
  version: string;
  releases: Releases;
}

/**
 * The archives of one version: those that were named, else those that lie in one of the folders. Throws SkyError when
 * there is none, when a named one is no archive of ours, or when it is not clear which version is meant.
 */
export function findReleases(named: string[], folders: string[], cwd: string): Found {
  const archives =
    named.length > 0
      ? named.map((file) => namedArchive(resolve(cwd, file)))
      : folders.flatMap((one) => archivesIn(one));
  const versions = [...new Set(archives.map((archive) => archive.version))];
  const [version] = versions;
  if (version === undefined) {
    throw new SkyError(
      "ValueError",
      `There is no release archive (sky-onprem-VERSION-linux-x64.tar.gz) in ${[...new Set(folders)].join(" or ")}.`,
      "Name one with --release FILE. `scripts/package` of a checkout makes them.",
    );
  }
  if (versions.length > 1) {
    const files = archives.map((archive) => `\n  ${archive.file}`).join("");
    throw new SkyError(
      "ValueError",
      `There are archives of several versions:${files}`,
      "Name the one to install with --release FILE.",
    );
  }
  // The first of an architecture counts, so that a named one, or one in the nearer folder, is not replaced by another.
  return { version, releases: Object.fromEntries(archives.toReversed().map((one) => [one.architecture, one.file])) };
}

function namedArchive(file: string): Archive {
  const archive = archiveOf(file);
  if (archive === null || !existsSync(file)) {
    throw new SkyError(
      "ValueError",
      archive === null ? `${file} is not named like a release archive.` : `${file} does not exist.`,
      "A release archive is called sky-onprem-VERSION-linux-x64.tar.gz (or arm64); `scripts/package` makes it.",
    );
  }
  return archive;
}

/** Takes the playbooks out of an archive into `folder`, which exists and is the caller's alone; the folder that holds site.yml. */
export async function extractPlaybooks(file: string, folder: string): Promise<string> {
  const root = basename(file, ".tar.gz");
  await new Promise<void>((resolved, reject) => {
    const argv = ["-xzf", file, "-C", folder, `${root}/ansible`];
    execFile("tar", argv, { timeout: extractLimitMs }, (error, _stdout, stderr) => {
      if (error === null) {
        resolved();
      } else {
        const text = `The playbooks cannot be taken out of ${file}: ${(stderr.trim() || error.message).slice(0, 300)}`;
        reject(new SkyError("ValueError", text, "Is it a complete release archive? Compare it with its SHA256SUMS."));
      }
    });
  });
  return join(folder, root, "ansible");
}
