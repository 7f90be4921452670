/**
 * What is written into a machine's file system before its first boot: its name and address, names of the others, host
 * keys, users with their homes and SSH keys. Everything that a real admin's machines would have, and nothing of the
 * product. Called by machines.ts.
 */
import { createHash } from "node:crypto";
import { appendFileSync, chownSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { must } from "../help/run.ts";

export interface MachineUser {
  name: string;
  /** Also the user's group id. The same on every machine. */
  uid: number;
  /** Further groups; made (with a system id) where they do not exist. */
  groups: string[];
  /** May use sudo without a password. */
  sudo: boolean;
  shell: string;
}

export interface KeyPair {
  /** Path of the private key on this computer. */
  file: string;
  /** Type and base64. */
  public: string;
}

export interface Place {
  name: string;
  address: string;
  hostKey: KeyPair;
}

export async function makeKey(file: string, comment: string): Promise<KeyPair> {
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", file]);
  return { file, public: readFileSync(`${file}.pub`, "utf8").split(" ").slice(0, 2).join(" ") };
}

/** Lines of /etc/hosts. Without a machine's own name in it, each `sudo` there would wait for DNS. */
export function hostsLines(places: readonly { name: string; address: string }[]): string {
  return ["127.0.0.1 localhost", ...places.map(({ name, address }) => `${address} ${name}`), ""].join("\n");
}

export function knownHosts(places: readonly Place[]): string {
  return places.map(({ name, address, hostKey }) => `${name},${address} ${hostKey.public}\n`).join("");
}

/** Writes a file of root's below a machine's root. */
export function writeGuestFile(root: string, path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text, { mode });
}

/** Name, address, host key, root's key. */
export function writeIdentity(root: string, place: Place, all: readonly Place[], admin: KeyPair): void {
  const write = (path: string, text: string, mode?: number): void => writeGuestFile(root, path, text, mode);
  write("/etc/hostname", `${place.name}\n`);
  write("/etc/hosts", hostsLines(all));
  write("/etc/machine-id", `${createHash("sha256").update(place.name).digest("hex").slice(0, 32)}\n`);
  // The name sorts before systemd's own file for such an interface.
  const network = [
    "[Match]",
    "Name=host0",
    "[Link]",
    "RequiredForOnline=no",
    "[Network]",
    `Address=${place.address}/24`,
  ];
  const always = ["LinkLocalAddressing=no", "IPv6AcceptRA=no", "ConfigureWithoutCarrier=yes", "IgnoreCarrierLoss=yes"];
  write("/etc/systemd/network/10-host0.network", `${[...network, ...always].join("\n")}\n`);
  write("/etc/ssh/ssh_host_ed25519_key", readFileSync(place.hostKey.file, "utf8"), 0o600);
  write("/etc/ssh/ssh_host_ed25519_key.pub", `${place.hostKey.public}\n`);
  write("/etc/ssh/ssh_known_hosts", knownHosts(all));
  mkdirSync(join(root, "root/.ssh"), { recursive: true, mode: 0o700 });
  write("/root/.ssh/authorized_keys", `${admin.public}\n`, 0o600);
}

/** Appends the users to a machine's account files. */
export function writeAccounts(root: string, users: readonly MachineUser[]): void {
  const append = (path: string, line: string): void => appendFileSync(join(root, path), `${line}\n`);
  for (const { name, uid, sudo, shell } of users) {
    append("/etc/passwd", `${name}:x:${uid}:${uid}:${name}:/home/${name}:${shell}`);
    append("/etc/group", `${name}:x:${uid}:`);
    // "*" instead of "!": the account is not locked, it only has no password.
    append("/etc/shadow", `${name}:*:19000:0:99999:7:::`);
    if (sudo) {
      writeGuestFile(root, `/etc/sudoers.d/${name}`, `${name} ALL=(ALL:ALL) NOPASSWD: ALL\n`, 0o440);
    }
  }
  const file = join(root, "etc/group");
  for (const [index, group] of [...new Set(users.flatMap(({ groups }) => groups))].entries()) {
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    const members = users.filter(({ groups }) => groups.includes(group)).map(({ name }) => name);
    const known = lines.findIndex((line) => line.startsWith(`${group}:`));
    const own = lines[known] ?? `${group}:x:${800 + index}:`;
    lines[known < 0 ? lines.length : known] = `${own}${own.endsWith(":") ? "" : ","}${members.join(",")}`;
    writeFileSync(file, `${lines.join("\n")}\n`);
  }
}

/** Makes the users' homes (on a machine, or once for all) with a key pair that lets them in everywhere. */
export function writeHomes(
  root: string,
  homes: string,
  users: readonly MachineUser[],
  keys: Map<string, KeyPair>,
): void {
  for (const { name, uid } of users) {
    const home = join(homes, name);
    const key = keys.get(name);
    if (existsSync(home) || key === undefined) {
      continue;
    }
    cpSync(join(root, "etc/skel"), home, { recursive: true });
    const ssh = join(home, ".ssh");
    mkdirSync(ssh, { mode: 0o700 });
    writeFileSync(join(ssh, "id_ed25519"), readFileSync(key.file), { mode: 0o600 });
    writeFileSync(join(ssh, "id_ed25519.pub"), `${key.public} ${name}\n`);
    writeFileSync(join(ssh, "authorized_keys"), `${key.public} ${name}\n`, { mode: 0o600 });
    const inside = [".bash_logout", ".bashrc", ".profile"].filter((file) => existsSync(join(home, file)));
    const own = [...inside, ".ssh", ".ssh/id_ed25519", ".ssh/id_ed25519.pub", ".ssh/authorized_keys", ""];
    for (const path of own) {
      chownSync(join(home, path), uid, uid);
    }
  }
}
