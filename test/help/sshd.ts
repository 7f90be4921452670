/**
 * A private OpenSSH server on a free loopback port: own config, own host key, PAM as the system's. The system's sshd and
 * its files are never read or touched. Used by tests that need a user's real login.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, must, type Running } from "./run.ts";
import { until } from "./until.ts";

export interface Sshd {
  port: number;
  /** The host's public key: type and base64. */
  hostKey: string;
  log: () => string;
  stop: () => Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Node raises its soft limit of open files to the hard one, and sshd would hand that on; a service gets 1024. */
const serviceLimits = ["prlimit", "--nofile=1024:", "--"];

export interface SshdPlace {
  /** A loopback address and a port of it; default: any free port. */
  address: string;
  port: number;
  /** Words before the program, which must end in it: in which namespaces it runs. */
  within: readonly string[];
}

/** Starts sshd; `lines` are added to its config, before everything else, where the first word counts. */
export async function startSshd(lines: readonly string[] = [], place: Partial<SshdPlace> = {}): Promise<Sshd> {
  const { address = "127.0.0.1", within = [] } = place;
  const dir = mkdtempSync(join(tmpdir(), "sky-sshd-"));
  chmodSync(dir, 0o755);
  const hostKeyFile = join(dir, "host_key");
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKeyFile]);
  // Debian's sshd wants its privilege separation folder, which only the system's unit makes.
  mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const port = place.port ?? (await freePort());
  const config = join(dir, "sshd_config");
  const text = [
    ...lines,
    `Port ${port}`,
    `ListenAddress ${address}`,
    `HostKey ${hostKeyFile}`,
    `PidFile ${join(dir, "pid")}`,
    "UsePAM yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "MaxStartups 200:30:400",
    "MaxSessions 100",
    "Subsystem sftp internal-sftp",
  ];
  writeFileSync(config, `${text.join("\n")}\n`);
  const running: Running = launch([...within, ...serviceLimits, "/usr/sbin/sshd", "-D", "-e", "-f", config], {
    limitMs: 3_600_000,
  });
  const stop = async (): Promise<void> => {
    running.child.kill("SIGTERM");
    await running.ended;
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await until(() => answers(address, port), `sshd on port ${port}: ${running.stderr()}`);
  } catch (error) {
    await stop();
    throw error;
  }
  const hostKey = readFileSync(`${hostKeyFile}.pub`, "utf8").split(" ").slice(0, 2).join(" ");
  return { port, hostKey, log: running.stderr, stop };
}

async function answers(address: string, port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(port, address);
    socket.setTimeout(1_000, () => socket.destroy());
    socket.once("data", (data) => {
      resolve(data.toString().startsWith("SSH-"));
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}
