/**
 * OpenSSH's known_hosts: which keys a host is known by (names, wildcards, `[host]:port`, hashed names, `@revoked`), and
 * adding one. Certificate authorities are passed over: a host with a certificate also has a plain key, or needs
 * `transport: openssh`. It judges nothing; client/ssh/host-key.ts does.
 */
import { createHmac, randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";

export interface KnownKey {
  /** `ssh-ed25519` and so on. */
  type: string;
  /** Base64 of the key. */
  key: string;
  revoked: boolean;
  file: string;
  line: number;
}

const fileBytesMax = 16 * 1024 * 1024;

/** The name under which known_hosts keeps a host: bare on port 22, `[host]:port` elsewhere. */
export function knownHostsName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/** Every key of `name` in these files, in order. Files that do not exist or cannot be read hold none. */
export function knownKeys(files: readonly string[], name: string): KnownKey[] {
  return files.flatMap((file) => keysInFile(file, name));
}

function keysInFile(file: string, name: string): KnownKey[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8").slice(0, fileBytesMax);
  } catch {
    return [];
  }
  return text.split("\n").flatMap((line, index) => {
    const found = parseLine(line, name);
    return found === null ? [] : [{ ...found, file, line: index + 1 }];
  });
}

function parseLine(line: string, name: string): Pick<KnownKey, "type" | "key" | "revoked"> | null {
  const words = line.trim().split(/\s+/);
  const marker = words[0]?.startsWith("@") === true ? words.shift() : undefined;
  const [names, type, key] = words;
  if (names === undefined || type === undefined || key === undefined || names.startsWith("#")) {
    return null;
  }
  if (marker !== undefined && marker !== "@revoked") {
    return null;
  }
  return matchesNames(names, name) ? { type, key, revoked: marker === "@revoked" } : null;
}

function matchesNames(names: string, name: string): boolean {
  if (names.startsWith("|1|")) {
    const [, , salt, hash] = names.split("|");
    return salt !== undefined && hash !== undefined && hashName(name, Buffer.from(salt, "base64")) === hash;
  }
  const patterns = names.toLowerCase().split(",");
  const matching = patterns.filter((pattern) => matchesPattern(pattern.replace(/^!/, ""), name));
  return matching.length > 0 && !matching.some((pattern) => pattern.startsWith("!"));
}

/** `*` and `?`, matched without backtracking over more than one star at a time. */
function matchesPattern(pattern: string, name: string): boolean {
  let at = 0;
  let from = 0;
  let star = -1;
  let resume = 0;
  while (from < name.length) {
    if (pattern[at] === "*") {
      star = at;
      resume = from;
      at += 1;
    } else if (pattern[at] === "?" || pattern[at] === name[from]) {
      at += 1;
      from += 1;
    } else if (star >= 0) {
      at = star + 1;
      resume += 1;
      from = resume;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}

function hashName(name: string, salt: Buffer): string {
  return createHmac("sha1", salt).update(name).digest("base64");
}

/** Adds a key (0600; the folder 0700 when it is new). `hashed`: hide the name, as `HashKnownHosts yes` asks. */
export function addKnownKey(file: string, name: string, type: string, key: string, hashed: boolean): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  let before = "";
  try {
    before = readFileSync(file, "utf8");
  } catch {
    // A new file.
  }
  let shown = name;
  if (hashed) {
    const salt = randomBytes(20);
    shown = `|1|${salt.toString("base64")}|${hashName(name, salt)}`;
  }
  const gap = before === "" || before.endsWith("\n") ? "" : "\n";
  appendFileSync(file, `${gap}${shown} ${type} ${key}\n`, { mode: 0o600 });
}
