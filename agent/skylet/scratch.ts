/**
 * Folders that a job has for itself and that go with it: its scratch home and its scratch folders on disk, made and removed
 * as the user in a folder of the user's own on the machine's disk, and the namespace in which scratch folders lie at the
 * paths that the task names. It must never remove anything outside of that folder. Called by prepare.ts and attempts.ts.
 */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import type { LaunchSpec } from "../../shared/launch-spec.ts";
import { shellQuoted } from "./environment.ts";

/** On disk, and kept over a restart of the machine, so that what is left of one is found and removed. */
const base = "/var/tmp";

/** The user's folder for attempts of this runtime folder; another agent on the same machine has another. */
function parentOf(runtimeDir: string): string {
  const mark = createHash("sha256").update(runtimeDir).digest("hex").slice(0, 8);
  return join(base, `sky-onprem-${process.getuid?.() ?? 0}-${mark}`);
}

/** Where the attempt with this folder has its own. */
export function scratchRoot(folder: string): string {
  return join(parentOf(dirname(folder)), basename(folder));
}

/** Not a link: everybody may put one here, and it could lead to what the user would miss. */
function isOwn(path: string): boolean {
  const facts = lstatSync(path, { throwIfNoEntry: false });
  return facts?.isDirectory() === true && facts.uid === process.getuid?.() && (facts.mode & 0o022) === 0;
}

/** Throws a SkyError when somebody else has put something in the place of the user's folder. */
function requireOwn(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (!isOwn(path)) {
    throw new SkyError("InternalError", `${path} is not a folder of this user alone. Ask the machine's admin.`);
  }
}

/** The job's folders on disk, made anew. `mounted`: each with the path at which the job is to find it. */
export interface Scratch {
  root: string;
  /** Null: the job has the user's home. */
  home: string | null;
  mounted: { path: string; source: string | null; sizeBytes: number | null }[];
}

/** Null: the job has none. */
export function scratchOf({ scratchHome, scratch = [] }: LaunchSpec, folder: string): Scratch | null {
  if (scratchHome === undefined && scratch.length === 0) {
    return null;
  }
  const root = scratchRoot(folder);
  return {
    root,
    home: scratchHome === undefined ? null : join(root, "home"),
    mounted: scratch.map(({ path, memory, sizeBytes }, at) => ({
      path,
      source: memory === undefined ? join(root, String(at)) : null,
      sizeBytes: sizeBytes ?? null,
    })),
  };
}

export function makeScratch({ root, home, mounted }: Scratch): void {
  requireOwn(dirname(root));
  rmSync(root, { recursive: true, force: true });
  for (const path of [root, home, ...mounted.map(({ source }) => source)]) {
    if (path !== null) {
      mkdirSync(path, { mode: 0o700 });
    }
  }
}

/** Without effect when the attempt has none. What cannot be removed now is tried again at the next start of a skylet. */
export async function removeScratch(folder: string): Promise<void> {
  const root = scratchRoot(folder);
  if (!isOwn(dirname(root))) {
    return;
  }
  await rm(root, { recursive: true, force: true }).catch(() => undefined);
  try {
    // At once: another attempt's folder is made in it by this very program.
    rmdirSync(dirname(root));
  } catch {
    // It is not there, or another attempt has its own in it.
  }
}

/** What attempts have left that are not there any more, as after a restart of the machine. */
export function sweepScratch(runtimeDir: string, isKnown: (attempt: string) => boolean): void {
  const parent = parentOf(runtimeDir);
  const names = isOwn(parent) ? readdirSync(parent) : [];
  for (const name of names.filter((one) => !isKnown(one))) {
    void removeScratch(join(runtimeDir, name));
  }
}

/** The mounts (POSIX sh), each with a sentence about what is missing. */
function mountLines(mounted: Scratch["mounted"]): string {
  return mounted
    .map(({ path, source, sizeBytes }) => {
      const place = shellQuoted(path, "The scratch folder's path");
      const size = sizeBytes === null ? "" : `,size=${sizeBytes}`;
      const mount =
        source === null
          ? `mount -t tmpfs -o mode=0700${size} tmpfs ${place}`
          : `mount --bind ${shellQuoted(source, "The scratch folder's path")} ${place}`;
      const sentence = shellQuoted(
        `The scratch folder ${path} is not there on this machine, and the user may not make it.`,
        "The scratch folder's path",
      );
      return `[ -d ${place} ] || mkdir -p ${place} 2>/dev/null || { echo ${sentence}; exit 126; }\n${mount} || exit 126`;
    })
    .join("\n");
}

/**
 * A program for the runner (POSIX sh): its arguments are run where the scratch folders lie at their paths. `readOnly`: lines
 * that are carried out first. The namespace is made once for an attempt, so that run finds what setup has left there, and
 * lasts as long as a process in it.
 */
export function scratchScript(mounted: Scratch["mounted"], readOnly: string, uid: number, gid: number): string {
  const keep = `exec 2>&1\n${readOnly}\n${mountLines(mounted)}\necho "$$"\nexec sleep infinity </dev/null >/dev/null 2>&1\n`;
  const make = ["--user", "--map-root-user", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", keep, "sh"]
    .map((word) => shellQuoted(word, "The scratch folder's path"))
    .join(" ");
  return `#!/bin/sh
# Written by sky-skylet; see agent/skylet/scratch.ts.
folder=\${0%/*}
if [ ! -e "$folder/namespace" ]; then
  said=$(unshare ${make} 2>&1 &)
  case $said in
    ''|*[!0-9]*) echo "The job's own folders cannot be made here: $said"; exit 126 ;;
  esac
  echo "$said" >"$folder/namespace"
fi
read -r keeper <"$folder/namespace"
exec nsenter --target "$keeper" --user --mount --preserve-credentials -- unshare --user --map-user=${uid} --map-group=${gid} -- "$@"
`;
}
