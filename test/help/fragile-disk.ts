/**
 * A folder on a disk of its own that forgets what was not fsynced when its power goes: an ext4 in a file, mounted by a
 * loop device in a mount namespace of a child, so that nothing of this computer changes and everything is gone with the
 * child, however a test ends. Needs root. Used by tests of what daemons promise.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, must, type Running } from "./run.ts";
import { until } from "./until.ts";

/** EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH. */
const shutdownProgram = `import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))`;

export interface FragileDisk {
  /** The folder's present path; another one after each power loss. */
  readonly path: () => string;
  /** What was not fsynced is gone when this resolves. Nothing may have a file open there. */
  losePower(): Promise<void>;
  remove(): Promise<void>;
}

export async function makeFragileDisk(megabytes = 64): Promise<FragileDisk> {
  const folder = mkdtempSync(join(tmpdir(), "sky-disk-"));
  const [file, mounted] = [join(folder, "ext4"), join(folder, "mounted")];
  await must(["mkdir", mounted]);
  await must(["truncate", "-s", `${megabytes}M`, file]);
  await must(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", file]);
  let holder: Running;
  // A long commit interval: only an fsync makes anything durable soon.
  const script = 'mount -o loop,commit=300 "$1" "$2" && echo mounted && cat';
  const mount = async (): Promise<void> => {
    const words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", file, mounted];
    holder = launch(words, { openInput: true, limitMs: 600_000 });
    await until(() => holder.stdout().includes("mounted"), "the disk to be mounted");
  };
  const unmount = async (): Promise<void> => {
    holder.child.stdin?.end();
    await holder.ended;
    await until(async () => (await must(["losetup", "--associated", file])).trim() === "", "the disk to be let go");
  };
  const path = (): string => `/proc/${holder.child.pid}/root${mounted}`;
  await mount();
  return {
    path,
    async losePower() {
      await must(["python3", "-c", shutdownProgram, path()]);
      await unmount();
      await mount();
    },
    async remove() {
      await unmount();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
