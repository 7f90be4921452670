/**
 * Every Redis or Valkey on the machine, ours and others: does it listen beyond this machine, does it ask for a password,
 * is it root's, has it known holes; and of ours whether it keeps what it acknowledges and whether its socket is closed.
 * Whoever reaches an open Redis can run code as its account.
 */
import type { Finding } from "../../shared/doctor.ts";
import { type Check, isOlder, type Site, some, speaker, versionOf } from "../check.ts";
import { ProbeFault, type Probes } from "../probes.ts";
import { redisPackages, redisServers } from "./known-holes.ts";

const say = speaker("redis");
const toolLimitMs = 5_000;

export interface Listener {
  address: string;
  port: number;
  pid: number;
}

/** Redis and Valkey servers in the output of `ss -Hltnp`. */
export function parseListeners(text: string): Listener[] {
  return text.split("\n").flatMap((row) => {
    const [, , , local = ""] = row.trim().split(/\s+/);
    const program = /users:\(\("(redis-server|valkey-server)",pid=(\d+)/.exec(row);
    const at = local.lastIndexOf(":");
    const address = local
      .slice(0, at)
      .replace(/^\[|\]$/g, "")
      .replace(/%.*$/, "");
    return program === null || at < 0 ? [] : [{ address, port: Number(local.slice(at + 1)), pid: Number(program[2]) }];
  });
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1" || address.startsWith("::ffff:127.");
}

/** `redis-cli` with these arguments; null when it is not installed. */
async function cli(probes: Probes, ...args: string[]): Promise<string | null> {
  try {
    return (await probes.tool(["redis-cli", "--raw", ...args], toolLimitMs)).stdout.trim();
  } catch (error) {
    if (error instanceof ProbeFault && error.kind === "missing") {
      return null;
    }
    throw error;
  }
}

async function judgePort(probes: Probes, port: number, listeners: readonly Listener[]): Promise<Finding[]> {
  const open = listeners.map((listener) => listener.address).filter((address) => !isLoopback(address));
  const host =
    open.includes("0.0.0.0") || open.includes("*") || open.includes("::")
      ? "127.0.0.1"
      : (listeners[0]?.address ?? "127.0.0.1");
  const access = host === "127.0.0.1" ? `-p ${port}` : `-h ${host} -p ${port}`;
  const answer = await cli(probes, "-h", host, "-p", String(port), "ping");
  const needsPassword = answer === null ? null : /NOAUTH|WRONGPASS|NOPERM/i.test(answer);
  const set = (command: string): string => `redis-cli ${access} ${command} && redis-cli ${access} config rewrite`;
  const found: Finding[] = [];
  if (open.length > 0) {
    const protectedText = needsPassword === false ? " and asks for no password" : "";
    const text = `A Redis server listens on ${some(open)} port ${port}${protectedText}.`;
    const why =
      "Exposed Redis servers are searched for and taken over all the time; this product's own has no port at all.";
    // With a password the admin has to give it; the command then asks for it by its error.
    found.push(say.error(text, why, set('config set bind "127.0.0.1 -::1"')));
  }
  if (needsPassword === false) {
    const why = "Every user of this machine can read it, change it and run code as its account.";
    found.push(
      say.warn(
        `The Redis server on port ${port} asks for no password.`,
        why,
        `p=$(openssl rand -hex 24); redis-cli ${access} config set requirepass "$p" && redis-cli -a "$p" ${access} config rewrite; echo "$p"`,
      ),
    );
  }
  return found;
}

/** Servers that run as root. */
async function judgeOwners(probes: Probes): Promise<Finding[]> {
  const answer = await probes.tool(["ps", "-e", "-o", "pid=,uid=,comm="], toolLimitMs);
  return answer.stdout.split("\n").flatMap((row) => {
    const [pid = "", uid = "", name = ""] = row.trim().split(/\s+/);
    if (!/^(redis|valkey)-server/.test(name) || uid !== "0") {
      return [];
    }
    const why = "Whoever finds a hole in it is root.";
    return [
      say.error(
        `${name} (process ${pid}) runs as root.`,
        why,
        `systemctl status ${pid} (which unit it is); systemctl edit UNIT: [Service] User=redis`,
      ),
    ];
  });
}

async function judgeVersion(probes: Probes, info: string): Promise<Finding[]> {
  const kind = /^server_name:valkey/m.test(info) ? "valkey" : "redis";
  const version = versionOf(
    /^(?:valkey_version|redis_version):(\S+)/m.exec(
      kind === "valkey" ? info.replace(/^redis_version:.*$/m, "") : info,
    )?.[1] ?? "",
  );
  if (version === null) {
    return [say.unknown("The Redis server does not say its version.")];
  }
  const why = "A client's script can run code in it.";
  const branch = redisServers[kind].find(({ fixed }) => fixed[0] === version[0] && fixed[1] === version[1]);
  if (branch !== undefined && !isOlder(version, branch.fixed)) {
    return [];
  }
  const newest = redisServers[kind].at(-1);
  if (newest !== undefined && branch === undefined && !isOlder(version, newest.fixed)) {
    return [];
  }
  // A distribution mends old versions under their old number: its package says more than the number.
  const name = `${kind}-server`;
  const upgrade = `apt-get update && apt-get install --only-upgrade ${name} && systemctl restart sky-redis`;
  const shown = await probes
    .tool(["dpkg-query", "--show", "--showformat=${Version}", name], toolLimitMs)
    .catch(() => null);
  const installed = shown?.code === 0 ? shown.stdout.trim() : null;
  const text = `${kind} ${version.join(".")}`;
  if (installed === null || !installed.includes(version.join("."))) {
    return [
      say.error(
        `${text} has known holes (${branch?.cves ?? newest?.cves}) and is no package of the distribution.`,
        why,
        null,
      ),
    ];
  }
  const known = redisPackages.find(({ prefix }) => installed.startsWith(prefix));
  if (known !== undefined) {
    const compared = await probes.tool(["dpkg", "--compare-versions", installed, "lt", known.fixed], toolLimitMs);
    return compared.code === 0
      ? [say.error(`${text} is the package ${installed}; ${known.fixed} has known holes fixed.`, why, upgrade)]
      : [];
  }
  const policy = await probes.tool(["apt-cache", "policy", name], toolLimitMs).catch(() => null);
  const candidate = /Candidate: (\S+)/.exec(policy?.stdout ?? "")?.[1];
  return candidate !== undefined && candidate !== "(none)" && candidate !== installed
    ? [say.warn(`${text} is the package ${installed}; ${candidate} is there.`, why, upgrade)]
    : [];
}

async function judgeOwn(probes: Probes, socket: string): Promise<Finding[]> {
  const found: Finding[] = [];
  const folder = socket.slice(0, socket.lastIndexOf("/"));
  const stat = await probes.tool(["stat", "--format=%a %U", socket, folder], toolLimitMs);
  const [own = "", parent = ""] = stat.stdout.trim().split("\n");
  if (stat.code !== 0) {
    return [
      say.error(
        `There is no socket ${socket}: this cluster's Redis does not run.`,
        "The coordinator accepts nothing without it.",
        "systemctl restart sky-redis; journalctl --unit sky-redis --lines 20 --no-pager",
      ),
    ];
  }
  const isOpen = (row: string): boolean => !/^[0-7]*00$/.test(row.split(" ")[0] ?? "");
  if (isOpen(own) && isOpen(parent)) {
    found.push(
      say.error(
        `${socket} can be reached by other accounts (mode ${own.split(" ")[0]} in a folder of mode ${parent.split(" ")[0]}).`,
        "Whoever opens it can change every user's jobs.",
        `chmod 700 ${folder} ${socket}`,
      ),
    );
  }
  const info = await cli(probes, "-s", socket, "info", "server");
  if (info === null) {
    return [
      ...found,
      say.unknown(
        "redis-cli is not installed: the running server was not asked.",
        undefined,
        "apt-get install -y redis-tools",
      ),
    ];
  }
  for (const [key, wanted] of [
    ["appendonly", "yes"],
    ["appendfsync", "always"],
  ] as const) {
    const answer = (await cli(probes, "-s", socket, "config", "get", key)) ?? "";
    const value = answer.split("\n")[1]?.trim();
    if (value !== wanted) {
      const why = "Jobs that were acknowledged can be lost when the power fails.";
      found.push(
        say.error(
          `This cluster's Redis has ${key} ${value ?? `(it said: ${answer.slice(0, 100)})`}.`,
          why,
          `redis-cli -s ${socket} config set ${key} ${wanted}; grep -n ${key} /etc/sky-onprem/redis.conf`,
        ),
      );
    }
  }
  return [...found, ...(await judgeVersion(probes, info))];
}

export const redis: Check = {
  id: "redis",
  async run(probes: Probes, site: Site) {
    const listeners = parseListeners((await probes.tool(["ss", "-Hltnp"], toolLimitMs)).stdout);
    const ports = [...new Set(listeners.map((listener) => listener.port))].slice(0, 20);
    const found = (
      await Promise.all(
        ports.map((port) =>
          judgePort(
            probes,
            port,
            listeners.filter((each) => each.port === port),
          ),
        ),
      )
    ).flat();
    found.push(...(await judgeOwners(probes)));
    const socket = site.head?.redisSocket ?? null;
    if (socket !== null) {
      found.push(...(await judgeOwn(probes, socket)));
    }
    if (found.length > 0) {
      return found;
    }
    const own =
      socket === null
        ? "This machine is not the head."
        : "This cluster's Redis is private and keeps what it acknowledges.";
    return [
      say.ok(
        ports.length === 0
          ? `No Redis listens on a port. ${own}`
          : `Redis on port ${ports.join(", ")} is closed to others. ${own}`,
      ),
    ];
  },
};
