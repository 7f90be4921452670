/**
 * Real machines for a test, on this one computer: `startMachines` boots as many as it is asked for in a world of their own
 * and removes everything afterwards, also when the test is killed. See README.md beside it. Needs root, debootstrap (once),
 * systemd-nspawn and ip.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Result, RunOptions } from "../help/run.ts";
import type { DiskOptions } from "./disk.ts";
import * as guest from "./guest-files.ts";
import { sweep } from "./identity.ts";
import { baseImage } from "./image.ts";
import { Machine } from "./machine.ts";
import { openWorld, type Namespaces } from "./world.ts";

export interface UserOptions {
  name: string;
  /** Default none. Groups that do not exist are made. */
  groups?: string[];
  /** Default false. True: sudo without a password. */
  sudo?: boolean;
  /** Default /bin/bash. */
  shell?: string;
}

export interface WorldOptions {
  /** Names, at most 8 letters each. The n-th gets the address 10.213.7.(10 + n), counting from 0. */
  machines: readonly string[];
  /** Ordinary users, with uids from 1001 in this order, the same on all machines. Default none. */
  users?: readonly (string | UserOptions)[];
  /** Default false: each machine has homes of its own. True: /home is one folder, as a network file system would be. */
  sharedHome?: boolean;
  /** Disks of a machine that lose on a power loss what was not fsynced. */
  disks?: Record<string, readonly DiskOptions[]>;
  /** Called for each machine before its first boot; `machine.root` can be written to. */
  before?: (machine: Machine) => void | Promise<void>;
  /** Read-only layers of a machine over the base image, the topmost first. Default none. */
  layers?: (machine: string) => readonly string[];
}

export interface World extends AsyncDisposable {
  /** A machine by its name. */
  machine: (name: string) => Machine;
  machines: readonly Machine[];
  users: readonly guest.MachineUser[];
  /** The world's own folder on this computer: files put here are removed with it. */
  folder: string;
  /** For `ssh -F`: knows all machines by name, their host keys, and the keys of root and of every user. */
  sshConfig: string;
  /** A private key's path: of a user, or `root`'s. */
  key: (user: string) => string;
  /** argv that runs a program of this computer in the machines' network, where their names resolve. */
  argv: (argv: readonly string[], cwd?: string) => string[];
  /** Runs a program of this computer in the machines' network. */
  run: (argv: readonly string[], options?: RunOptions) => Promise<Result>;
  /** Like run, for what must succeed; returns what it printed. */
  must: (argv: readonly string[], options?: RunOptions) => Promise<string>;
  /** What a person would look at after a failed test. */
  tell: () => Promise<string>;
  /** Ends and removes everything. */
  stop: () => Promise<void>;
}

const namePattern = /^[a-z][a-z0-9-]{0,7}$/;

/** Each guest's systemd and journal take about eight; all guests share root's. Usual kernels allow 128, a few worlds need more. */
const inotifyInstances = 1_024;
const inotifyLimit = "/proc/sys/fs/inotify/max_user_instances";

/** Raises the kernel's limit where it is low; where it may not be changed, as many machines run as fit. */
function makeRoom(): void {
  if (Number(readFileSync(inotifyLimit, "utf8")) < inotifyInstances) {
    try {
      writeFileSync(inotifyLimit, String(inotifyInstances));
    } catch {
      // A computer that does not let its root do that.
    }
  }
}

/** Boots the machines and waits until all of them answer. */
export async function startMachines(options: WorldOptions): Promise<World> {
  if (process.getuid?.() !== 0) {
    throw new Error("test machines need root");
  }
  makeRoom();
  const wrong = [...options.machines, ...namesOf(options)].find((name) => !namePattern.test(name));
  if (wrong !== undefined) {
    throw new Error(`'${wrong}': names are 1 to 8 of a-z, 0-9 and '-', and begin with a letter`);
  }
  await sweep();
  const image = await baseImage();
  const addresses = options.machines.map((name, index) => ({ name, address: `10.213.7.${10 + index}` }));
  const world = await openWorld(guest.hostsLines(addresses));
  try {
    return await boot(world, image, addresses, options);
  } catch (error) {
    await world.close();
    throw error;
  }
}

function namesOf(options: WorldOptions): string[] {
  return (options.users ?? []).map((user) => (typeof user === "string" ? user : user.name));
}

function usersOf(options: WorldOptions): guest.MachineUser[] {
  return (options.users ?? []).map((user, index) => ({
    ...{ groups: [], sudo: false, shell: "/bin/bash" },
    ...(typeof user === "string" ? { name: user } : user),
    uid: 1001 + index,
  }));
}

async function boot(
  world: Namespaces,
  image: string,
  addresses: readonly { name: string; address: string }[],
  options: WorldOptions,
): Promise<World> {
  const keyDir = join(world.folder, "keys");
  mkdirSync(keyDir, { mode: 0o700 });
  const users = usersOf(options);
  const key = (name: string): string => join(keyDir, name);
  const [admin, places, userKeys] = await Promise.all([
    guest.makeKey(key("root"), "root"),
    Promise.all(
      addresses.map(async (one) => ({ ...one, hostKey: await guest.makeKey(key(`host-${one.name}`), one.name) })),
    ),
    Promise.all(users.map(async ({ name }) => [name, await guest.makeKey(key(name), name)] as const)),
  ]);
  writeSshConfig(world.folder, places);
  const home = join(world.folder, "home");
  mkdirSync(home);
  const binds = options.sharedHome === true ? [`--bind=${home}:/home`] : [];
  const machines = addresses.map(({ name, address }) => new Machine(world, name, address, binds));
  const prepare = async (machine: Machine, place: guest.Place): Promise<void> => {
    guest.writeIdentity(machine.root, place, places, admin);
    guest.writeAccounts(machine.root, users);
    const homes = options.sharedHome === true ? home : join(machine.root, "home");
    guest.writeHomes(machine.root, homes, users, new Map(userKeys));
    await options.before?.(machine);
  };
  for (const [index, machine] of machines.entries()) {
    const place = places[index];
    const layers = [...(options.layers?.(machine.name) ?? []), image];
    if (place !== undefined) {
      await machine.assemble(layers, () => prepare(machine, place), options.disks?.[machine.name] ?? []);
    }
  }
  await Promise.all(machines.map((machine) => machine.start()));
  return worldOf(world, machines, users, key);
}

function writeSshConfig(folder: string, places: readonly guest.Place[]): void {
  const known = join(folder, "known_hosts");
  writeFileSync(known, guest.knownHosts(places));
  const hosts = places.flatMap(({ name, address }) => [`Host ${name} ${address}`, `  HostName ${address}`]);
  const all = [
    ...["Host *", `  UserKnownHostsFile ${known}`, "  GlobalKnownHostsFile /dev/null", "  StrictHostKeyChecking yes"],
    ...[`  IdentityFile ${join(folder, "keys")}/%r`, "  IdentitiesOnly yes", "  BatchMode yes", "  User root"],
    ...["  ConnectTimeout 10", "  LogLevel ERROR"],
  ];
  writeFileSync(join(folder, "ssh_config"), `${[...hosts, ...all].join("\n")}\n`);
}

function worldOf(
  world: Namespaces,
  machines: readonly Machine[],
  users: readonly guest.MachineUser[],
  key: (user: string) => string,
): World {
  const machine = (name: string): Machine => {
    const found = machines.find((one) => one.name === name);
    if (found === undefined) {
      throw new Error(`there is no machine '${name}' in this world`);
    }
    return found;
  };
  const tell = async (): Promise<string> => (await Promise.all(machines.map((one) => one.tell()))).join("\n");
  return {
    ...{ machine, machines, users, folder: world.folder, sshConfig: join(world.folder, "ssh_config"), key, tell },
    ...{ argv: world.argv, run: world.run, must: world.must, stop: world.close, [Symbol.asyncDispose]: world.close },
  };
}
