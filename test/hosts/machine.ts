/**
 * One test machine: a systemd-nspawn guest with its own systemd, sshd, PAM, users and control groups, on an overlay of the
 * base image. It can lose its power or its network at any moment and come back with its disk. Commands never get the
 * computer's terminal. Made by machines.ts only.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch, type Result, run, type Running, type RunOptions } from "../help/run.ts";
import { until } from "../help/until.ts";
import { Disk, type DiskOptions } from "./disk.ts";
import type { Namespaces } from "./world.ts";

export interface MachineRunOptions extends RunOptions {
  /** Default: root. A user's process gets the user's ids, groups and a fresh environment, but no login session. */
  user?: string;
}

const bootLimitMs = 120_000;

/** Quotes words for a POSIX shell. */
function shellWords(argv: readonly string[]): string {
  return argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}

function mustHave(result: Result, what: string): string {
  if (result.code !== 0) {
    throw new Error(`${what} ended with ${result.code ?? result.signal}.\n${result.stdout}\n${result.stderr}`);
  }
  return result.stdout;
}

export class Machine {
  readonly name: string;
  readonly address: string;
  /** The machine's file system as this computer sees it, also while the machine is off. Without what it mounted itself. */
  readonly root: string;
  readonly #world: Namespaces;
  readonly #inside: string;
  readonly #group: string;
  readonly #binds: string[];
  readonly #disks: Disk[] = [];
  #guest: Running | null = null;
  #init = 0;

  /** `binds`: further nspawn options. */
  constructor(world: Namespaces, name: string, address: string, binds: readonly string[]) {
    this.#world = world;
    this.name = name;
    this.address = address;
    this.#inside = join(world.folder, name, "root");
    this.root = world.seen(this.#inside);
    this.#group = join("/sys/fs/cgroup", world.name, name);
    this.#binds = [...binds];
  }

  /** Mounts the machine's own layer over read-only ones (the topmost first), and makes its disks. */
  async assemble(layers: readonly string[], before: () => void | Promise<void>, disks: readonly DiskOptions[]) {
    const own = join(this.#world.folder, this.name);
    for (const folder of ["root", "upper", "work"]) {
      mkdirSync(join(own, folder), { recursive: true });
    }
    const upper = `upperdir=${join(own, "upper")},workdir=${join(own, "work")}`;
    const options = `lowerdir=${layers.join(":")},${upper},index=off,redirect_dir=off,metacopy=off`;
    await this.#world.must(["mount", "-t", "overlay", "overlay", "-o", options, this.#inside]);
    await before();
    for (const [index, { path, megabytes }] of disks.entries()) {
      const disk = new Disk(this.#world, `${this.name}-disk${index}`, path);
      await disk.make(this.#inside, megabytes ?? 256);
      this.#disks.push(disk);
      this.#binds.push(`--bind=${disk.mounted}:${path}`);
    }
  }

  /** Pid of the machine's init as this computer sees it; 0 while it is off. */
  get init(): number {
    return this.#init;
  }

  /** Switches the machine on and waits until it has booted and sshd answers. */
  async start(): Promise<void> {
    if (this.#guest !== null) {
      throw new Error(`${this.name} is on already`);
    }
    mkdirSync(this.#world.seen(this.#group), { recursive: true });
    // A bridge port whose guest was killed goes a moment later.
    await this.#world.run(["ip", "link", "delete", `vb-${this.name}`]);
    const nspawn = [
      ...["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", `--directory=${this.#inside}`],
      ...[`--machine=${this.name}`, `--hostname=${this.name}`, "--network-bridge=br0", "--settings=no"],
      ...["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only", ...this.#binds],
    ];
    const script = fileURLToPath(new URL("machine.sh", import.meta.url));
    const words = ["unshare", "--mount", "bash", script, this.#group, this.#world.folder, this.name, ...nspawn];
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" };
    this.#guest = launch(this.#world.argv(words), { env, limitMs: 24 * 3_600_000 });
    const log = openSync(this.#consoleFile, "a");
    this.#guest.child.stdout?.on("data", (chunk: Buffer) => writeSync(log, chunk));
    this.#guest.child.stderr?.on("data", (chunk: Buffer) => writeSync(log, chunk));
    this.#guest.child.once("close", () => closeSync(log));
    try {
      await this.untilBooted();
    } catch (error) {
      throw new Error(`${this.name} did not boot: ${String(error)}\n${this.tail()}`, { cause: error });
    }
  }

  /** Waits until the machine has booted, for instance after a `reboot` was typed on it. */
  async untilBooted(): Promise<void> {
    const scope = this.#world.seen(join(this.#group, "payload/init.scope/cgroup.procs"));
    const first = (): number => (existsSync(scope) ? Number(readFileSync(scope, "utf8").split("\n")[0]) : 0);
    this.#init = await until(first, `${this.name}'s systemd`, bootLimitMs);
    const booted = async (): Promise<boolean> => {
      const state = await this.run(["systemctl", "is-system-running", "--wait"]);
      return /^(running|degraded)$/.test(state.stdout.trim());
    };
    await until(booted, `${this.name} to finish booting`, bootLimitMs);
    const greeting = `exec 3<>/dev/tcp/${this.address}/22 && read -r -t 5 -u 3 line && [[ $line = SSH-* ]]`;
    const answers = async (): Promise<boolean> => (await this.#world.run(["bash", "-c", greeting])).code === 0;
    await until(answers, `${this.name}'s sshd`, bootLimitMs);
  }

  /** Runs a program, or a bash script, on the machine. Works also while its network is cut. */
  async run(what: readonly string[] | string, options: MachineRunOptions = {}): Promise<Result> {
    return await this.launch(what, options).ended;
  }

  /** Like run, for what must succeed; returns what it printed. */
  async must(what: readonly string[] | string, options: MachineRunOptions = {}): Promise<string> {
    return mustHave(await this.run(what, options), `${JSON.stringify(what)} on ${this.name}`);
  }

  /** Starts a program on the machine. It belongs to the machine: a power loss ends it. */
  launch(what: readonly string[] | string, options: MachineRunOptions = {}): Running {
    if (this.#guest === null) {
      throw new Error(`${this.name} is off`);
    }
    const words = typeof what === "string" ? ["bash", "-c", what] : what;
    const { user, env, cwd, ...rest } = options;
    const settings = Object.entries(env ?? {}).map(([key, value]) => `${key}=${value}`);
    const ids = user === undefined ? [] : [`--reuid=${user}`, `--regid=${user}`, "--init-groups"];
    const folder = cwd ?? (user === undefined ? "/root" : `/home/${user}`);
    const spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"];
    const argv = [
      ...["sh", "-c", 'echo 0 >"$1" && shift && exec "$@"', "sh"],
      ...[this.#world.seen(join(this.#group, "payload/cgroup.procs")), "nsenter", `--target=${this.#init}`, ...spaces],
      ...["--", "env", `--chdir=${folder}`, "setpriv", ...ids, "--reset-env", "--", "env", "LANG=C.UTF-8", ...settings],
      ...words,
    ];
    return launch(argv, rest);
  }

  /** A real login: runs a program or a script by ssh as this user, with the user's key, from this computer's side. */
  async ssh(user: string, what: readonly string[] | string, options: RunOptions = {}): Promise<Result> {
    return await this.#world.run(this.#sshWords(user, what), options);
  }

  /** Like ssh, for what must succeed; returns what it printed. */
  async sshMust(user: string, what: readonly string[] | string, options: RunOptions = {}): Promise<string> {
    return mustHave(await this.ssh(user, what, options), `${JSON.stringify(what)} by ssh on ${this.name}`);
  }

  #sshWords(user: string, what: readonly string[] | string): string[] {
    const config = join(this.#world.folder, "ssh_config");
    const command = typeof what === "string" ? what : shellWords(what);
    return ["ssh", "-F", config, "-T", `${user}@${this.name}`, "--", command];
  }

  /** Cuts the machine's network, as a broken switch would: no frame gets through, and neither side is told. */
  async cut(): Promise<void> {
    await this.#world.must(["ip", "link", "set", `vb-${this.name}`, "nomaster"]);
  }

  /** Ends a cut. */
  async join(): Promise<void> {
    await this.#world.must(["ip", "link", "set", `vb-${this.name}`, "master", "br0"]);
  }

  /** Power loss: every process ends at once, without a word; its disks lose what was not fsynced. */
  async kill(): Promise<void> {
    writeFileSync(this.#world.seen(join(this.#group, "cgroup.kill")), "1");
    await this.#off();
    for (const disk of this.#disks) {
      await disk.losePower();
      await disk.mount();
    }
  }

  /** Shuts the machine down in order. */
  async stop(): Promise<void> {
    await this.run(["systemctl", "poweroff"]);
    await this.#off();
  }

  /** Moves the layer that holds everything that this machine has changed to a folder on the same disk. The machine must be off. */
  async keepLayer(folder: string): Promise<void> {
    await this.#world.must(["umount", this.#inside]);
    renameSync(join(this.#world.folder, this.name, "upper"), folder);
  }

  async #off(): Promise<void> {
    const group = this.#world.seen(this.#group);
    const empty = (): boolean => readFileSync(join(group, "cgroup.events"), "utf8").includes("populated 0");
    await until(empty, `${this.name} to be off`, bootLimitMs);
    await this.#guest?.ended;
    await this.#world.must([
      "find",
      this.#group,
      "-mindepth",
      "1",
      "-depth",
      "-type",
      "d",
      "-exec",
      "rmdir",
      "{}",
      ";",
    ]);
    this.#guest = null;
    this.#init = 0;
  }

  /** Lays a small file system over a folder of the running machine, with what lies there now. Gone with the power. */
  async makeSmall(path: string, megabytes: number): Promise<void> {
    const script = `set -e; mkdir -p "$1"; spare=$(mktemp -d); mount -t tmpfs -o size="$2"m tmpfs "$spare"
      cp -a "$1/." "$spare/"; mount --bind "$spare" "$1"; umount "$spare"; rmdir "$spare"`;
    await this.must(["bash", "-c", script, "bash", path, String(megabytes)]);
  }

  /** Fills the file system on which the path lies, to the last byte. Refuses a large one: it is this computer's own disk. */
  async fill(path: string): Promise<void> {
    const script = `[ "$(df --output=size "$1" | tail -1)" -lt 2000000 ] || { echo "$1 lies on no small disk" >&2; exit 1; }
      dd if=/dev/zero of="$1/.filler" bs=64k 2>/dev/null; dd if=/dev/zero of="$1/.filler2" bs=1 count=65536 2>/dev/null
      [ "$(df --output=avail "$1" | tail -1)" -eq 0 ]`;
    await this.must(["bash", "-c", script, "bash", path]);
  }

  /** Removes what fill wrote. */
  async free(path: string): Promise<void> {
    await this.must(["rm", "-f", join(path, ".filler"), join(path, ".filler2")]);
  }

  get #consoleFile(): string {
    return join(this.#world.folder, `${this.name}.console`);
  }

  /** What the machine has written to its console. */
  console(): string {
    return existsSync(this.#consoleFile) ? readFileSync(this.#consoleFile, "utf8") : "";
  }

  /** What the machine's journal holds, one message a line, of one unit or of all. */
  async journal(unit?: string, options: readonly string[] = []): Promise<string> {
    const which = unit === undefined ? [] : [`--unit=${unit}`];
    return await this.must(["journalctl", "--no-pager", "--output=cat", ...which, ...options]);
  }

  /** The ends of console and journal; works while the machine is off. */
  tail(): string {
    return `--- console of ${this.name}\n${this.console().slice(-3_000)}`;
  }

  /** Like tail, with the journal. */
  async tell(): Promise<string> {
    const folder = join(this.root, "var/log/journal");
    const words = ["journalctl", "--no-pager", "--output=short-precise", "--lines=150", `--directory=${folder}`];
    const journal = statSync(folder, { throwIfNoEntry: false }) === undefined ? null : await run(words);
    return `${this.tail()}\n--- journal of ${this.name}\n${journal?.stdout ?? ""}`;
  }
}
