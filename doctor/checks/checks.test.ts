/** The checks on answers that were recorded from machines that were well, broken, and odd. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Recording, recorded, siteOf } from "../../test/help/recorded-probes.ts";
import type { Check, Site } from "../check.ts";
import { examine, allChecks } from "../run.ts";
import { clock } from "./clock.ts";
import { disk, mounts } from "./disk.ts";
import { ownName, sudo } from "./names.ts";
import { parseListeners, redis } from "./redis.ts";
import { linger } from "./sessions.ts";
import { parseRules, sshd } from "./sshd.ts";
import { cgroup, coordinatorReach, kernel, ownFiles, restart, units } from "./system.ts";
import { users } from "./users.ts";

/** `level seen | mend` of each finding. */
async function said(check: Check, recording: Recording, site: Partial<Site> = {}): Promise<string[]> {
  const findings = await check.run(recorded(recording), siteOf(site));
  return findings.map(({ level, seen, mend }) => `${level} ${seen} | ${mend}`);
}

describe("own-name and sudo", () => {
  const host = { "/proc/sys/kernel/hostname": "gpu-1\n" };
  test.each([
    ["10.0.0.2      gpu-1\n", /^ok 'gpu-1' resolves to 10\.0\.0\.2/],
    [
      { code: 2, ms: 6000 },
      /^error .*does not resolve \(tried for 6\.0 s\)\. \| echo '127\.0\.1\.1 gpu-1' >> \/etc\/hosts/,
    ],
    [{ stdout: "10.0.0.2 gpu-1", ms: 3000 }, /^warn .*only after 3\.0 s/],
    ["slow" as const, /^error .*does not resolve within 8 s/],
  ])("%j", async (answer, expected) => {
    expect(await said(ownName, { files: host, tools: { "getent hosts gpu-1": answer } })).toEqual([
      expect.stringMatching(expected),
    ]);
  });

  test("a host name that a shell would read is never part of a command", async () => {
    const [text] = await said(ownName, { files: { "/proc/sys/kernel/hostname": "a;reboot\n" } });
    expect(text).toBe("error The machine has no usable host name. | hostnamectl hostname NAME");
  });

  test("sudo that is missing, forbidden or slow", async () => {
    expect(await said(sudo, {})).toEqual(["error sudo is not installed. | apt-get install -y sudo"]);
    expect((await said(sudo, { tools: { sudo: { code: 1, stderr: "root is not in the sudoers file" } } }))[0]).toMatch(
      /^error root may not use sudo here: root is not in the sudoers file \| echo/,
    );
    expect((await said(sudo, { tools: { sudo: { ms: 20_000 } } }))[0]).toMatch(/^warn sudo takes 20\.0 s/);
  });
});

describe("users", () => {
  const known = [
    { name: "alice", uid: 1001 },
    { name: "bob", uid: 1002 },
  ];
  const row = (name: string, uid: number): string => `${name}:x:${uid}:${uid}::/home/${name}:/bin/bash\n`;
  test("the same as on the head", async () => {
    const tools = { "getent passwd": row("alice", 1001) + row("bob", 1002) };
    expect(await said(users, { tools }, { users: known })).toEqual([
      "ok 2 users have the same uid as on the head. | null",
    ]);
  });
  test("another uid, whose number is somebody else's; and one who is missing", async () => {
    const tools = {
      "getent passwd alice bob": { code: 2, stdout: row("alice", 1777) },
      "getent passwd 1001 1002": { code: 2, stdout: row("carol", 1001) },
    };
    expect(await said(users, { tools }, { users: known })).toEqual([
      "error User 'alice' has uid 1777 here and 1001 on the head. Uid 1001 is 'carol' here, who needs another one first. | loginctl terminate-user alice; systemctl stop user@1777; usermod --uid 1001 alice",
      "error User 'bob' (uid 1002 on the head) is missing here. | useradd --uid 1002 --create-home --shell /bin/bash bob",
    ]);
  });
  test("a name of digits is not taken for the account with that uid", async () => {
    const tools = { "getent passwd 1001": row("alice", 1001), "getent passwd 1005": { code: 2 } };
    expect((await said(users, { tools }, { users: [{ name: "1001", uid: 1005 }] }))[0]).toMatch(/^error User '1001'/);
  });
  test("a directory that does not answer is no user who is missing", async () => {
    const findings = await examine(recorded({ tools: { "getent passwd": "slow" } }), siteOf({ users: known }), [users]);
    expect(findings).toEqual([expect.objectContaining({ check: "users", level: "unknown" })]);
  });
});

describe("disk and mounts", () => {
  const plenty = "1000000 2000000 4096 900000 1000000 ext2/ext3\n";
  test.each([
    ["fine", plenty, /^ok /],
    ["full", "10 2000000 4096 900000 1000000 ext2/ext3\n", /^error \/tmp \(ext2\/ext3\) is full: 0 MB of 7813 MB left/],
    ["nearly full", "100000 2000000 4096 900000 1000000 xfs\n", /^warn \/tmp \(xfs\) is nearly full: 391 MB/],
    ["no inodes", "1000000 2000000 4096 3 1000000 ext2/ext3\n", /^error \/tmp .*3 inodes left/],
    ["a small one that is half empty", "500 1000 4096 100 200 tmpfs\n", /^ok /],
    ["btrfs counts no inodes", "1000000 2000000 4096 0 0 btrfs\n", /^ok /],
    ["nonsense", "hello\n", /^unknown /],
  ])("%s", async (_name, answer, expected) => {
    const tools = { "stat --file-system": plenty, "stat --file-system --format=%a %b %S %d %c %T /tmp": answer };
    expect((await said(disk, { tools }))[0]).toMatch(expected);
  });
  test("what fstab names and is not mounted", async () => {
    const tools = {
      "findmnt --fstab": "/ ext4 defaults\n/home nfs defaults,_netdev\nnone swap sw\n/backup ext4 noauto\n",
      "findmnt --kernel": "/ rw,relatime\n/run rw\n",
    };
    expect(await said(mounts, { tools })).toEqual([
      "error /home (nfs) stands in /etc/fstab and is not mounted. | mount /home",
    ]);
  });
});

describe("clock", () => {
  test.each([
    ["NTP=yes\nNTPSynchronized=yes\n", /^ok/],
    ["NTP=no\nNTPSynchronized=no\n", /^warn .* \| apt-get install -y systemd-timesyncd && timedatectl set-ntp true/],
    ["NTP=yes\nNTPSynchronized=no\n", /^warn .*has not reached any server/],
  ])("%j", async (answer, expected) => {
    const tools = { "systemd-detect-virt": { code: 1 }, "timedatectl show": answer };
    expect((await said(clock, { tools }))[0]).toMatch(expected);
  });
  test("a container has the clock of its host", async () => {
    expect((await said(clock, { tools: { "systemd-detect-virt": "systemd-nspawn\n" } }))[0]).toMatch(/^ok/);
  });
});

test("linger: only users with jobs here who would lose something", async () => {
  const recording = {
    folders: {
      "/run/systemd/seats": [],
      "/run/sky-onprem": ["1001", "1002", "agent.sock"],
      "/var/lib/systemd/linger": ["bob"],
    },
    tools: {
      "busctl --system get-property": "b true\n",
      "getent passwd 1001 1002": "alice:x:1001:1001::/home/alice:/bin/bash\nbob:x:1002:1002::/home/bob:/bin/bash\n",
    },
  };
  expect(await said(linger, recording)).toEqual([
    "warn logind has KillUserProcesses=yes and RemoveIPC=yes, and these users do not linger: alice. | loginctl enable-linger alice",
  ]);
  const off = { ...recording, tools: { "busctl --system get-property": "b false\n" } };
  expect((await said(linger, off))[0]).toMatch(/^ok/);
});

describe("system", () => {
  const hybrid = "30 24 0:25 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
  test.each([
    ["30 24 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n", /^ok/],
    [hybrid, /^ok cgroups of version 2 at \/sys\/fs\/cgroup\/unified/],
    [
      "30 24 0:25 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
      /^warn .*cannot be written\. \| mount -o remount,rw \/sys\/fs\/cgroup/,
    ],
    [
      "30 24 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
      /^warn There is no cgroup hierarchy of version 2/,
    ],
  ])("cgroup %#", async (table, expected) => {
    expect((await said(cgroup, { files: { "/proc/self/mountinfo": table } }))[0]).toMatch(expected);
  });

  test("units: stopped, not enabled, started again and again, of an older release", async () => {
    const show = (state: string, file: string, restarts: number, pid: number): string =>
      `LoadState=loaded\nActiveState=${state}\nSubState=dead\nNRestarts=${restarts}\nUnitFileState=${file}\nExecMainPID=${pid}\n`;
    const recording = {
      folders: { "/run/systemd/system": [] },
      links: { "/opt/sky-onprem/current": "0.2.0-bbbbbbb", "/proc/7/exe": "/opt/sky-onprem/0.1.0-aaaaaaa/lib/node" },
      tools: {
        "systemctl show": show("inactive", "enabled", 0, 0),
        "systemctl show --property=LoadState --property=ActiveState --property=SubState --property=NRestarts --property=UnitFileState --property=ExecMainPID sky-agent.service":
          show("active", "disabled", 9, 7),
      },
    };
    const texts = await said(units, recording);
    expect(texts.map((text) => text.split(" | ")[0])).toEqual([
      "warn sky-agent.service runs but is not enabled.",
      "warn sky-agent.service was started again 9 times by itself.",
      "warn sky-agent.service still runs release 0.1.0-aaaaaaa; 0.2.0-bbbbbbb is installed.",
      "error sky-jobs.service is inactive (dead).",
    ]);
  });

  test("kernel settings", async () => {
    const files = {
      "/proc/sys/kernel/pid_max": "32768\n",
      "/proc/cpuinfo": "processor\t: 0\n".repeat(64),
      "/proc/sys/fs/protected_symlinks": "0\n",
      "/proc/sys/fs/protected_hardlinks": "1\n",
      "/proc/sys/fs/inotify/max_user_instances": "128\n",
      "/proc/sys/vm/overcommit_memory": "2\n",
    };
    expect((await said(kernel, { files })).map((text) => text.split(/[ .]/)[0])).toEqual([
      "warn",
      "error",
      "warn",
      "warn",
    ]);
    expect((await said(kernel, {}))[0]).toMatch(/^ok/);
  });

  test("what waits for a restart", async () => {
    const files = { "/proc/uptime": "864000.0 1.0\n", "/proc/sys/kernel/osrelease": "6.1.0-1\n" };
    expect((await said(restart, { files, folders: { "/lib/modules": ["6.1.0-2"] } }))[0]).toMatch(
      /modules of its running kernel 6\.1\.0-1 were removed/,
    );
    expect((await said(restart, { files: { ...files, "/run/reboot-required": "" } }))[0]).toMatch(
      /^warn The machine is up for 10 days, and packages ask/,
    );
    expect((await said(restart, { files }))[0]).toMatch(/^ok/);
  });

  test("the coordinator's port", async () => {
    expect((await said(coordinatorReach, { greetings: { "10.0.0.1 7422": "SSH-2.0-sky-onprem" } }))[0]).toMatch(/^ok/);
    expect((await said(coordinatorReach, { greetings: { "10.0.0.1 7422": "HTTP/1.1 400" } }))[0]).toMatch(
      /^error Something else/,
    );
    expect((await said(coordinatorReach, {}))[0]).toMatch(/^error .*does not answer.*ECONNREFUSED/);
  });

  test("config and key that others can change or read", async () => {
    const tools = { "stat --format=%u %a /etc": "0 664\n", "stat --format=%u %a /var": "0 640\n" };
    expect((await said(ownFiles, { tools })).map((text) => text.split(" | ")[1])).toEqual([
      "chown root: /etc/sky-onprem/agent.yaml; chmod 644 /etc/sky-onprem/agent.yaml",
      "chown root: /var/lib/sky-onprem/agent/node_key; chmod 600 /var/lib/sky-onprem/agent/node_key",
    ]);
    const fine = { "stat --format=%u %a /etc": "0 644\n", "stat --format=%u %a /var": "0 600\n" };
    expect((await said(ownFiles, { tools: fine }))[0]).toMatch(/^ok/);
  });
});

describe("redis", () => {
  const line = (address: string): string =>
    `LISTEN 0 511 ${address} 0.0.0.0:* users:(("redis-server",pid=77,fd=6))\nLISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n`;
  const quiet = { "ps -e": "77 102 redis-server\n" };
  test("listeners", () => {
    expect(parseListeners(line("127.0.0.1:6379") + line("[::1]:6379") + line("*:6380"))).toEqual([
      { address: "127.0.0.1", port: 6379, pid: 77 },
      { address: "::1", port: 6379, pid: 77 },
      { address: "*", port: 6380, pid: 77 },
    ]);
  });
  test.each([
    [
      "0.0.0.0:6379",
      "PONG",
      [
        "error A Redis server listens on 0.0.0.0 port 6379 and asks for no password.",
        "warn The Redis server on port 6379 asks for no password.",
      ],
    ],
    ["10.0.0.9:6379", "NOAUTH Authentication required.", ["error A Redis server listens on 10.0.0.9 port 6379."]],
    [
      "127.0.0.1:6379",
      "NOAUTH Authentication required.",
      ["ok Redis on port 6379 is closed to others. This machine is not the head."],
    ],
    ["127.0.0.1:6379", "PONG", ["warn The Redis server on port 6379 asks for no password."]],
  ])("%s %s", async (address, answer, expected) => {
    const tools = { "ss -Hltnp": line(address), ...quiet, "redis-cli": answer };
    expect((await said(redis, { tools })).map((text) => text.split(" | ")[0])).toEqual(expected);
  });
  test("a server of root", async () => {
    const tools = { "ss -Hltnp": "", "ps -e": "77 0 redis-server\n" };
    expect((await said(redis, { tools }))[0]).toMatch(/^error redis-server \(process 77\) runs as root/);
  });
  const socket = "/var/lib/sky-onprem/redis/redis.sock";
  const head = { head: { configFile: "/etc/sky-onprem/coordinator.yaml", redisSocket: socket, socket: null } };
  const own = {
    "ss -Hltnp": "",
    ...quiet,
    "stat --format=%a %U": "700 sky-coordinator\n700 sky-coordinator\n",
    [`redis-cli --raw -s ${socket} info server`]: "redis_version:7.0.15\r\n",
    [`redis-cli --raw -s ${socket} config get appendonly`]: "appendonly\nyes\n",
    [`redis-cli --raw -s ${socket} config get appendfsync`]: "appendfsync\nalways\n",
  };
  test("ours: Debian's old number with the fixes is fine, one before them is not", async () => {
    const packages = { "dpkg-query --show": "5:7.0.15-1~deb12u10", "dpkg --compare-versions": { code: 1 } };
    expect((await said(redis, { tools: { ...own, ...packages } }, head))[0]).toMatch(/^ok/);
    const older = { "dpkg-query --show": "5:7.0.15-1~deb12u5", "dpkg --compare-versions": { code: 0 } };
    expect((await said(redis, { tools: { ...own, ...older } }, head))[0]).toMatch(
      /^error redis 7\.0\.15 is the package 5:7\.0\.15-1~deb12u5/,
    );
    expect((await said(redis, { tools: own }, head))[0]).toMatch(/^error redis 7\.0\.15 has known holes/);
    const newer = { ...own, [`redis-cli --raw -s ${socket} info server`]: "redis_version:8.2.3\n" };
    expect((await said(redis, { tools: newer }, head))[0]).toMatch(/^ok/);
  });
  test("ours: open to others, and forgetful", async () => {
    const packages = { "dpkg-query --show": "5:7.0.15-1~deb12u10", "dpkg --compare-versions": { code: 1 } };
    const tools = {
      ...own,
      ...packages,
      "stat --format=%a %U": "777 redis\n755 redis\n",
      [`redis-cli --raw -s ${socket} config get appendfsync`]: "appendfsync\neverysec\n",
    };
    expect((await said(redis, { tools }, head)).map((text) => text.split(" | ")[0])).toEqual([
      `error ${socket} can be reached by other accounts (mode 777 in a folder of mode 755).`,
      "error This cluster's Redis has appendfsync everysec.",
    ]);
  });
});

describe("sshd", () => {
  const rules = (stream: string, disable = "no", forced = "none", sessions = "10"): string =>
    `maxsessions ${sessions}\ndisableforwarding ${disable}\nallowstreamlocalforwarding ${stream}\nforcecommand ${forced}\n`;
  const head = { head: { configFile: "/c", redisSocket: null, socket: null }, users: [{ name: "bob", uid: 1002 }] };
  const tools = { "getent passwd": "bob:x:1002:1002::/home/bob:/bin/bash\n" };
  test("rules", () => {
    expect(parseRules(rules("yes"))).toEqual({ closedBy: null, noCommandBy: null });
    expect(parseRules(rules("local")).closedBy).toBeNull();
    expect(parseRules(rules("remote")).closedBy).toBe("AllowStreamLocalForwarding remote");
    expect(parseRules(rules("yes", "yes")).closedBy).toBe("DisableForwarding yes");
    expect(parseRules(rules("no", "no", "/bin/x")).noCommandBy).toBe("ForceCommand");
    expect(parseRules(rules("no", "no", "none", "0")).noCommandBy).toBe("MaxSessions 0");
    expect(parseRules("").closedBy).toBe("AllowStreamLocalForwarding ?");
  });
  test("for all, for one user, and not on other machines", async () => {
    expect((await said(sshd, { tools: { ...tools, "/usr/sbin/sshd -T": rules("no") } }, head))[0]).toMatch(
      /^warn sshd forbids streams to the coordinator \(AllowStreamLocalForwarding no\)\. \| sed -i '1i AllowStreamLocalForwarding yes'/,
    );
    const one = {
      ...tools,
      "/usr/sbin/sshd -T": rules("yes"),
      "/usr/sbin/sshd -T -C user=bob": rules("yes", "yes", "/bin/x"),
    };
    expect((await said(sshd, { tools: one }, head))[0]).toMatch(
      /^error .*for bob, by a Match block.*and commands too \(ForceCommand\)/,
    );
    expect((await said(sshd, {}))[0]).toMatch(/^ok/);
  });
  test("an sshd that cannot read its config is unknown, with what it says", async () => {
    const broken = { ...tools, "/usr/sbin/sshd -T": { code: 255, stderr: "line 3: Bad configuration option: Foo" } };
    const [finding] = await examine(recorded({ tools: broken }), siteOf(head), [sshd]);
    expect(finding).toMatchObject({
      check: "sshd",
      level: "unknown",
      seen: expect.stringContaining("Bad configuration option"),
    });
  });
});

describe("all of them", () => {
  test("on a machine where nothing answers: no crash, every check has a word", async () => {
    const findings = await examine(recorded({}), siteOf());
    const checks = new Set(findings.map((finding) => finding.check));
    expect(allChecks.map(({ id }) => id).filter((id) => !checks.has(id))).toEqual([]);
  });
  test("each stands in the admin's table", () => {
    const text = readFileSync(new URL("../../docs/admin/operations.md", import.meta.url), "utf8");
    expect(allChecks.map(({ id }) => id).filter((id) => !text.includes(`| \`${id}\` |`))).toEqual([]);
  });
  test("one that never ends or throws keeps nobody waiting", async () => {
    const never: Check = { id: "never", run: () => new Promise(() => {}) };
    const throwing: Check = { id: "throwing", run: async () => Promise.reject(new Error("odd\u001b[31m")) };
    const findings = await examine(recorded({}), siteOf(), [never, throwing, kernel], 50);
    expect(findings.map(({ check, level }) => `${check} ${level}`)).toEqual([
      "never unknown",
      "throwing unknown",
      "kernel ok",
    ]);
    expect(findings[1]?.seen).toBe("It could not be found out: odd [31m");
  });
});
