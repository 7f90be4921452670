/**
 * Registering a cluster as a person does it: files in `~/.sky/local`, what is said about mistakes in them, the question
 * before the first launch, and every way to the head that a file or `~/.ssh/config` can ask for, over a real sshd.
 */
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { launch, must } from "../help/run.ts";
import { register, runAs, sky, skyOk, startSkyAtTerminal } from "../help/sky.ts";
import { clusterName, plain, type Site, startSite } from "../help/site.ts";
import { type Sshd, startSshd } from "../help/sshd.ts";
import { until } from "../help/until.ts";
import { makeUser, removeUser, type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;
/** The file as `register` writes it. */
let registration: string;
let file: string;

beforeAll(async () => {
  site = await startSite({ accelerators: "V100:2", initialized: false });
  user = site.users[0] as TestUser;
  file = join(user.home, ".sky/local", `${clusterName}.yml`);
  registration = readFileSync(file, "utf8");
});
afterAll(async () => await site?.stop());
beforeEach(() => {
  rmSync(join(user.home, ".sky/local"), { recursive: true });
  mkdirSync(join(user.home, ".sky/local"));
  rmSync(join(user.home, ".ssh/config"), { force: true });
  register(user, site.cluster, site.sshd);
});

const row = (name: string): RegExp => new RegExp(`^${name} +- +- +- +-$`, "m");

/** A command that must end with 1, without a stack; its stderr. */
async function failure(...args: string[]): Promise<string> {
  const result = await sky(user, args);
  expect(result.code, result.stdout + result.stderr).toBe(1);
  expect(result.stderr).not.toMatch(/^\s+at /m);
  return plain(result.stderr);
}

describe("files", () => {
  test(".yml and .yaml both count; status shows them uninitialized", async () => {
    writeHomeFile(user, ".sky/local/other.yaml", registration.replace(/name: .*/, "name: other"));
    writeHomeFile(user, ".sky/local/notes.txt", "not a cluster");
    const text = plain(await skyOk(user, ["status"]));
    expect(text).toMatch(/^Local clusters:\nNAME +USER +HEAD_IP +RESOURCES +COMMAND\n/);
    expect(text).toMatch(row(clusterName));
    expect(text).toMatch(row("other"));
    expect(JSON.parse(await skyOk(user, ["status", "-o", "json"]))).toMatchObject([
      { name: clusterName, initialized: false, user: null },
      { name: "other", initialized: false },
    ]);
  });

  test("commands on an uninitialized cluster say what to do", async () => {
    const found = `Found uninitialized local cluster ${clusterName}. Run this command to initialize it locally: sky launch -c ${clusterName} ''`;
    expect(await failure("exec", clusterName, "--", "true")).toContain(found);
    expect(await failure("logs", clusterName)).toContain(found);
    expect(await failure("cancel", clusterName, "-y")).toContain(found);
    expect(await failure("down", clusterName, "-y")).toContain(found);
    const queue = await sky(user, ["queue"]);
    expect(plain(queue.stderr)).toContain(`Local cluster ${clusterName} is uninitialized; skipped.`);
  });

  test("an unknown name: the near one is named", async () => {
    const text = await failure("launch", "-c", "labb", "-y", "--", "true");
    expect(text).toContain("Local cluster 'labb' does not exist.");
    expect(text).toContain(`Did you mean '${clusterName}'?`);
    expect(text).toContain("See `sky status` for local cluster name(s).");
  });

  test("two files with one name: both are named, other clusters work", async () => {
    const copy = writeHomeFile(user, ".sky/local/copy.yaml", registration);
    writeHomeFile(user, ".sky/local/other.yml", registration.replace(/name: .*/, "name: other"));
    const text = await failure("launch", "-c", clusterName, "-y", "");
    expect(text).toContain(`Multiple configs in ~/.sky/local/ have the same cluster name '${clusterName}'.`);
    expect(text).toContain(file);
    expect(text).toContain(copy);
    expect(plain(await skyOk(user, ["status"]))).toMatch(row("other"));
  });

  test("PLACEHOLDER is listed, and refused with fields, block and file", async () => {
    writeFileSync(file, registration.replace(/ssh_user: .*/, "ssh_user: PLACEHOLDER"));
    expect(plain(await skyOk(user, ["status"]))).toMatch(row(clusterName));
    const text = await failure("launch", "-c", clusterName, "-y", "");
    for (const part of ["`ssh_user`", "`ssh_private_key`", "`auth`", file]) {
      expect(text).toContain(part);
    }
    expect((await sky(user, ["check"])).stdout).toContain(file);
  });

  test("an unknown key: file, line, key and the near one", async () => {
    writeFileSync(file, registration.replace("ssh_private_key:", "ssh_privat_key:"));
    const text = await failure("launch", "-c", clusterName, "-y", "");
    expect(text).toContain("Invalid cluster YAML: ");
    expect(text).toContain(file);
    const line = registration.split("\n").findIndex((one) => one.includes("ssh_private_key:")) + 1;
    expect(text).toMatch(new RegExp(`line ${line}\\b|:${line}\\b`));
    expect(text).toContain("ssh_privat_key");
    expect(text).toContain("Did you mean 'ssh_private_key'?");
  });

  test("a missing key is named", async () => {
    writeFileSync(file, registration.replace(/ {2}ssh_user: .*\n/, ""));
    expect(await failure("launch", "-c", clusterName, "-y", "")).toMatch(/Invalid cluster YAML: .*auth\.ssh_user/s);
  });
});

describe("the first launch", () => {
  test("asks on a terminal; no leaves everything as it was, yes initializes, and nobody is asked again", async () => {
    const question = `Initializing local cluster '${clusterName}'. Proceed? [Y/n]: `;
    const no = startSkyAtTerminal(user, ["launch", "-c", clusterName, ""]);
    await until(() => plain(no.stdout()).includes(question), "the question");
    no.type("n\r");
    expect((await no.ended).code).toBe(1);
    expect(plain(await skyOk(user, ["status"]))).toMatch(row(clusterName));

    const yes = startSkyAtTerminal(user, ["launch", "-c", clusterName, ""]);
    await until(() => plain(yes.stdout()).includes(question), "the question");
    yes.type("\r");
    const result = await yes.ended;
    expect(result.code, result.stdout).toBe(0);
    expect(plain(result.stdout)).toContain(`Connecting to local cluster: '${clusterName}' [Username: ${user.name}].`);
    expect(plain(await skyOk(user, ["status"]))).toMatch(
      new RegExp(`^${clusterName} +${user.name} +127\\.0\\.0\\.1 +\\[\\{'V100': 2\\}\\] +sky launch -c lab ''$`, "m"),
    );
    const again = await sky(user, ["launch", "-c", clusterName, ""]);
    expect(again.code).toBe(0);
    expect(again.stdout + again.stderr).not.toContain("Proceed?");
  });

  test("down makes it uninitialized again; a file that has gone is dropped with a line", async () => {
    await skyOk(user, ["launch", "-c", clusterName, "", "-y"]);
    await skyOk(user, ["down", clusterName, "-y"]);
    expect(plain(await skyOk(user, ["status"]))).toMatch(row(clusterName));
    await skyOk(user, ["launch", "-c", clusterName, "", "-y"]);
    rmSync(file);
    const status = await sky(user, ["status"]);
    expect(plain(status.stderr)).toContain(
      `Removing local cluster ${clusterName} from \`sky status\`. No config found in ~/.sky/local.`,
    );
    expect(status.stdout).not.toContain(user.name);
  });
});

/** What a file says, in short. */
interface Way {
  /** An entry of cluster.ips. */
  ip?: string;
  auth?: Record<string, string | number>;
  transport?: "openssh";
}

function writeWay(way: Way): void {
  const auth = { ssh_user: user.name, ssh_private_key: user.key, port: site.sshd.port, ...way.auth };
  const lines = Object.entries(auth).filter(([, value]) => value !== "");
  const coordinator = registration.slice(registration.indexOf("coordinator:"));
  const text = [
    `cluster:\n  name: ${clusterName}\n  ips:\n    - ${way.ip ?? "127.0.0.1"}`,
    `auth:\n${lines.map(([key, value]) => `  ${key}: ${value}`).join("\n")}`,
    ...(way.transport === undefined ? [] : [`transport: ${way.transport}`]),
    coordinator,
  ].join("\n");
  writeFileSync(file, text);
}

const knownHosts = (): string => join(user.home, ".ssh/known_hosts");

/** Lines for `~/.ssh/config`, which OpenSSH wants to be private. */
function sshConfig(...lines: string[]): void {
  writeHomeFile(user, ".ssh/config", `${lines.join("\n")}\n`, 0o600);
}

/** The way works: the head's answer says who the caller is. */
async function works(options: { env?: Record<string, string> } = {}): Promise<void> {
  const result = await sky(user, ["check", clusterName], options);
  expect(plain(result.stdout), result.stderr).toContain(`User: ${user.name}. Nodes: 1 of 1 up.`);
}

async function refused(): Promise<string> {
  const result = await sky(user, ["check", clusterName]);
  expect(result.code, result.stdout).toBe(1);
  expect(result.stderr).not.toContain("trying again");
  return plain(result.stdout).replace(/\n {4}/g, " ");
}

describe.each(["ssh2", "openssh"] as const)("the way to the head by %s", (kind) => {
  const transport = kind === "openssh" ? { transport: kind } : {};
  let jump: Sshd;
  beforeAll(async () => {
    jump = await startSshd();
  });
  afterAll(async () => await jump?.stop());

  test("auth.port and a key", async () => {
    writeWay(transport);
    await works();
  });

  test("user and port of one host", async () => {
    writeWay({
      ip: `{host: 127.0.0.1, user: ${user.name}, port: ${site.sshd.port}}`,
      auth: { ssh_user: "somebody", port: 1 },
      ...transport,
    });
    await works();
  });

  test("a jump host", async () => {
    writeWay({ auth: { jump_host: `${user.name}@127.0.0.1:${jump.port}` }, ...transport });
    writeFileSync(
      knownHosts(),
      `[127.0.0.1]:${site.sshd.port} ${site.sshd.hostKey}\n[127.0.0.1]:${jump.port} ${jump.hostKey}\n`,
    );
    await works();
    expect(jump.log()).toContain(`Accepted publickey for ${user.name}`);
  });

  test("a pinned host key, without known_hosts; another one is refused", async () => {
    rmSync(knownHosts());
    writeWay({ auth: { host_key: site.sshd.hostKey }, ...transport });
    await works();
    writeWay({ auth: { host_key: jump.hostKey }, ...transport });
    expect(await refused()).toMatch(/host key/i);
  });

  test("a changed host key is refused", async () => {
    writeWay(transport);
    writeFileSync(knownHosts(), `[127.0.0.1]:${site.sshd.port} ${jump.hostKey}\n`);
    const text = await refused();
    expect(text).toMatch(/host key.*changed|host key verification failed/i);
    expect(text).toContain("127.0.0.1");
  });

  test("an unknown host key is asked for at a terminal, and remembered", async () => {
    writeWay(transport);
    rmSync(knownHosts());
    const fingerprint = /SHA256:\S+/;
    const no = startSkyAtTerminal(user, ["check", clusterName]);
    await until(() => /yes\/no/.test(no.stdout()), "the question").catch((error: unknown) => {
      throw new Error(`${String(error)}: ${no.stdout()}`);
    });
    expect(no.stdout()).toMatch(fingerprint);
    no.type("no\r");
    const refusal = await no.ended;
    expect(refusal.code).toBe(1);
    expect(refusal.stdout.match(/yes\/no/g), refusal.stdout).toHaveLength(1);

    const yes = startSkyAtTerminal(user, ["check", clusterName]);
    await until(() => /yes\/no/.test(yes.stdout()), "the question");
    yes.type("yes\r");
    const result = await yes.ended;
    expect(plain(result.stdout)).toContain(`User: ${user.name}.`);
    expect(readFileSync(knownHosts(), "utf8")).toContain(site.sshd.hostKey.split(" ")[1]);
    await works();
  });

  test("an alias of ~/.ssh/config: HostName, Port, IdentityFile", async () => {
    const key = join(user.home, ".ssh/second");
    writeFileSync(key, readFileSync(user.key), { mode: 0o600 });
    chownSync(key, user.uid, user.gid);
    sshConfig("Host lab-head", "  HostName 127.0.0.1", `  Port ${site.sshd.port}`, `  IdentityFile ${key}`);
    const first = readFileSync(user.key);
    rmSync(user.key);
    try {
      writeWay({ ip: "lab-head", auth: { ssh_private_key: "", port: "" }, ...transport });
      await works();
    } finally {
      writeFileSync(user.key, first, { mode: 0o600 });
      chownSync(user.key, user.uid, user.gid);
      rmSync(key);
    }
  });

  test("ProxyJump of ~/.ssh/config, with the jump host's own User", async () => {
    sshConfig(
      ...["Host gateway", "  HostName 127.0.0.1", `  Port ${jump.port}`, `  User ${user.name}`],
      ...["Host lab-head", "  HostName 127.0.0.1", `  Port ${site.sshd.port}`, "  ProxyJump gateway"],
      ...["Host *", "  StrictHostKeyChecking yes"],
    );
    writeFileSync(
      knownHosts(),
      `[127.0.0.1]:${site.sshd.port} ${site.sshd.hostKey}\n[127.0.0.1]:${jump.port} ${jump.hostKey}\n`,
    );
    writeWay({ ip: "lab-head", auth: { port: "" }, ...transport });
    const before = jump.log().length;
    await works();
    expect(jump.log().slice(before)).toContain(`Accepted publickey for ${user.name}`);
  });

  test("the ssh agent's key", async () => {
    const socket = join(user.home, "agent.sock");
    const agent = launch(
      [
        "setpriv",
        "--reuid",
        String(user.uid),
        "--regid",
        String(user.gid),
        "--clear-groups",
        "--",
        "ssh-agent",
        "-D",
        "-a",
        socket,
      ],
      { limitMs: 120_000 },
    );
    const first = readFileSync(user.key);
    try {
      await until(async () => (await runAs(user, ["test", "-S", socket])).code === 0, "the agent's socket");
      const env = { SSH_AUTH_SOCK: socket };
      expect((await runAs(user, ["ssh-add", user.key], { env })).code).toBe(0);
      rmSync(user.key);
      writeWay({ auth: { ssh_private_key: "" }, ...transport });
      await works({ env });
    } finally {
      agent.child.kill();
      await agent.ended;
      writeFileSync(user.key, first, { mode: 0o600 });
      chownSync(user.key, user.uid, user.gid);
    }
  });

  test("a key that is not known there", async () => {
    writeWay({ auth: { ssh_private_key: join(user.home, ".ssh/wrong") }, ...transport });
    await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(user.home, ".ssh/wrong")]);
    chownSync(join(user.home, ".ssh/wrong"), user.uid, user.gid);
    const other = await makeUser();
    try {
      // The account knows no key of this user, so that no default key helps either.
      writeWay({
        auth: { ssh_user: other.name, ssh_private_key: join(user.home, ".ssh/wrong") },
        ...transport,
      });
      const text = await refused();
      expect(text).toContain(`${other.name}@127.0.0.1:${site.sshd.port}`);
      expect(text).toMatch(/permission denied/i);
      expect(text).toContain("ssh-copy-id");
    } finally {
      await removeUser(other);
      await must(["rm", join(user.home, ".ssh/wrong"), join(user.home, ".ssh/wrong.pub")]);
    }
  });
});
