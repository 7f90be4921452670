/**
 * Where a connection goes and with what: the registration file's own values first, then what OpenSSH's configuration
 * says (asked of `ssh -G`, where ssh is installed), then OpenSSH's defaults. It connects to nothing and reads no key.
 * Called by client/ssh/connect.ts for the head and for every jump host.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { parseJumps, type Jump } from "../local/jumps.ts";

/** What is wanted of a host; null: as the configuration says. */
export interface Wanted {
  host: string;
  user: string | null;
  port: number | null;
  /** A private key's path. */
  identity: string | null;
  jumps: Jump[] | null;
  /** One OpenSSH public key line. */
  pinnedKey: string | null;
}

export interface Destination {
  /** As it was named; messages and `ssh` commands use it. */
  name: string;
  /** What is dialled. */
  host: string;
  port: number;
  user: string;
  /** Name in known_hosts when it is not the host's (HostKeyAlias). */
  alias: string | null;
  /** Existing private key files, in the order in which they are tried. */
  identities: string[];
  /** Socket of an SSH agent; null: none, or the file names a key of its own. */
  agent: string | null;
  jumps: Jump[];
  pinnedKey: string | null;
  /** The first is written to. */
  userKnownHosts: string[];
  globalKnownHosts: string[];
  hashKnownHosts: boolean;
}

const resolveLimitMs = 10_000;
const defaultIdentities = ["id_ed25519", "id_ecdsa", "id_rsa"];

/** Throws SkyError("ConnectionError") when the configuration asks for what only the ssh program can do. */
export async function resolveDestination(wanted: Wanted, env: NodeJS.ProcessEnv = process.env): Promise<Destination> {
  const config = await askOpenSsh(wanted, env);
  const first = (key: string): string | null => config.get(key)?.[0] ?? null;
  const home = homedir();
  const host = first("hostname") ?? wanted.host;
  const port = wanted.port ?? Number(first("port") ?? 22);
  const user = wanted.user ?? first("user") ?? userInfo().username;
  const expand = (path: string): string =>
    path
      .replace(/^~(?=\/|$)/, home)
      .replace(/%([dhprunLl%])/g, (all, letter: string) =>
        letter === "d"
          ? home
          : letter === "h"
            ? host
            : letter === "p"
              ? String(port)
              : letter === "r"
                ? user
                : letter === "u"
                  ? userInfo().username
                  : letter === "n"
                    ? wanted.host
                    : letter === "%"
                      ? "%"
                      : all,
      );
  const proxyCommand = first("proxycommand");
  if (proxyCommand !== null && proxyCommand !== "none" && wanted.jumps === null) {
    throw new SkyError(
      "ConnectionError",
      `~/.ssh/config sets a ProxyCommand for ${wanted.host}, which only the ssh program can run.`,
      "Write `transport: openssh` in the cluster's file, or use ProxyJump.",
    );
  }
  const paths = (key: string, fallback: string[]): string[] =>
    (first(key)?.split(/\s+/) ?? fallback).map(expand).filter((path) => path !== "none" && path !== "/dev/null");
  const named = config.get("identityfile") ?? defaultIdentities.map((file) => join(home, ".ssh", file));
  return {
    name: wanted.host,
    host,
    port,
    user,
    alias: first("hostkeyalias"),
    identities: wanted.identity === null ? named.map(expand).filter((path) => existsSync(path)) : [wanted.identity],
    agent: agentSocket(first("identityagent"), first("identitiesonly") === "yes", env, expand),
    jumps: wanted.jumps ?? parseJumps(first("proxyjump") ?? "none"),
    pinnedKey: wanted.pinnedKey,
    userKnownHosts: paths("userknownhostsfile", [join(home, ".ssh", "known_hosts")]),
    globalKnownHosts: paths("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts"]),
    hashKnownHosts: first("hashknownhosts") === "yes",
  };
}

function agentSocket(
  configured: string | null,
  identitiesOnly: boolean,
  env: NodeJS.ProcessEnv,
  expand: (path: string) => string,
): string | null {
  if (configured === "none" || identitiesOnly) {
    return null;
  }
  const fromEnv = configured?.startsWith("$") === true ? env[configured.slice(1)] : env["SSH_AUTH_SOCK"];
  const path =
    configured === null || configured === "SSH_AUTH_SOCK" || configured.startsWith("$") ? fromEnv : expand(configured);
  return path === undefined || path === "" || !existsSync(path) ? null : path;
}

/** Every line of `ssh -G` by its key. Empty where OpenSSH is not installed. */
async function askOpenSsh(wanted: Wanted, env: NodeJS.ProcessEnv): Promise<Map<string, string[]>> {
  const args = ["-G", "-T"];
  if (wanted.port !== null) {
    args.push("-p", String(wanted.port));
  }
  if (wanted.user !== null) {
    args.push("-l", wanted.user);
  }
  const output = await new Promise<string>((resolve, reject) => {
    const options = { env, timeout: resolveLimitMs, maxBuffer: 1024 * 1024 };
    const child = execFile("ssh", [...args, "--", wanted.host], options, (error, stdout, stderr) => {
      if (error === null) {
        resolve(stdout);
      } else if (error.code === "ENOENT") {
        resolve("");
      } else {
        reject(
          new SkyError(
            "ConnectionError",
            `OpenSSH's configuration cannot be read for ${wanted.host}: ${stderr.trim() || messageOf(error)}`,
            `Try: ssh -G ${wanted.host}`,
          ),
        );
      }
    });
    child.stdin?.end();
  });
  const config = new Map<string, string[]>();
  for (const line of output.split("\n")) {
    const space = line.indexOf(" ");
    if (space > 0) {
      const key = line.slice(0, space).toLowerCase();
      config.set(key, [...(config.get(key) ?? []), line.slice(space + 1).trim()]);
    }
  }
  return config;
}
