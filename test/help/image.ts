/**
 * A container's image for one user, made of the machine's own programs and without any registry; and podman set up for a
 * machine whose control groups are as they happen to be. Used by the end-to-end tests of tasks with an image.
 */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { runAs } from "./sky.ts";
import type { TestUser } from "./users.ts";

/** The image's name, for `image_id: docker:…`. */
export const testImage = "localhost/sky-test:1";
/** What `/etc/os-release` says in it. */
export const testImageMark = "ID=sky-test";

const programs = ["bash", "cat", "chmod", "id", "ls", "mkdir", "seq", "setsid", "sleep", "stat", "touch"];

/** Not every kernel's control groups suit crun, podman's own choice, and none are delegated to a user without systemd. */
const engineConfig = '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n';
const storageConfig = '[storage]\ndriver = "vfs"\n';

function run(program: string, ...argv: string[]): string {
  return execFileSync(program, argv, { encoding: "utf8" });
}

function addProgram(root: string, name: string): void {
  const file = realpathSync(run("/bin/sh", "-c", `command -v ${name}`).trim());
  copyFileSync(file, join(root, "usr/bin", name));
  for (const library of run("ldd", file).match(/\/\S+/g) ?? []) {
    const place = join(root, library);
    mkdirSync(dirname(place), { recursive: true });
    copyFileSync(library, place);
  }
}

/** Ids that the user may hand out in containers; `useradd` gives some where the system's files of them exist. */
function giveIds({ name }: TestUser): void {
  for (const [file, option] of [
    ["/etc/subuid", "--add-subuids"],
    ["/etc/subgid", "--add-subgids"],
  ] as const) {
    const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
    if (!lines.some((line) => line.startsWith(`${name}:`))) {
      run("usermod", option, "10000000-10065535", name);
    }
  }
}

/** Gives the user the image; their podman needs nothing else. */
export async function giveImage(user: TestUser): Promise<void> {
  giveIds(user);
  const folder = mkdtempSync(join(tmpdir(), "sky-image-"));
  try {
    const root = join(folder, "root");
    for (const name of ["etc", "usr/bin", "tmp", "proc", "sys", "dev", "run"]) {
      mkdirSync(join(root, name), { recursive: true });
    }
    run("chmod", "1777", join(root, "tmp"));
    symlinkSync("usr/bin", join(root, "bin"));
    programs.forEach((name) => addProgram(root, name));
    writeFileSync(join(root, "etc/os-release"), `${testImageMark}\n`);
    writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n");
    run("tar", "-C", root, "-cf", join(folder, "image.tar"), ".");
    run("chmod", "-R", "a+rX", folder);
    const settings = join(user.home, ".config/containers");
    mkdirSync(settings, { recursive: true });
    writeFileSync(join(settings, "containers.conf"), engineConfig);
    writeFileSync(join(settings, "storage.conf"), storageConfig);
    run("chown", "-R", `${user.uid}:${user.gid}`, join(user.home, ".config"));
    const result = await runAs(user, ["podman", "import", "--quiet", join(folder, "image.tar"), testImage]);
    if (result.code !== 0) {
      throw new Error(`podman import ended with ${result.code}: ${result.stderr}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What podman keeps outside of the user's home. */
export function removePodmanFiles(user: TestUser): void {
  for (const name of [`podman-run-${user.uid}`, `containers-user-${user.uid}`, `run-${user.uid}`]) {
    rmSync(join("/tmp", name), { recursive: true, force: true });
  }
}
