/**
 * Where a connection goes: the cluster's file before ssh's configuration before the defaults. The `ssh` program is
 * found through a folder of the test's own, with a config of its own, or not at all.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { resolveDestination, type Wanted } from "./resolve.ts";

const wanted: Wanted = { host: "head", user: null, port: null, identity: null, jumps: null, pinnedKey: null };
let dir: string;
let config: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sky-resolve-"));
  config = join(dir, "config");
  mkdirSync(join(dir, "bin"));
  writeFileSync(join(dir, "bin", "ssh"), `#!/bin/sh\nexec /usr/bin/ssh -F '${config}' "$@"\n`, { mode: 0o755 });
  env = { PATH: `${join(dir, "bin")}:/usr/bin:/bin` };
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe.runIf(existsSync("/usr/bin/ssh"))("with OpenSSH", () => {
  test("its configuration counts", async () => {
    const key = join(dir, "id");
    writeFileSync(key, "");
    writeFileSync(
      config,
      `Host head\n HostName 10.1.2.3\n User carol\n Port 2200\n IdentityFile ${key}\n IdentityFile ${dir}/missing\n ProxyJump al@gate:23\n HostKeyAlias lab\n UserKnownHostsFile ${dir}/a ${dir}/b\n HashKnownHosts yes\n`,
    );
    expect(await resolveDestination(wanted, env)).toMatchObject({
      name: "head",
      host: "10.1.2.3",
      user: "carol",
      port: 2200,
      alias: "lab",
      identities: [key],
      agent: null,
      jumps: [{ user: "al", host: "gate", port: 23 }],
      userKnownHosts: [`${dir}/a`, `${dir}/b`],
      hashKnownHosts: true,
    });
  });

  test("the cluster's file wins", async () => {
    writeFileSync(config, "Host head\n User carol\n Port 2200\n ProxyJump gate\n IdentityFile /x\n");
    const own = { ...wanted, user: "alice", port: 22, identity: "/my/key", jumps: [] };
    expect(await resolveDestination(own, env)).toMatchObject({
      user: "alice",
      port: 22,
      identities: ["/my/key"],
      jumps: [],
    });
  });

  test("a ProxyCommand needs the ssh program", async () => {
    writeFileSync(config, "Host head\n ProxyCommand nc %h %p\n");
    await expect(resolveDestination(wanted, env)).rejects.toThrow(/ProxyCommand for head/);
    expect(await resolveDestination({ ...wanted, jumps: [] }, env)).toMatchObject({ jumps: [] });
  });

  test("a configuration that ssh refuses is an error with ssh's own words", async () => {
    writeFileSync(config, "Host head\n NoSuchOption 1\n");
    await expect(resolveDestination(wanted, env)).rejects.toThrow(/nosuchoption/i);
  });

  test("the agent: of the environment, named, or none", async () => {
    const socket = join(dir, "agent");
    writeFileSync(socket, "");
    writeFileSync(config, "");
    expect((await resolveDestination(wanted, { ...env, SSH_AUTH_SOCK: socket })).agent).toBe(socket);
    expect((await resolveDestination(wanted, { ...env, SSH_AUTH_SOCK: "/gone" })).agent).toBeNull();
    writeFileSync(config, `Host head\n IdentityAgent ${socket}\n`);
    expect((await resolveDestination(wanted, env)).agent).toBe(socket);
    writeFileSync(config, "Host head\n IdentityAgent none\n");
    expect((await resolveDestination(wanted, { ...env, SSH_AUTH_SOCK: socket })).agent).toBeNull();
  });
});

test("without OpenSSH: its defaults", async () => {
  const none = { PATH: join(dir, "nothing") };
  expect(await resolveDestination({ ...wanted, user: "alice" }, none)).toMatchObject({
    host: "head",
    port: 22,
    user: "alice",
    jumps: [],
    userKnownHosts: [join(homedir(), ".ssh", "known_hosts")],
  });
  expect((await resolveDestination(wanted, none)).user).toBe(userInfo().username);
});
