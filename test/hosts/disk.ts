/**
 * A disk that can lose what was not written to it: an ext4 in a file, mounted in the world by a loop device. A power loss
 * shuts the file system down without writing anything more, as pulling the plug would; what was not fsynced is then gone.
 * A small one can also be filled. Never this computer's own disks. Called by machine.ts.
 */
import { join } from "node:path";
import { until } from "../help/until.ts";
import type { Namespaces } from "./world.ts";

export interface DiskOptions {
  /** The machine's path that lies on this disk. What the machine had there is copied once. */
  path: string;
  /** Default 256. */
  megabytes?: number;
}

/** EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH. */
const shutdownProgram = `import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))`;

export class Disk {
  readonly path: string;
  /** Where it is mounted in the world. */
  readonly mounted: string;
  readonly #file: string;
  readonly #world: Namespaces;

  constructor(world: Namespaces, name: string, path: string) {
    this.#world = world;
    this.path = path;
    this.#file = join(world.folder, `${name}.ext4`);
    this.mounted = join(world.folder, name);
  }

  /** Makes the file system and copies what lies at the path below `root`. */
  async make(root: string, megabytes: number): Promise<void> {
    await this.#world.must(["mkdir", "-p", this.mounted, join(root, this.path)]);
    await this.#world.must(["truncate", "-s", `${megabytes}M`, this.#file]);
    await this.#world.must(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", this.#file]);
    await this.mount();
    await this.#world.must(["rmdir", join(this.mounted, "lost+found")]);
    await this.#world.must(["cp", "-a", `${join(root, this.path)}/.`, this.mounted]);
    await this.#world.must(["sync", "-f", this.mounted]);
  }

  /** Mounts it; the journal is replayed. A long commit interval: only an fsync makes anything durable soon. */
  async mount(): Promise<void> {
    await this.#world.must(["mount", "-o", "loop,commit=300", this.#file, this.mounted]);
  }

  /** What was not fsynced is lost. */
  async losePower(): Promise<void> {
    await this.#world.must(["python3", "-c", shutdownProgram, this.mounted]);
    await this.#world.must(["umount", this.mounted]);
    // The machine's own mounts go a moment after its last process; until then the file system is the one that was shut down.
    const free = async (): Promise<boolean> =>
      (await this.#world.must(["losetup", "--associated", this.#file])).trim() === "";
    await until(free, `the disk ${this.path} to be let go`);
  }
}
