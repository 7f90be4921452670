/**
 * Agent, sessions and jobs as systemd's units on a whole machine: what a job inherits, what it outlives, what is left of
 * it, and what a user cannot do about it. logind ends and removes here whatever it may (KillUserProcesses, RemoveIPC).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { plain } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type Cluster, clusterName, startCluster } from "./cluster.ts";
import { writeGuestFile } from "./guest-files.ts";
import { rowOf, submit, untilStatus } from "./jobs.ts";
import type { Machine } from "./machine.ts";
import { checkout } from "./release.ts";

let cluster: Cluster;
let n1: Machine;

/** Everything that a process takes over from whoever started it. */
const inherited = `#!/bin/bash
cat /proc/self/limits
grep -E '^(Uid|Gid|Groups|Umask|Sig[BIC]|ShdPnd|Cap|NoNewPrivs|Seccomp:|Cpus_allowed|Speculation)' /proc/self/status
for each in /proc/self/ns/*; do echo "$each $(readlink "$each")"; done
echo "oom $(cat /proc/self/oom_score_adj) nice $(nice) filter $(cat /proc/self/coredump_filter) $(chrt -p $$ | sed 's/pid [0-9]*//')"
ulimit -S -a; ulimit -H -a; umask; id
ls -m /proc/$$/fd
echo "proc $(findmnt -no OPTIONS /proc) tmp $(stat -c '%i %m' /tmp) devices $(ls /dev | sort | md5sum)"
`;

const quickLogind = "[Login]\nKillUserProcesses=yes\nRemoveIPC=yes\nUserStopDelaySec=0\n";

beforeAll(async () => {
  cluster = await startCluster({
    nodes: ["n1"],
    users: ["alice", { name: "bob", groups: ["lab"] }],
    coordinatorConfig: { grace_seconds: 1 },
    before: (machine) => {
      writeGuestFile(machine.root, "/etc/systemd/logind.conf.d/all.conf", quickLogind);
      for (const unit of ["sky-agent", "sky-coordinator"]) {
        writeGuestFile(machine.root, `/etc/systemd/system/${unit}.service.d/quick.conf`, "[Service]\nWatchdogSec=5\n");
      }
      writeGuestFile(machine.root, "/usr/local/bin/inherited", inherited, 0o755);
      writeGuestFile(machine.root, "/etc/profile.d/talks.sh", "echo FROM-A-PROFILE; echo FROM-A-PROFILE >&2\n");
    },
  });
  n1 = cluster.machine("n1");
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    process.stdout.write(await cluster.tell());
  }
});
afterAll(async () => {
  await cluster?.stop();
});

async function property(unit: string, name: string): Promise<string> {
  return (await n1.must(["systemctl", "show", "--property", name, "--value", unit])).trim();
}

/** A job that goes on until it is told to end; its own pid lies in a file as proof that it is still the same. */
async function longJob(user: string, name: string): Promise<{ id: number; pid: string; end: () => Promise<void> }> {
  const command = `echo $$ >~/${name}.pid; while [ ! -e ~/${name}.end ]; do sleep 0.1; done; exit 7`;
  const id = await submit(cluster, user, command);
  const pid = await until(
    async () => (await n1.run(`cat ~/${name}.pid`, { user })).stdout.trim(),
    "the job to say its pid",
    60_000,
  );
  return { id, pid, end: async () => void (await n1.must(`touch ~/${name}.end`, { user })) };
}

async function lives(pid: string): Promise<boolean> {
  return (await n1.run(["test", "-d", `/proc/${pid}`])).code === 0;
}

/** The control group of a process, as seen on the machine. */
async function groupOf(pid: string): Promise<string> {
  return (await n1.must(["sed", "-n", "s/^0:://p", `/proc/${pid}/cgroup`])).trim();
}

/** Whether this computer lets a guest raise a hard limit; sudo needs that to give core's back. */
function mayRaiseLimits(): boolean {
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return ((BigInt(`0x${bounding}`) >> 24n) & 1n) === 1n;
}

describe("what a job inherits", () => {
  test("is what an ssh login of the same user has, to the last limit, capability and signal", async () => {
    for (const user of ["alice", "bob"]) {
      const id = await submit(cluster, user, "inherited >~/job.txt 2>&1");
      await untilStatus(cluster, user, id, "SUCCEEDED");
      await n1.sshMust(user, "inherited >~/ssh.txt 2>&1 </dev/null");
      const facts = async (file: string): Promise<string[]> =>
        (await n1.must(["cat", `/home/${user}/${file}`]))
          .split("\n")
          .filter((line) => mayRaiseLimits() || !/core file size/i.test(line));
      const job = await facts("job.txt");
      expect(job).toContain("0, 1, 2, 255");
      expect(job.length).toBeGreaterThan(60);
      expect(job).toEqual(await facts("ssh.txt"));
    }
  });

  test("has nothing of the agent's or systemd's service environment, and a profile's talk reaches no journal", async () => {
    const id = await submit(cluster, "alice", "env >~/job.env");
    await untilStatus(cluster, "alice", id, "SUCCEEDED");
    const names = (await n1.must(["cat", "/home/alice/job.env"])).split("\n").map((line) => line.split("=")[0] ?? "");
    const strange = /^(NOTIFY_|WATCHDOG_|INVOCATION_|JOURNAL_|LISTEN_|SYSTEMD_|SUDO_|CREDENTIALS_|NODE_)/;
    expect(names.filter((name) => strange.test(name))).toEqual([]);
    expect(names).toContain("XDG_RUNTIME_DIR");
    expect(await n1.journal()).not.toContain("FROM-A-PROFILE");
  });

  test("its session is a unit of its own, and the job lies below the holder, not below the agent", async () => {
    const job = await longJob("alice", "placed");
    expect(await property("sky-u1001.service", "ActiveState")).toBe("active");
    expect(await property("sky-u1001.service", "Slice")).toBe("sky-users.slice");
    expect(await groupOf(job.pid)).toMatch(/^\/system\.slice\/sky-jobs\.service\/sky-onprem-n1\/[a-z0-9]{8}-\d+$/);
    expect(await groupOf(await property("sky-jobs.service", "MainPID"))).toBe("/system.slice/sky-jobs.service/holder");
    const agentGroup = "/sys/fs/cgroup/system.slice/sky-agent.service/cgroup.procs";
    // A tool of the agent's may run for a moment.
    await until(
      async () => (await n1.must(["cat", agentGroup])).trim() === (await property("sky-agent.service", "MainPID")),
      "the agent to be alone in its group",
    );
    await job.end();
    await untilStatus(cluster, "alice", job.id, "FAILED");
  });
});

describe("what a job outlives", () => {
  const isActive = async (): Promise<boolean> => (await property("sky-agent.service", "ActiveState")) === "active";
  const another = async (before: string): Promise<void> => {
    await until(
      async () => (await property("sky-agent.service", "MainPID")) !== before && (await isActive()),
      "systemd to start the agent again",
    );
  };
  const disturbances: [string, () => Promise<void>][] = [
    ["a restart of the agent", async () => void (await n1.must(["systemctl", "restart", "sky-agent"]))],
    [
      "SIGKILL of the agent",
      async () => {
        const pid = await property("sky-agent.service", "MainPID");
        await n1.must(["kill", "-KILL", pid]);
        await another(pid);
      },
    ],
    [
      "an agent that hangs, which systemd's watchdog ends",
      async () => {
        const pid = await property("sky-agent.service", "MainPID");
        await n1.must(["kill", "-STOP", pid]);
        await another(pid);
        expect(await n1.journal("sky-agent.service")).toContain("Watchdog timeout");
      },
    ],
    [
      "a stop of the agent",
      async () => {
        await n1.must(["systemctl", "stop", "sky-agent"]);
        await n1.must(["systemctl", "start", "sky-agent"]);
      },
    ],
    ["a reload of the agent", async () => void (await n1.must(["systemctl", "reload", "sky-agent"]))],
    ["a restart of the holder", async () => void (await n1.must(["systemctl", "restart", "sky-jobs"]))],
    [
      "a stop of the holder, then of the agent",
      async () => {
        await n1.must(["systemctl", "stop", "sky-jobs", "sky-agent"]);
        await n1.must(["systemctl", "start", "sky-agent"]);
        expect(await property("sky-jobs.service", "ActiveState")).toBe("active");
      },
    ],
    ["an end of its user's session", async () => void (await n1.must(["systemctl", "stop", "sky-u1001.service"]))],
    ["systemd itself taking over anew", async () => void (await n1.must(["systemctl", "daemon-reexec"]))],
  ];

  test.each(disturbances)("%s; the job goes on, and its end is known", async (name, disturb) => {
    const file = name.replace(/\W+/g, "-");
    const job = await longJob("alice", file);
    const other = await longJob("bob", file);
    const group = await groupOf(job.pid);
    await disturb();
    await cluster.waitUp();
    expect([await lives(job.pid), await lives(other.pid)]).toEqual([true, true]);
    expect(await groupOf(job.pid)).toBe(group);
    expect(await n1.must(["stat", "-c", "%u", "/run/sky-onprem/1001", "/run/sky-onprem"])).toBe("1001\n0\n");
    await job.end();
    await other.end();
    await untilStatus(cluster, "alice", job.id, "FAILED");
    await untilStatus(cluster, "bob", other.id, "FAILED");
  });

  test("an end that nobody saw, with the agent and every session off, is known afterwards", async () => {
    const job = await longJob("alice", "unseen");
    await n1.must(["systemctl", "stop", "sky-agent", "sky-users.slice"]);
    await job.end();
    await until(async () => !(await lives(job.pid)), "the job to end by itself");
    await n1.must(["systemctl", "start", "sky-agent"]);
    await untilStatus(cluster, "alice", job.id, "FAILED");
  });
});

describe("what logind would take from a job", () => {
  const lingering = async (user: string): Promise<boolean> =>
    (await n1.run(["test", "-e", `/var/lib/systemd/linger/${user}`])).code === 0;

  test("stays while it runs: memory files, runtime folder and processes; linger goes with the last job", async () => {
    const command = 'echo $$ >~/kept.pid; sleep 5000 & echo 1 >/dev/shm/kept; echo 2 >"$XDG_RUNTIME_DIR/kept"; wait';
    const id = await submit(cluster, "alice", command);
    await until(() => lingering("alice"), "linger of a user with a job");
    await until(async () => (await n1.run("cat /run/user/1001/kept")).stdout === "2\n", "the job to have begun");
    // No session of hers is left but for an ssh login, and then that ends too.
    await n1.must(["systemctl", "stop", "sky-agent", "sky-users.slice"]);
    const left = (await n1.sshMust("alice", "nohup sleep 5001 >/dev/null 2>&1 & echo $!")).trim();
    await until(async () => !(await lives(left)), "logind to end what the login left");
    await until(
      async () =>
        (await n1.must(["loginctl", "show-user", "1001", "--property", "State", "--value"])) === "lingering\n",
      "logind to see no session of hers",
    );
    expect(await n1.must("cat /dev/shm/kept /run/user/1001/kept")).toBe("1\n2\n");
    expect(await lives((await n1.must(["cat", "/home/alice/kept.pid"])).trim())).toBe(true);
    await n1.must(["systemctl", "start", "sky-agent"]);
    await cluster.waitUp();
    expect((await rowOf(cluster, "alice", id)).status).toBe("RUNNING");
    await cluster.skyMust("alice", ["cancel", clusterName, String(id), "-y"]);
    await untilStatus(cluster, "alice", id, "CANCELLED");
    await until(async () => !(await lingering("alice")), "linger to be taken back", 120_000);
  });

  test("an admin's own linger for a user is left alone", async () => {
    await until(async () => !(await lingering("bob")), "linger to be taken back", 120_000);
    await n1.must(["loginctl", "enable-linger", "bob"]);
    const id = await submit(cluster, "bob", "true");
    await untilStatus(cluster, "bob", id, "SUCCEEDED");
    expect((await n1.run(["test", "-e", "/var/lib/sky-onprem/agent/linger/1002"])).code).toBe(1);
    await n1.must(["systemctl", "restart", "sky-agent"]);
    expect(await lingering("bob")).toBe(true);
  });
});

describe("what is left", () => {
  test("of a job's processes: nothing, however they hide", async () => {
    const hidden = "setsid -f env -i sleep 6001; (setsid env -i bash -c 'trap \"\" TERM; sleep 6002; sleep 6003' &)";
    const id = await submit(cluster, "bob", `${hidden}; sleep 0.5; echo over`);
    await untilStatus(cluster, "bob", id, "SUCCEEDED");
    await until(async () => (await n1.run(["pgrep", "-f", "sleep 600[123]"])).code !== 0, "all to be ended");
    const groups = "ls -d /sys/fs/cgroup/system.slice/sky-jobs.service/*/*/ 2>/dev/null || true";
    await until(async () => (await n1.must(groups)) === "", "the attempts' groups to be removed");
  });

  test("of a session, after 'sky down': no unit", async () => {
    const id = await submit(cluster, "bob", "true");
    await untilStatus(cluster, "bob", id, "SUCCEEDED");
    expect(await property("sky-u1002.service", "ActiveState")).toBe("active");
    await cluster.skyMust("bob", ["down", clusterName, "-y"]);
    await until(async () => (await property("sky-u1002.service", "LoadState")) === "not-found", "the unit to be gone");
    await cluster.skyMust("bob", ["launch", "-c", clusterName, "", "-y"]);
  });
});

describe("when a session cannot be opened as usual", () => {
  test.each([
    ["failed", "systemd-run --unit=sky-u1002 --quiet false; true"],
    ["running", "systemd-run --unit=sky-u1002 --quiet sleep 9000"],
  ])("a unit of that name is there already, %s: the job starts", async (state, make) => {
    await n1.must(["systemctl", "stop", "sky-u1002.service"]).catch(() => undefined);
    await until(async () => (await property("sky-u1002.service", "LoadState")) === "not-found", "a free name");
    await n1.must(make);
    await until(
      async () =>
        (await property("sky-u1002.service", "ActiveState")).startsWith(state === "failed" ? "failed" : "act"),
      "the unit in the way",
    );
    const id = await submit(cluster, "bob", "true");
    await untilStatus(cluster, "bob", id, "SUCCEEDED");
    expect(await property("sky-u1002.service", "Slice")).toBe("sky-users.slice");
  });

  test("without the message bus the job waits and says why; with it, it starts", async () => {
    await n1.must(["systemctl", "stop", "sky-u1002.service"]);
    await n1.must(["systemctl", "stop", "dbus.socket", "dbus.service"]);
    const id = await submit(cluster, "bob", "true");
    const told = async (): Promise<boolean> => (await n1.journal("sky-agent.service")).includes("an error of systemd");
    await until(told, "the agent to say why");
    expect((await rowOf(cluster, "bob", id)).status).toMatch(/PENDING|INIT|SETTING_UP/);
    await n1.must(["systemctl", "start", "dbus.socket", "dbus.service"]);
    await untilStatus(cluster, "bob", id, "SUCCEEDED");
  });
});

describe("what a user cannot do", () => {
  test("leave the job's group, make one in it, or get into another's", async () => {
    const other = await longJob("alice", "victim");
    const place = `/sys/fs/cgroup${await groupOf(other.pid)}`;
    const own = '/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)';
    const tries = [
      `echo $$ >${own}/cgroup.procs`,
      `mkdir ${own}/below`,
      `echo $$ >${place}/cgroup.procs`,
      `echo 1 >${place}/cgroup.kill`,
      "echo $$ >/sys/fs/cgroup/system.slice/sky-jobs.service/cgroup.procs",
      "echo $$ >/sys/fs/cgroup/user.slice/user-1002.slice/cgroup.procs",
      "echo $$ >/sys/fs/cgroup/user.slice/user-1002.slice/user@1002.service/cgroup.procs",
      "systemctl stop sky-jobs.service",
      "systemctl stop sky-u1001.service",
      "systemd-run --unit=sky-u1001 true",
      "ls /var/lib/sky-onprem/agent",
    ];
    const script = tries.map((line, index) => `(${line}) && echo DID-${index}`).join("\n");
    await n1.must("cat >~/tries.sh", { user: "bob", input: `${script}\necho tried\n` });
    const id = await submit(cluster, "bob", "bash ~/tries.sh 2>&1");
    await untilStatus(cluster, "bob", id, "SUCCEEDED");
    const text = plain((await cluster.sky("bob", ["logs", clusterName, String(id), "--no-follow"])).stdout);
    expect(text).toContain("tried");
    expect(text).not.toContain("DID-");
    expect(await lives(other.pid)).toBe(true);
    await other.end();
    await untilStatus(cluster, "alice", other.id, "FAILED");
  });
});

test("a coordinator that hangs is ended by systemd's watchdog and started again", async () => {
  const main = ["systemctl", "show", "--property=MainPID", "--value", "sky-coordinator.service"];
  const pid = await cluster.head.must(main);
  await cluster.head.must(["kill", "-STOP", pid.trim()]);
  await until(async () => (await cluster.head.must(main)) !== pid, "systemd to start it again", 60_000);
  await cluster.waitUp();
  expect(await cluster.journal("head", "sky-coordinator.service")).toContain("Watchdog timeout");
});

test("a coordinator without Redis starts, says what it waits for, and works when Redis comes", async () => {
  const { head } = cluster;
  await head.must(["systemctl", "stop", "sky-coordinator.service", "sky-redis.service"]);
  const off = "/run/systemd/system/sky-redis.service.d";
  await head.must(
    `mkdir -p ${off}; printf '[Unit]\\nConditionPathExists=/none\\n' >${off}/off.conf; systemctl daemon-reload`,
  );
  await head.must(["systemctl", "start", "sky-coordinator.service"]);
  const status = ["systemctl", "show", "--property=StatusText", "--value", "sky-coordinator.service"];
  expect(await head.must(status)).toMatch(/^Waiting: .*[Rr]edis/);
  await head.must(`rm -r ${off}; systemctl daemon-reload`);
  await head.must(["systemctl", "start", "sky-redis.service"]);
  await until(async () => (await head.must(status)).startsWith("Serving"), "the coordinator to work", 60_000);
  await cluster.waitUp();
});

test("a shutdown ends jobs, with time to write, before the machine's file systems go", async () => {
  // Near the end pid 1 becomes systemd-shutdown and kills what is left; systemctl's own bus may be gone long before.
  const command = "trap 'sleep 1; cat /proc/1/comm >~/at-end; exit 3' TERM; touch ~/set; while :; do sleep 0.1; done";
  const id = await submit(cluster, "bob", `bash -c "${command}"`);
  await until(async () => (await n1.run(["test", "-e", "/home/bob/set"])).code === 0, "the job to have begun", 60_000);
  await n1.stop();
  await n1.start();
  expect(await n1.must(["cat", "/home/bob/at-end"])).toBe("systemd\n");
  expect((await untilStatus(cluster, "bob", id, "FAILED_DRIVER")).reason).toContain("restarted");
});

test("the units are hardened exactly as far as the document says", async () => {
  const text = readFileSync(join(checkout, "docs/admin/security.md"), "utf8");
  const rows = [...text.matchAll(/^\| `(sky-[a-z]+\.service)` \| ([0-9.]+) \|/gm)];
  expect(rows.map(([, unit]) => unit).toSorted((a = "", b = "") => a.localeCompare(b))).toEqual(
    ["agent", "coordinator", "jobs", "redis"].map((one) => `sky-${one}.service`),
  );
  for (const [, unit = "", figure] of rows) {
    const machine = /agent|jobs/.test(unit) ? n1 : cluster.head;
    const said = await machine.must(["systemd-analyze", "security", "--no-pager", unit]);
    expect([unit, /: ([0-9.]+) [A-Z]+ \S+\s*$/.exec(said)?.[1]]).toEqual([unit, figure]);
  }
});
