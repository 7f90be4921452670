/**
 * The playbooks against real machines without internet, in the order of a cluster's life: install, change, grow, upgrade,
 * go back, shrink, uninstall. An admin types them on this computer; users type `sky` on a machine that is only a client.
 * One world for all: each test begins with what the one before left.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { until } from "../help/until.ts";
import { type Desk, linesOf, rowOf, submit, untilStatus } from "./jobs.ts";
import type { Machine } from "./machine.ts";
import { startMachines, type World } from "./machines.ts";
import { type Inventory, type PlaybookResult, runPlaybook } from "./playbooks.ts";
import { type Release, theRelease } from "./release.ts";

const accelerators = { sky_agent_accelerators: "V100:4" };
const daemons = ["sky-redis", "sky-coordinator", "sky-agent", "sky-jobs"] as const;
const config = "/etc/sky-onprem/coordinator.yaml";
/** Where everything that is installed could lie, besides what changes by itself. */
const listing = `find / -xdev \\( -path /proc -o -path /sys -o -path /home -o -path /root -o -path /var/log -o -path /tmp \\
  -o -path /run/systemd -o -path /run/log -o -path /run/user -o -path /run/udev -o -path /run/sudo -o -path /var/tmp \\
  -o -path '/var/lib/systemd/*' -o -path /run/credentials -o -path /dev \\) -prune -o -print | sort`;

let world: World;
let release: Release;
let next: Release;
let inventory: Inventory;
let desk: Desk;
/** What lay on each machine before anything was installed. */
const before = new Map<string, string[]>();

beforeAll(async () => {
  release = await theRelease();
  next = await theRelease("9.9.9");
  world = await startMachines({
    machines: ["head", "n1", "n2", "desk"],
    users: ["alice", "bob", { name: "ops", sudo: true }],
  });
  inventory = {
    vars: { sky_cluster: "lab", sky_releases: { [process.arch]: release.archive }, sky_admins: ["bob"] },
    head: "head",
    nodes: { head: { sky_agent_accelerators: "-" }, n1: accelerators },
    clients: ["desk"],
  };
  const machine = world.machine("desk");
  desk = {
    sky: (user, words, options) => machine.run(["sky", ...words], { ...options, user }),
    skyMust: (user, words, options) => machine.must(["sky", ...words], { ...options, user }),
  };
  for (const one of world.machines) {
    before.set(one.name, await filesOn(one));
  }
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    process.stdout.write(await world.tell());
  }
});
afterAll(async () => {
  await world?.stop();
});

async function filesOn(machine: Machine): Promise<string[]> {
  return (await machine.must(listing)).trim().split("\n");
}

async function play(name: string, words: readonly string[] = [], changes: Partial<Inventory> = {}) {
  return await runPlaybook(world, name, { ...inventory, ...changes }, words);
}

/** For a run that must succeed. */
async function played(name: string, words: readonly string[] = [], changes: Partial<Inventory> = {}) {
  const result = await play(name, words, changes);
  expect(result.code, result.text).toBe(0);
  return result;
}

function changesOf(result: PlaybookResult): Record<string, number> {
  return Object.fromEntries(Object.entries(result.machines).map(([name, { changed }]) => [name, changed]));
}

function withVars(vars: Record<string, unknown>): Partial<Inventory> {
  return { vars: { ...inventory.vars, ...vars } };
}

/** The main process of a daemon: it changes when the daemon was restarted. */
async function pidOf(machine: string, daemon: (typeof daemons)[number]): Promise<string> {
  const argv = ["systemctl", "show", "--property=MainPID", "--value", `${daemon}.service`];
  return (await world.machine(machine).must(argv)).trim();
}

async function pids(): Promise<Record<string, string>> {
  const places = [
    ...daemons.map((daemon) => ["head", daemon] as const),
    ...Object.keys(inventory.nodes).flatMap((node) => [[node, "sky-agent"] as const, [node, "sky-jobs"] as const]),
  ];
  const found = await Promise.all(places.map(async ([one, daemon]) => [`${one} ${daemon}`, await pidOf(one, daemon)]));
  return Object.fromEntries(found) as Record<string, string>;
}

/** Which daemons have another process than they had. */
function restarted(earlier: Record<string, string>, later: Record<string, string>): string[] {
  return Object.keys(earlier)
    .filter((one) => later[one] !== earlier[one])
    .sort();
}

interface Row {
  name: string;
  state: string;
  version: string | null;
}

async function nodeRows(): Promise<Row[]> {
  const script = `import http.client, socket, sys
c = http.client.HTTPConnection("localhost"); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])
c.request("GET", "/onprem/admin/nodes"); sys.stdout.write(c.getresponse().read().decode())`;
  const text = await world.machine("head").must(["python3", "-c", script, "/run/sky-coordinator/api.sock"]);
  return (JSON.parse(text) as { nodes: Row[] }).nodes;
}

function isNext(version: string | null): boolean {
  return version?.startsWith("9.9.9-") === true;
}

/** A job of alice's that runs until she says so; resolves when it runs. */
async function longJob(name: string, node: string): Promise<number> {
  const id = await submit(
    desk,
    "alice",
    `echo begun; while [ ! -e ~/end-${name} ]; do sleep 0.2; done; echo "over ${name}"`,
    ["--gpus", "V100:1"],
  );
  const row = await untilStatus(desk, "alice", id, "RUNNING");
  expect(row.nodes).toEqual([node]);
  return id;
}

async function endLongJob(name: string, id: number, node: string): Promise<void> {
  await world.machine(node).must(["touch", `/home/alice/end-${name}`], { user: "alice" });
  await untilStatus(desk, "alice", id, "SUCCEEDED");
  expect(await linesOf(desk, "alice", id)).toEqual(["begun", `over ${name}`]);
}

test("what would happen is shown, and nothing is changed by looking", async () => {
  const result = await played("site.yml", ["--check", "--diff"]);
  expect(result.text).toContain("has nothing of sky-onprem yet");
  for (const machine of world.machines) {
    expect(await filesOn(machine)).toEqual(before.get(machine.name));
  }
});

test("what is missing is named, with the machine, before anything runs", async () => {
  const noArchive = await play("site.yml", [], withVars({ sky_releases: {} }));
  expect(noArchive.code).not.toBe(0);
  expect(noArchive.text).toContain("No release archive for machine n1 (");
  const twoHeads = await play("site.yml", ["--limit", "n1"]);
  expect(twoHeads.text).toContain("add head to --limit");
  const noRoot = await play("site.yml", [], withVars({ ansible_user: "alice" }));
  expect(noRoot.text).toMatch(/On machine (head|n1|desk) this is not root/);
  expect(await filesOn(world.machine("n1"))).toEqual(before.get("n1"));
});

test("an ordinary user with sudo makes three machines a cluster on which users run jobs", async () => {
  const result = await played("site.yml", [], withVars({ ansible_user: "ops", ansible_become: true }));
  process.stdout.write(`fresh install of ${Object.keys(result.machines).length} machines: ${result.seconds} s\n`);
  expect(Object.keys(result.machines).sort()).toEqual(["desk", "head", "n1"]);
  const text = readFileSync(join(world.folder, "lab.yml"), "utf8");
  expect(parse(text)).toEqual({
    cluster: { ips: ["10.213.7.10", "10.213.7.11"], name: "lab" },
    auth: { ssh_user: "PLACEHOLDER", ssh_private_key: "PLACEHOLDER" },
  });
  for (const user of ["alice", "bob"]) {
    const filled = text
      .replace("ssh_user: PLACEHOLDER", `ssh_user: ${user}`)
      .replace("PLACEHOLDER", "~/.ssh/id_ed25519");
    await world.machine("desk").must("mkdir -p ~/.sky/local && cat >~/.sky/local/lab.yml", { user, input: filled });
    await desk.skyMust(user, ["launch", "-y", "-c", "lab", ""]);
  }
  const id = await submit(desk, "alice", "echo I am $(id -un) on $(hostname)", ["--gpus", "V100:1"]);
  await untilStatus(desk, "alice", id, "SUCCEEDED");
  expect(await linesOf(desk, "alice", id)).toEqual(["I am alice on n1"]);
});

test("keys stay where they were made, and files are as closed as they must be", async () => {
  const modes = async (machine: string, paths: string[]): Promise<string[]> =>
    (await world.machine(machine).must(["stat", "--format=%n %U:%G %a", ...paths])).trim().split("\n");
  const state = "/var/lib/sky-onprem";
  expect(
    await modes("head", [config, state, `${state}/coordinator`, `${state}/coordinator/host_key`, `${state}/redis`]),
  ).toEqual([
    `${config} root:sky-coordinator 640`,
    `${state} root:root 755`,
    `${state}/coordinator sky-coordinator:sky-coordinator 700`,
    `${state}/coordinator/host_key sky-coordinator:sky-coordinator 600`,
    `${state}/redis sky-coordinator:sky-coordinator 700`,
  ]);
  const redis = await modes("head", [
    `${state}/redis/redis.sock`,
    "/etc/sky-onprem/redis.conf",
    "/etc/sky-onprem/lab.yml",
  ]);
  expect(redis.map((line) => line.split(" ").at(-1))).toEqual(["700", "640", "644"]);
  expect(await modes("n1", ["/etc/sky-onprem/agent.yaml", `${state}/agent`, `${state}/agent/node_key`])).toEqual([
    "/etc/sky-onprem/agent.yaml root:root 644",
    `${state}/agent root:root 700`,
    `${state}/agent/node_key root:root 600`,
  ]);
  for (const name of ["head", "n1"]) {
    const script = "find /opt/sky-onprem /etc/sky-onprem ! -type l \\( ! -user root -o -perm /022 \\)";
    expect([name, await world.machine(name).must(script)]).toEqual([name, ""]);
    const left = await world.machine(name).must("find /tmp /var/tmp /root /home/ops -newer /etc/sky-onprem -type f");
    expect([name, left]).toEqual([name, ""]);
  }
  expect(await world.machine("head").must(["id", "-nG", "bob"])).toContain("sky-admin");
  expect((await world.machine("desk").run(["getent", "passwd", "sky-coordinator"])).code).toBe(2);
});

test("Redis is ours alone: no port, the distribution's service as it was", async () => {
  const head = world.machine("head");
  expect(await head.must("ss -Hltnp")).not.toContain("redis");
  const unit = await head.run("systemctl is-enabled redis-server; systemctl is-active redis-server");
  expect(unit.stdout).toBe("disabled\ninactive\n");
  const conversation = "CONFIG GET appendonly\nCONFIG GET appendfsync\n";
  const answers = await head.must(["redis-cli", "-s", "/var/lib/sky-onprem/redis/redis.sock"], { input: conversation });
  expect(answers.trim().split("\n")).toEqual(["appendonly", "yes", "appendfsync", "always"]);
  const refused = await head.run(["redis-cli", "-s", "/var/lib/sky-onprem/redis/redis.sock", "PING"], {
    user: "alice",
  });
  expect(refused.stdout + refused.stderr).toContain("Permission denied");
});

test("the effective config is what the inventory says", async () => {
  const bin = "/opt/sky-onprem/current/bin";
  const coordinator = parse(
    await world.machine("head").must([`${bin}/sky-coordinator`, "--config", config, "--check"]),
  );
  expect(coordinator).toMatchObject({ cluster: "lab", listen: { address: "0.0.0.0", port: 7422 }, grace_seconds: 30 });
  const agent = parse(
    await world.machine("n1").must([`${bin}/sky-agent`, "--config", "/etc/sky-onprem/agent.yaml", "--check"]),
  );
  expect(agent).toMatchObject({ node: "n1", coordinator: { address: "10.213.7.10" }, accelerators: "V100:4" });
});

test("a second run changes nothing, and restarts nothing", async () => {
  const earlier = await pids();
  expect(changesOf(await played("site.yml"))).toEqual({ head: 0, n1: 0, desk: 0 });
  expect(changesOf(await played("site.yml", ["--check", "--diff"]))).toEqual({ head: 0, n1: 0, desk: 0 });
  expect(restarted(earlier, await pids())).toEqual([]);
});

test("a node is added: the coordinator learns of it, jobs go on, other agents are not touched", async () => {
  const id = await longJob("add", "n1");
  const earlier = await pids();
  inventory.nodes = { ...inventory.nodes, n2: accelerators };
  expect(changesOf(await played("site.yml"))).toMatchObject({ n1: 0, desk: 0 });
  expect((await nodeRows()).map(({ name, state }) => `${name} ${state}`)).toEqual(["head UP", "n1 UP", "n2 UP"]);
  expect(restarted(earlier, await pids())).toEqual(["head sky-coordinator"]);
  await endLongJob("add", id, "n1");
});

test("a setting is changed: what must is restarted, and a running job goes on", async () => {
  const id = await longJob("set", "n1");
  const earlier = await pids();
  inventory.vars = { ...inventory.vars, sky_coordinator_grace_seconds: 5 };
  inventory.nodes = { ...inventory.nodes, n2: { ...accelerators, sky_agent_cpus: 3 } };
  const shown = await played("site.yml", ["--check", "--diff"]);
  expect(shown.text).toContain("+grace_seconds: 5");
  expect(restarted(earlier, await pids())).toEqual([]);
  await played("site.yml");
  expect(restarted(earlier, await pids())).toEqual(["head sky-coordinator", "n2 sky-agent"]);
  await endLongJob("set", id, "n1");
});

test("a mistake stops nothing: the config that is there stays, and the fault is named", async () => {
  const earlier = await pids();
  const text = await world.machine("head").must(["cat", config]);
  const wrong = await play("site.yml", [], withVars({ sky_coordinator_grace_seconds: "soon" }));
  expect(wrong.code).not.toBe(0);
  expect(wrong.text).toContain("grace_seconds");
  const forgotten = await play("site.yml", [], { nodes: { head: {}, n1: accelerators } });
  expect(forgotten.text).toContain("n2: a node of the cluster that is not in sky_nodes");
  expect(await world.machine("head").must(["cat", config])).toBe(text);
  expect(restarted(earlier, await pids())).toEqual([]);
});

test("a program that is missing and cannot be installed is named with its machine and what to type", async () => {
  const head = world.machine("head");
  await head.must("mv /usr/bin/redis-server /usr/bin/redis-server.away");
  const result = await play("site.yml", ["--limit", "head"]);
  await head.must("mv /usr/bin/redis-server.away /usr/bin/redis-server");
  expect(result.code).not.toBe(0);
  expect(result.text).toContain("Machine head lacks redis-server, and apt could not install it");
  expect(result.text).toContain("(apt-get install redis-server) and run this again");
});

test("a node that is down keeps its place, and the others get what has changed", async () => {
  await world.machine("n2").kill();
  inventory.vars = { ...inventory.vars, sky_coordinator_grace_seconds: 6 };
  const result = await play("site.yml", ["-e", "ansible_ssh_timeout=3"]);
  expect(result.machines).toMatchObject({ head: { failed: 0 }, n1: { failed: 0 }, n2: { unreachable: 1 } });
  const now = parse(await world.machine("head").must(["cat", config])) as { nodes: { name: string }[] };
  expect(now).toMatchObject({ grace_seconds: 6, nodes: [{ name: "head" }, { name: "n1" }, { name: "n2" }] });
  await world.machine("n2").start();
  await until(async () => (await nodeRows()).every(({ state }) => state === "UP"), "n2 to be back", 60_000);
});

test("an upgrade while jobs run: none ends, and users can submit again within seconds", async () => {
  const id = await longJob("upgrade", "n1");
  const earlier = await pids();
  let longest = 0;
  let last = performance.now();
  const over = { now: false };
  const submitUntilOver = async (): Promise<void> => {
    while (!over.now) {
      const done = await desk.sky("bob", ["exec", "-c", "lab", "-d", "--", "true"], { limitMs: 120_000 });
      if (done.code === 0) {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      }
    }
  };
  const submitting = submitUntilOver();
  const words = ["-e", JSON.stringify({ sky_releases: { [process.arch]: next.archive } })];
  const shown = await played("upgrade.yml", ["--check", "--diff", ...words]);
  expect(shown.text).toContain(`Machine n1 has not got release ${next.name}; it would be brought`);
  expect(changesOf(shown)).toEqual({ head: 0, n1: 0, n2: 0, desk: 0 });
  const result = await played("upgrade.yml", words).finally(() => {
    over.now = true;
  });
  await submitting;
  process.stdout.write(
    `upgrade: ${result.seconds} s; longest time between two submissions ${Math.round(longest)} ms\n`,
  );
  expect(longest).toBeLessThan(30_000);
  expect((await nodeRows()).map(({ version, state }) => [isNext(version), state])).toEqual(
    Object.keys(inventory.nodes).map(() => [true, "UP"]),
  );
  expect(restarted(earlier, await pids())).toEqual([
    "head sky-agent",
    "head sky-coordinator",
    "n1 sky-agent",
    "n2 sky-agent",
  ]);
  for (const machine of world.machines) {
    expect(await machine.must(["sky", "--version"])).toContain("9.9.9");
  }
  expect((await rowOf(desk, "alice", id)).status).toBe("RUNNING");
  await endLongJob("upgrade", id, "n1");
});

test("it stops at the first node that does not come back", async () => {
  const astray = { ...accelerators, sky_agent_coordinator_port: 1, sky_agent_up_seconds: 3 };
  const words = ["-e", `sky_version=${release.name}`, "-e", "sky_serial=1"];
  const result = await play("upgrade.yml", words, { nodes: { head: {}, n1: astray, n2: accelerators } });
  expect(result.code).not.toBe(0);
  expect(await world.machine("n2").must(["readlink", "/opt/sky-onprem/current"])).toBe(`${next.name}\n`);
  const rows = await nodeRows();
  expect(rows.map(({ name, state }) => `${name} ${state}`)).toEqual(["head UP", "n1 UNREACHABLE", "n2 UP"]);
  expect(rows.filter(({ version }) => isNext(version)).map(({ name }) => name)).toContain("n2");
});

test("going back to a release that is still there is an upgrade too", async () => {
  const id = await longJob("back", "n2");
  const redis = await pidOf("head", "sky-redis");
  await played("upgrade.yml", ["-e", `sky_version=${release.name}`, "-e", "sky_serial=100%"]);
  const rows = (await nodeRows()).map(({ name, state, version }) => `${name} ${state} ${isNext(version)}`);
  expect(rows).toEqual(["head UP false", "n1 UP false", "n2 UP false"]);
  expect(await pidOf("head", "sky-redis")).toBe(redis);
  await endLongJob("back", id, "n2");
});

test("a node is removed only when no job runs there, or when that is said", async () => {
  const id = await longJob("stay", "n1");
  const removing = ["-e", "sky_node=n1"];
  const refused = await play("remove-node.yml", removing);
  expect(refused.code).not.toBe(0);
  expect(refused.text).toContain(`Node n1 still runs job ${id} of alice`);
  expect((await rowOf(desk, "alice", id)).status).toBe("RUNNING");
  await played("remove-node.yml", [...removing, "-e", "sky_force=true"]);
  expect(["FAILED_DRIVER", "CANCELLED", "FAILED"]).toContain((await rowOf(desk, "alice", id)).status);
  expect((await world.machine("n1").run("systemctl is-active sky-agent; pgrep -u alice -f end-stay")).stdout).toBe(
    "inactive\n",
  );
  expect((await nodeRows()).map(({ name }) => name)).toEqual(["head", "n2"]);
  // An empty node needs no force: what the playbook finds there is nothing, also when it is asked a second time.
  await played("remove-node.yml", removing);
  await played("uninstall.yml", ["--limit", "n1", "-e", "sky_purge=true"]);
  const { n1, ...others } = inventory.nodes;
  inventory.nodes = others;
  expect(n1).toBeDefined();
  expect(changesOf(await played("site.yml"))).toEqual({ head: 0, n2: 0, desk: 0 });
});

test("uninstalling refuses while jobs run, keeps the state, and leaves nothing else", async () => {
  const id = await longJob("last", "n2");
  const refused = await play("uninstall.yml");
  expect(refused.code).not.toBe(0);
  expect(refused.text).toMatch(/Jobs run on machine n2 .*1001\//s);
  expect(changesOf(refused)).toEqual({ head: 0, n2: 0, desk: 0 });
  await endLongJob("last", id, "n2");
  const gone = async () => (await world.machine("n2").must("ls /run/sky-onprem/1001")).trim() === "";
  await until(gone, "the job's files to be gone", 60_000);
  const result = await played("uninstall.yml");
  expect(result.text).toContain("the state in /var/lib/sky-onprem");
  await world.machine("head").must("test -s /var/lib/sky-onprem/coordinator/host_key && id sky-coordinator");
  await played("uninstall.yml", ["-e", "sky_purge=true"]);
  for (const machine of world.machines) {
    const known = new Set(before.get(machine.name));
    const more = (await filesOn(machine)).filter((path) => !known.has(path));
    expect([machine.name, more.filter((path) => /sky|redis|alice|1001/.test(path))]).toEqual([machine.name, []]);
    const accounts = await machine.must("getent passwd; getent group");
    expect(accounts).not.toContain("sky-");
    // sky.slice is the empty parent that systemd itself made for sky-users.slice; other products' slices may be in it.
    const units = await machine.must(
      "systemctl list-units --all --plain --no-legend 'sky*' | grep -v '^sky.slice ' || true",
    );
    expect([machine.name, units]).toEqual([machine.name, ""]);
    expect((await machine.run("pgrep -af sky-onprem")).stdout).toBe("");
  }
  await world.machine("n2").must("test -d ~/.sky && test -d ~/sky_logs", { user: "alice" });
});
