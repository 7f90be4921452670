/** The test machines themselves: boot, log in, lose network and power, fill and lose disks, and leave nothing behind. */
import { existsSync, readdirSync } from "node:fs";
import { basename } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { launch, must, run } from "../help/run.ts";
import { until } from "../help/until.ts";
import { sweep, worldsDir } from "./identity.ts";
import { startMachines, type World } from "./machines.ts";

/** What of a world could be left on this computer. */
async function remains(name: string): Promise<string[]> {
  const folders = readdirSync(worldsDir).filter((entry) => entry === name);
  const mounts = (await must(["cat", "/proc/mounts"])).split("\n").filter((line) => line.includes(name));
  const loops = (await must(["losetup", "--list", "--noheadings", "--output=BACK-FILE"]))
    .split("\n")
    .filter((line) => line.includes(name));
  const processes = (await run(["pgrep", "--full", "--list-full", name])).stdout
    .split("\n")
    .filter((line) => line !== "");
  const groups = await must(["find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", name]);
  return [...folders, ...mounts, ...loops, ...processes, ...groups.split("\n").filter((line) => line !== "")];
}

describe("two machines with homes of their own", () => {
  let world: World;

  beforeAll(async () => {
    world = await startMachines({
      machines: ["head", "n1"],
      users: ["alice", { name: "bob", groups: ["lab"], sudo: true }],
      disks: { n1: [{ path: "/var/lib/precious", megabytes: 64 }] },
    });
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") {
      process.stdout.write(await world.tell());
    }
  });
  afterAll(async () => {
    const name = basename(world.folder);
    expect(await remains(name)).not.toEqual([]);
    await world.stop();
    await until(async () => (await remains(name)).length === 0, "everything of the world to be gone");
  });

  test("boot cleanly, each with its own name and a control group tree of its own", async () => {
    for (const machine of world.machines) {
      expect(await machine.must(["systemctl", "is-system-running"])).toBe("running\n");
      expect(await machine.must(["hostname"])).toBe(`${machine.name}\n`);
      const groups =
        "mkdir /sys/fs/cgroup/own && cat /sys/fs/cgroup/own/cgroup.freeze && echo 1 >/sys/fs/cgroup/own/cgroup.kill";
      expect(await machine.must(groups)).toBe("0\n");
    }
    await world.machine("head").must(["touch", "/etc/only-here"]);
    expect(existsSync(`${world.machine("head").root}/etc/only-here`)).toBe(true);
    expect(existsSync(`${world.machine("n1").root}/etc/only-here`)).toBe(false);
  });

  test("users log in by ssh, from outside and from machine to machine, with the same ids and a login session", async () => {
    for (const machine of world.machines) {
      expect(await machine.sshMust("alice", "id -u; id -un; pwd; tty; echo $XDG_RUNTIME_DIR")).toBe(
        "1001\nalice\n/home/alice\nnot a tty\n/run/user/1001\n",
      );
      expect(await machine.sshMust("bob", ["sudo", "-n", "id", "-un"])).toBe("root\n");
      expect(await machine.must(["id", "-nG"], { user: "bob" })).toBe("bob lab\n");
    }
    expect(await world.machine("head").sshMust("alice", "ssh -o BatchMode=yes n1 hostname")).toBe("n1\n");
    expect(await world.must(["ssh", "-F", world.sshConfig, "n1", "cat"], { input: "from outside" })).toBe(
      "from outside",
    );
  });

  test("a program that a test runs on a machine has that machine's ids, folders, input and exit code", async () => {
    const n1 = world.machine("n1");
    expect(await n1.must("id -un; pwd; cat; echo $HOME", { user: "alice", input: "typed\n" })).toBe(
      "alice\n/home/alice\ntyped\n/home/alice\n",
    );
    expect((await n1.run("exit 7")).code).toBe(7);
    await expect(n1.run("sleep 60", { limitMs: 500 })).rejects.toThrow("ran past 500 ms");
  });

  test("a cut network lets nothing through; when it is joined again open connections go on", async () => {
    const [head, n1] = [world.machine("head"), world.machine("n1")];
    const talk = head.launch(["ssh", "-o", "BatchMode=yes", "n1", "cat"], { user: "alice", openInput: true });
    talk.child.stdin?.write("before\n");
    await until(() => talk.stdout().includes("before"), "the first line");
    await n1.cut();
    talk.child.stdin?.write("during\n");
    expect((await head.run(["ping", "-c", "1", "-W", "1", "n1"])).code).not.toBe(0);
    expect(talk.stdout()).toBe("before\n");
    expect(await n1.must(["hostname"])).toBe("n1\n");
    await n1.join();
    await until(() => talk.stdout().includes("during"), "the line that was typed during the cut");
    talk.child.stdin?.end();
    expect((await talk.ended).code).toBe(0);
  });

  test("a machine that loses its power comes back with its disk and without its processes", async () => {
    const n1 = world.machine("n1");
    await n1.must("echo kept >/root/kept; mkdir -p /run/lost");
    const before = await n1.must(["cat", "/proc/sys/kernel/random/boot_id"]);
    const running = n1.launch("sleep 1000");
    await n1.kill();
    expect((await running.ended).signal ?? (await running.ended).code).not.toBe(0);
    expect(() => n1.launch("true")).toThrow("n1 is off");
    await n1.start();
    expect(await n1.must("cat /root/kept; ls /run/lost 2>/dev/null || echo none; pgrep sleep || echo none")).toBe(
      "kept\nnone\nnone\n",
    );
    expect(await n1.must(["cat", "/proc/sys/kernel/random/boot_id"])).not.toBe(before);
    expect(await n1.sshMust("alice", "echo back")).toBe("back\n");
  });

  test("what was fsynced to a disk of its own survives a power loss; what was not is gone", async () => {
    const n1 = world.machine("n1");
    await n1.must("cd /var/lib/precious && echo safe >safe && sync safe . && echo unsafe >unsafe && cat unsafe");
    await n1.kill();
    await n1.start();
    expect(await n1.must("cd /var/lib/precious && ls && cat safe")).toBe("safe\nsafe\n");
  });

  test("a small folder can be filled and freed", async () => {
    const head = world.machine("head");
    await head.must("mkdir -p /srv/small && echo content >/srv/small/file && chown alice /srv/small");
    await expect(head.fill("/srv/small")).rejects.toThrow("no small disk");
    await head.makeSmall("/srv/small", 4);
    await head.fill("/srv/small");
    const full = await head.run("cat file && echo more >new", { user: "alice", cwd: "/srv/small" });
    expect(full.stdout).toBe("content\n");
    expect(full.stderr).toContain("No space left");
    await head.free("/srv/small");
    await head.must("echo more >new", { user: "alice", cwd: "/srv/small" });
  });
});

test("homes may be shared, and worlds with the same addresses run side by side", async () => {
  await using one = await startMachines({ machines: ["head", "n1"], users: ["alice"], sharedHome: true });
  await using two = await startMachines({ machines: ["head"], users: ["alice"] });
  await one.machine("head").sshMust("alice", "echo hello >~/greeting");
  expect(await one.machine("n1").sshMust("alice", "cat ~/greeting")).toBe("hello\n");
  expect((await two.machine("head").ssh("alice", "cat ~/greeting")).code).not.toBe(0);
});

test("a world whose test was killed ends at once, and the next start removes what is left of it", async () => {
  const program = `import { startMachines } from ${JSON.stringify(new URL("machines.ts", import.meta.url).href)};
    const world = await startMachines({ machines: ["head"], disks: { head: [{ path: "/srv/disk", megabytes: 32 }] } });
    world.machine("head").launch("sleep 1000");
    process.stdout.write(world.folder + " " + world.machine("head").init + "\\n");
    setInterval(() => {}, 1000);`;
  const owner = launch([process.execPath, "--import", "tsx", "--input-type=module", "-e", program], {
    cwd: new URL("../..", import.meta.url).pathname,
    limitMs: 300_000,
  });
  const line = await until(() => /^(\S+) (\d+)\n/.exec(owner.stdout()), `a world: ${owner.stderr()}`, 120_000);
  const name = basename(line[1] ?? "");
  owner.child.kill("SIGKILL");
  await owner.ended;
  await until(() => !existsSync(`/proc/${line[2]}`), "the machine's init to end");
  // Another test's start may have done it already.
  await sweep();
  await until(async () => (await remains(name)).length === 0, "everything of the world to be gone");
});
