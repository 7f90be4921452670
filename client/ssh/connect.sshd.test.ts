/**
 * The way to the head through a real sshd on loopback, to a small server on a unix socket that stands for the
 * coordinator: both transports, the gate, jump hosts, host keys, and what is said when something is wrong. The `ssh`
 * program is found through a folder of the test's own, whose config keeps known_hosts out of the caller's home.
 */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { delimiter, join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { launch, must } from "../../test/help/run.ts";
import { freePort, type Sshd, startSshd } from "../../test/help/sshd.ts";
import { until } from "../../test/help/until.ts";
import { SkyError } from "../../shared/errors.ts";
import { Transport } from "../sdk/transport.ts";
import { readRegistration, type RegisteredCluster } from "../local/registered.ts";
import { connectHead } from "./connect.ts";
import type { HeadConnection } from "./head.ts";
import type { Ask } from "./host-key.ts";

let dir: string;
let open: Sshd;
let closed: Sshd;
let coordinator: Server;
let socket: string;
let gate: string;
let key: string;
let otherKey: string;
let lockedKey: string;
let knownHosts: string;
const oldPath = process.env["PATH"] ?? "";
const me = userInfo().username;
const connections: HeadConnection[] = [];

const nobody: Ask = {
  interactive: false,
  confirmHostKey: () => Promise.reject(new Error("nobody is there")),
  passphrase: () => Promise.reject(new Error("nobody is there")),
};

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "sky-connect-"));
  chmodSync(dir, 0o755);
  key = join(dir, "id");
  otherKey = join(dir, "id_other");
  lockedKey = join(dir, "id_locked");
  knownHosts = join(dir, "known_hosts");
  for (const [path, passphrase] of [
    [key, ""],
    [otherKey, ""],
    [lockedKey, "open sesame"],
  ] as const) {
    await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path]);
  }
  const authorized = join(dir, "authorized_keys");
  writeFileSync(authorized, readFileSync(`${key}.pub`, "utf8") + readFileSync(`${lockedKey}.pub`, "utf8"), {
    mode: 0o644,
  });
  const lines = [`AuthorizedKeysFile ${authorized}`, "StrictModes no", "PermitRootLogin prohibit-password"];
  open = await startSshd(lines);
  closed = await startSshd([...lines, "AllowStreamLocalForwarding no"]);

  socket = join(dir, "api.sock");
  // Says back what it hears, and ends when the other side has: half-closed connections must work.
  coordinator = createServer({ allowHalfOpen: true }, (peer) => {
    peer.on("error", () => peer.destroy());
    peer.pipe(peer);
  });
  await new Promise<void>((resolve) => coordinator.listen(socket, resolve));

  const bundle = join(dir, "gate.mjs");
  await build({
    stdin: {
      contents: `import { runGate } from ${JSON.stringify(fileURLToPath(new URL("./gate.ts", import.meta.url)))};
        process.exit(await runGate(process.argv[4]));`,
      resolveDir: dir,
    },
    bundle: true,
    platform: "node",
    format: "esm",
    outfile: bundle,
  });
  gate = join(dir, "sky 'gate'");
  writeFileSync(gate, `#!/bin/sh\necho "noise of a login shell"\nexec '${process.execPath}' '${bundle}' "$@"\n`, {
    mode: 0o755,
  });

  const bin = join(dir, "bin");
  await must(["mkdir", bin]);
  const config = join(dir, "ssh_config");
  writeFileSync(
    config,
    `Host *\n  UserKnownHostsFile ${knownHosts}\n  GlobalKnownHostsFile /dev/null\n  IdentityFile none\n`,
  );
  writeFileSync(join(bin, "ssh"), `#!/bin/sh\nexec /usr/bin/ssh -F '${config}' "$@"\n`, { mode: 0o755 });
  process.env["PATH"] = `${bin}${delimiter}${oldPath}`;
  delete process.env["SSH_AUTH_SOCK"];
});

afterAll(async () => {
  process.env["PATH"] = oldPath;
  for (const connection of connections) {
    connection.close();
  }
  // Pins live in files for the ssh program; those that failed to connect have closed theirs themselves.
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith("sky-pin-") && !pinsBefore.has(name))).toEqual([]);
  coordinator.close();
  await open.stop();
  await closed.stop();
  rmSync(dir, { recursive: true, force: true });
});

const pinsBefore = new Set(readdirSync(tmpdir()));

beforeEach(() => rmSync(knownHosts, { force: true }));

interface Choices {
  port?: number;
  auth?: Record<string, unknown>;
  hostKey?: string | null;
  identity?: string;
  transport?: string;
  coordinator?: Record<string, unknown>;
  host?: string;
}

/** Through the registration file's own reader, so that the keys of the file are what is tested. */
function cluster(choices: Choices = {}): RegisteredCluster {
  const { hostKey = open.hostKey } = choices;
  const file = {
    cluster: { name: "lab", ips: [choices.host ?? "127.0.0.1"] },
    auth: {
      ssh_user: me,
      ssh_private_key: choices.identity ?? key,
      port: choices.port ?? open.port,
      ...(hostKey === null ? {} : { host_key: hostKey }),
      ...choices.auth,
    },
    transport: choices.transport ?? "ssh2",
    coordinator: { socket, gate, ...choices.coordinator },
  };
  return readRegistration(JSON.stringify(file), "lab.yml");
}

async function connected(choices: Choices = {}, ask: Ask = nobody): Promise<HeadConnection> {
  const connection = await connectHead(cluster(choices), ask);
  connections.push(connection);
  return connection;
}

async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/** Sends, closes this direction, and gives what comes back until the other side has closed too. */
async function echo(stream: Duplex, data: Buffer): Promise<Buffer> {
  const answer = readAll(stream);
  stream.end(data);
  return answer;
}

async function faultOf(action: Promise<unknown>): Promise<SkyError> {
  try {
    await action;
  } catch (error) {
    if (error instanceof SkyError) {
      return error;
    }
    throw error;
  }
  throw new Error("it worked");
}

const ways: [string, () => Choices][] = [
  ["ssh2, forwarded", () => ({})],
  ["ssh2, through the gate", () => ({ port: closed.port, hostKey: closed.hostKey })],
  ["the ssh program", () => ({ transport: "openssh" })],
];

describe.each(ways)("%s", (_name, choices) => {
  test("streams carry bytes both ways and close one direction at a time", async () => {
    const head = await connected(choices());
    expect((await echo(await head.openStream(), Buffer.from("hello\n"))).toString()).toBe("hello\n");
    const [one, two] = await Promise.all([head.openStream(), head.openStream()]);
    expect((await echo(two, Buffer.from("2"))).toString()).toBe("2");
    expect((await echo(one, Buffer.from("1"))).toString()).toBe("1");
    head.close();
  });

  test("50 MB there and back stay whole", async () => {
    const head = await connected(choices());
    const data = randomBytes(50 * 1024 * 1024);
    const hash = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    expect(hash(await echo(await head.openStream(), data))).toBe(hash(data));
    head.close();
  });

  test("no coordinator: the socket is named", async () => {
    const missing = join(dir, "nothing.sock");
    const fault = await faultOf(
      connected({ ...choices(), coordinator: { socket: missing } }).then((head) => head.openStream()),
    );
    expect(fault.message).toContain(`no coordinator answers at ${missing}`);
    expect(fault.message).toContain(`${me}@127.0.0.1`);
    expect(fault.hint).toContain("systemctl start sky-coordinator");
  });

  test("a wrong key: the key, the user and the machine are named", async () => {
    const fault = await faultOf(connected({ ...choices(), identity: otherKey }).then((head) => head.openStream()));
    expect(fault.type).toBe("ConnectionError");
    expect(fault.message).toContain(`Cannot connect to ${me}@127.0.0.1:`);
    expect(fault.message).toContain("permission denied");
    expect(fault.message).toContain(otherKey);
    expect(fault.hint).toContain("ssh-copy-id");
  });

  test("no such user", async () => {
    const fault = await faultOf(
      connected({ ...choices(), auth: { ssh_user: "sky-no-such-user" } }).then((head) => head.openStream()),
    );
    expect(fault.message).toMatch(/sky-no-such-user@127\.0\.0\.1:\d+: permission denied/);
  });

  test("a refused port", async () => {
    const port = await freePort();
    const fault = await faultOf(connected({ ...choices(), port }).then((head) => head.openStream()));
    expect(fault.message).toContain(`127.0.0.1:${port} (connection refused)`);
  });

  test("a name that does not exist", async () => {
    const fault = await faultOf(
      connected({ ...choices(), host: "no-such-host.invalid" }).then((head) => head.openStream()),
    );
    expect(fault.message).toContain("no-such-host.invalid cannot be resolved");
  });

  test("another key than the pinned one", async () => {
    const hostKey = readFileSync(`${otherKey}.pub`, "utf8").trim();
    const fault = await faultOf(connected({ ...choices(), hostKey }).then((head) => head.openStream()));
    expect(fault.message.toLowerCase()).toContain("host key");
  });

  test("a key that is not known, and nobody to ask", async () => {
    const fault = await faultOf(connected({ ...choices(), hostKey: null }).then((head) => head.openStream()));
    expect(fault.message.toLowerCase()).toContain("host key");
  });
});

describe("the gate", () => {
  test("sshd forbids forwarding and there is no gate", async () => {
    const head = await connected({ port: closed.port, hostKey: closed.hostKey, coordinator: { gate: "/no/such/sky" } });
    const fault = await faultOf(head.openStream());
    expect(fault.message).toContain("sshd there forbids stream forwarding, and '/no/such/sky' cannot be run instead");
    expect(fault.hint).toContain("AllowStreamLocalForwarding yes");
    head.close();
  });

  test("no gate with the ssh program", async () => {
    const fault = await faultOf(connected({ transport: "openssh", coordinator: { gate: "/no/such/sky" } }));
    expect(fault.message).toContain("'/no/such/sky' cannot be run");
  });
});

describe("host keys by known_hosts", () => {
  const fingerprint = /SHA256:[A-Za-z0-9+/]{43}/;
  const yes = (asked: string[], answer = true): Ask => ({
    interactive: true,
    confirmHostKey: async (host, type, shown) => {
      asked.push(`${host} ${type} ${shown}`);
      return answer;
    },
    passphrase: async () => null,
  });

  test("unknown, and nobody to ask: refused with the fingerprint and how to add it", async () => {
    const fault = await faultOf(connected({ hostKey: null }));
    expect(fault.message).toContain(`127.0.0.1:${open.port} is not known: ssh-ed25519`);
    expect(fault.message).toMatch(fingerprint);
    expect(fault.hint).toContain(`echo '[127.0.0.1]:${open.port} ${open.hostKey}' >> ${knownHosts}`);
  });

  test("unknown: asked once, kept in a private file, known from then on", async () => {
    const asked: string[] = [];
    (await connected({ hostKey: null }, yes(asked))).close();
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatch(fingerprint);
    expect(readFileSync(knownHosts, "utf8")).toBe(`[127.0.0.1]:${open.port} ${open.hostKey}\n`);
    (await connected({ hostKey: null })).close();
  });

  test("unknown: a no is a no", async () => {
    expect((await faultOf(connected({ hostKey: null }, yes([], false)))).message).toContain("was not accepted");
  });

  test("changed: refused, naming file and line, whoever is there", async () => {
    const other = readFileSync(`${otherKey}.pub`, "utf8").split(" ").slice(0, 2).join(" ");
    writeFileSync(knownHosts, `# first line\n[127.0.0.1]:${open.port} ${other}\n`);
    const asked: string[] = [];
    const fault = await faultOf(connected({ hostKey: null }, yes(asked)));
    expect(fault.message).toContain("has changed");
    expect(fault.message).toContain(`${knownHosts}:2`);
    expect(fault.hint).toContain("ssh-keygen -R");
    expect(asked).toEqual([]);
  });

  test("what ssh-keyscan and ssh-keygen -H write is understood", async () => {
    writeFileSync(knownHosts, `[127.0.0.1]:${open.port} ${open.hostKey}\n`);
    await must(["ssh-keygen", "-q", "-H", "-f", knownHosts]);
    expect(readFileSync(knownHosts, "utf8")).toMatch(/^\|1\|/);
    (await connected({ hostKey: null })).close();
  });

  test("@revoked is refused", async () => {
    writeFileSync(knownHosts, `[127.0.0.1]:${open.port} ${open.hostKey}\n@revoked * ${open.hostKey}\n`);
    expect((await faultOf(connected({ hostKey: null }))).message).toContain(`is marked @revoked in ${knownHosts}:2`);
  });
});

describe("keys", () => {
  const withPassphrase = (passphrase: string | null, asked: string[] = []): Ask => ({
    interactive: true,
    confirmHostKey: async () => false,
    passphrase: async (path) => {
      asked.push(path);
      return passphrase;
    },
  });

  test("an encrypted key asks for its passphrase", async () => {
    const asked: string[] = [];
    (await connected({ identity: lockedKey }, withPassphrase("open sesame", asked))).close();
    expect(asked).toEqual([lockedKey]);
  });

  test("a wrong passphrase, none, and nobody to ask", async () => {
    expect((await faultOf(connected({ identity: lockedKey }, withPassphrase("wrong")))).message).toContain(
      "wrong passphrase",
    );
    expect((await faultOf(connected({ identity: lockedKey }, withPassphrase(null)))).message).toContain(
      "no passphrase given",
    );
    expect((await faultOf(connected({ identity: lockedKey }))).message).toContain("ssh-add");
  });

  test("a key file that does not exist", async () => {
    expect((await faultOf(connected({ identity: join(dir, "none") }))).message).toContain(
      `${join(dir, "none")} (no such file)`,
    );
  });

  test("the agent's keys", async () => {
    const agent = join(dir, "agent.sock");
    const running = launch(["ssh-agent", "-D", "-a", agent]);
    process.env["SSH_AUTH_SOCK"] = agent;
    try {
      await until(() => existsSync(agent), "the agent's socket");
      await must(["ssh-add", "-q", key], { env: { SSH_AUTH_SOCK: agent, PATH: oldPath } });
      (await connected({ auth: { ssh_private_key: null } })).close();
      const asked: string[] = [];
      (await connected({ identity: lockedKey }, withPassphrase("open sesame", asked))).close();
      expect(asked).toEqual([]);
    } finally {
      delete process.env["SSH_AUTH_SOCK"];
      running.child.kill();
      await running.ended;
    }
  });
});

describe("jump hosts", () => {
  test.each(["ssh2", "openssh"])("%s", async (transport) => {
    writeFileSync(
      knownHosts,
      `[127.0.0.1]:${closed.port} ${closed.hostKey}\n[127.0.0.1]:${open.port} ${open.hostKey}\n`,
    );
    const config = join(dir, "ssh_config");
    const before = readFileSync(config, "utf8");
    writeFileSync(config, before.replace("IdentityFile none", `IdentityFile ${key}`));
    try {
      const head = await connected({ transport, hostKey: null, auth: { jump_host: `${me}@127.0.0.1:${closed.port}` } });
      expect((await echo(await head.openStream(), Buffer.from("over"))).toString()).toBe("over");
      head.close();
    } finally {
      writeFileSync(config, before);
    }
  });

  test("a jump host that cannot reach the head", async () => {
    writeFileSync(knownHosts, `[127.0.0.1]:${closed.port} ${closed.hostKey}\n`);
    const port = await freePort();
    const fault = await faultOf(connected({ port, auth: { jump_host: `${me}@127.0.0.1:${closed.port}` } }));
    expect(fault.message).toContain("the jump host cannot reach it");
  });
});

test("on the head itself the socket is opened without SSH", async () => {
  const here = { ...cluster(), port: null };
  const head = await connectHead(here, nobody);
  expect(head.how).toContain(socket);
  expect((await echo(await head.openStream(), Buffer.from("near"))).toString()).toBe("near");
  head.close();
});

test("a file that is not filled in is refused before anything is dialled", async () => {
  expect((await faultOf(connectHead({ ...cluster(), user: "PLACEHOLDER" }, nobody))).message).toContain("Please fill");
});

test("more streams at once than emitters like listeners, and a server that goes away", async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning.message);
  process.on("warning", onWarning);
  const head = await connected();
  const streams = await Promise.all(Array.from({ length: 8 }, () => head.openStream()));
  const answers = await Promise.all(streams.map((stream, index) => echo(stream, Buffer.from(`${index}`))));
  expect(answers.map(String)).toEqual(["0", "1", "2", "3", "4", "5", "6", "7"]);

  const last = await head.openStream();
  last.on("error", () => undefined);
  const ended = new Promise<void>((resolve) => last.once("close", () => resolve()));
  last.resume();
  head.close();
  await ended;
  expect((await faultOf(head.openStream())).type).toBe("ConnectionError");
  head.close();
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
});

test.each(ways)("HTTP with keep-alive runs over it: %s", async (_name, choices) => {
  const path = join(dir, "http.sock");
  let peers = 0;
  const server = createHttpServer((request, response) => {
    request.resume();
    request.on("end", () => response.end(`${request.method} ${request.url}`));
  });
  server.on("connection", () => {
    peers += 1;
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const options = choices();
  const transport = new Transport("lab", () => connected({ ...options, coordinator: { socket: path } }));
  const call = { method: "POST" as const, body: "{}", headers: {}, silenceMs: 20_000 };
  for (const url of ["/one", "/two", "/three"]) {
    expect((await transport.call({ ...call, path: url })).text).toBe(`POST ${url}`);
  }
  expect(peers).toBe(1);
  transport.close();
  await new Promise((resolve) => server.close(resolve));
});
