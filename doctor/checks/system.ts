/**
 * The system under the daemons: cgroups, systemd, kernel settings, our own units and what waits for a restart.
 */
import type { Finding } from "../../shared/doctor.ts";
import { type Check, speaker } from "../check.ts";

const oldestSystemd = 247;

export const cgroup: Check = {
  id: "cgroup",
  async run(probes) {
    const say = speaker("cgroup");
    const why =
      "Without it what a job leaves behind is found by its session only, and a job that hides can outlive its end.";
    const table = (await probes.file("/proc/self/mountinfo")) ?? "";
    const mounts = table.split("\n").filter((row) => / - cgroup2 /.test(row));
    if (mounts.length === 0) {
      const mend =
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub && update-grub && systemctl reboot";
      return [say.warn("There is no cgroup hierarchy of version 2.", why, mend)];
    }
    const [row = ""] = mounts;
    const [left = "", right = ""] = row.split(" - ");
    const fields = left.split(" ");
    const path = fields[4] ?? "/sys/fs/cgroup";
    const isReadOnly = [fields[5] ?? "", right.split(" ")[2] ?? ""].some((options) =>
      options.split(",").includes("ro"),
    );
    if (isReadOnly) {
      return [say.warn(`cgroups of version 2 at ${path} cannot be written.`, why, `mount -o remount,rw ${path}`)];
    }
    const controllers = ((await probes.file(`${path}/cgroup.controllers`)) ?? "").trim().split(" ");
    const missing = ["cpu", "memory", "pids"].filter((name) => !controllers.includes(name));
    return missing.length === 0
      ? [say.ok(`cgroups of version 2 at ${path}.`)]
      : [
          say.ok(
            `cgroups of version 2 at ${path}, without the controllers ${missing.join(", ")}; jobs are found and ended by them all the same.`,
          ),
        ];
  },
};

export const systemd: Check = {
  id: "systemd",
  async run(probes) {
    const say = speaker("systemd");
    if ((await probes.list("/run/systemd/system")) === null) {
      const why =
        "Daemons are not started again after a fault or a restart of the machine, and jobs get no unit of their own.";
      return [say.warn("systemd does not run this machine.", why, null)];
    }
    const answer = await probes.tool(["systemctl", "--version"]);
    const version = Number(/^systemd (\d+)/.exec(answer.stdout)?.[1] ?? Number.NaN);
    if (Number.isNaN(version)) {
      return [say.unknown("systemctl does not say its version.")];
    }
    if (version < oldestSystemd) {
      const why = `What the units of this product ask for is known from version ${oldestSystemd} on.`;
      return [say.error(`systemd is version ${version}.`, why, "apt-get update && apt-get full-upgrade")];
    }
    return [say.ok(`systemd ${version}.`)];
  },
};

/** Properties as `systemctl show` prints them. */
function properties(text: string): Map<string, string> {
  return new Map(text.split("\n").map((row) => [row.slice(0, row.indexOf("=")), row.slice(row.indexOf("=") + 1)]));
}

export const units: Check = {
  id: "units",
  async run(probes, site) {
    const say = speaker("units");
    if ((await probes.list("/run/systemd/system")) === null) {
      return [say.ok("Not run by systemd.")];
    }
    const names = [
      ...(site.node === null ? [] : ["sky-agent.service", "sky-jobs.service"]),
      ...(site.head === null ? [] : ["sky-redis.service", "sky-coordinator.service"]),
    ];
    const wanted = ["LoadState", "ActiveState", "SubState", "NRestarts", "UnitFileState", "ExecMainPID"];
    const current = await probes.link("/opt/sky-onprem/current");
    const found: Finding[] = [];
    let installed = 0;
    for (const name of names) {
      const shown = properties(
        (await probes.tool(["systemctl", "show", ...wanted.map((each) => `--property=${each}`), name])).stdout,
      );
      const state = shown.get("ActiveState") ?? "?";
      if (shown.get("LoadState") === "not-found") {
        continue;
      }
      installed += 1;
      if (state !== "active") {
        const why =
          name === "sky-jobs.service"
            ? "Jobs get no cgroup of their own without it."
            : "Nothing of the cluster works here without it.";
        found.push(
          say.error(
            `${name} is ${state} (${shown.get("SubState")}).`,
            why,
            `systemctl restart ${name}; journalctl --unit ${name} --lines 20 --no-pager`,
          ),
        );
      } else if (shown.get("UnitFileState") === "disabled") {
        found.push(
          say.warn(
            `${name} runs but is not enabled.`,
            "After a restart of the machine it stays away.",
            `systemctl enable ${name}`,
          ),
        );
      }
      const restarts = Number(shown.get("NRestarts") ?? 0);
      if (restarts > 3) {
        found.push(
          say.warn(
            `${name} was started again ${restarts} times by itself.`,
            "It ends with a fault now and then.",
            `journalctl --unit ${name} --priority err --lines 50 --no-pager`,
          ),
        );
      }
      const program = await probes.link(`/proc/${shown.get("ExecMainPID") ?? "0"}/exe`);
      const release = /^\/opt\/sky-onprem\/([^/]+)\//.exec(program ?? "")?.[1];
      if (release !== undefined && current !== null && release !== current.split("/").findLast((part) => part !== "")) {
        found.push(
          say.warn(
            `${name} still runs release ${release}; ${current} is installed.`,
            "What was mended in the newer one is not in effect.",
            `systemctl restart ${name}`,
          ),
        );
      }
    }
    return found.length > 0
      ? found
      : [say.ok(installed === 0 ? "No unit of this product is installed here." : `${installed} units are active.`)];
  },
};

export const kernel: Check = {
  id: "kernel",
  async run(probes) {
    const say = speaker("kernel");
    const number = async (path: string): Promise<number> =>
      Number.parseInt((await probes.file(`/proc/sys/${path}`)) ?? "", 10);
    const found: Finding[] = [];
    const keep = (key: string, value: number): string =>
      `echo '${key} = ${value}' > /etc/sysctl.d/90-sky-onprem-${key.split(".").at(-1)?.replaceAll("_", "-")}.conf && sysctl --system`;
    const pids = await number("kernel/pid_max");
    const cpus = ((await probes.file("/proc/cpuinfo")) ?? "").match(/^processor\s*:/gm)?.length ?? 1;
    if (pids < 65_536 && cpus >= 16) {
      found.push(
        say.warn(
          `kernel.pid_max is ${pids} on ${cpus} CPUs.`,
          "Loaders and OpenMP start a thread for each CPU and job; when numbers run out nothing starts any more.",
          keep("kernel.pid_max", 4_194_304),
        ),
      );
    }
    for (const name of ["protected_symlinks", "protected_hardlinks"]) {
      if ((await number(`fs/${name}`)) === 0) {
        found.push(
          say.error(
            `fs.${name} is off.`,
            "Users can trick programs of others and of root by links in /tmp.",
            keep(`fs.${name}`, 1),
          ),
        );
      }
    }
    const instances = await number("fs/inotify/max_user_instances");
    if (instances < 256 && cpus >= 16) {
      found.push(
        say.warn(
          `fs.inotify.max_user_instances is ${instances}.`,
          "Editors, notebooks and trainers of one user need some each and fail without.",
          keep("fs.inotify.max_user_instances", 1024),
        ),
      );
    }
    const overcommit = await number("vm/overcommit_memory");
    if (overcommit === 2) {
      found.push(
        say.warn(
          "vm.overcommit_memory is 2: memory that is asked for counts as used.",
          "CUDA and Node ask for far more than they use and fail.",
          keep("vm.overcommit_memory", 0),
        ),
      );
    }
    return found.length > 0 ? found : [say.ok("The kernel's settings that matter are fine.")];
  },
};

export const restart: Check = {
  id: "restart",
  async run(probes) {
    const say = speaker("restart");
    const days = Number.parseFloat((await probes.file("/proc/uptime")) ?? "0") / 86_400;
    const since = `The machine is up for ${days < 1 ? `${(days * 24).toFixed(1)} hours` : `${Math.floor(days)} days`}`;
    const mend = "sky admin drain NODE -r restart --wait; systemctl reboot";
    const release = ((await probes.file("/proc/sys/kernel/osrelease")) ?? "").trim();
    const kernels = await probes.list("/lib/modules");
    if (kernels !== null && kernels.length > 0 && !kernels.includes(release)) {
      const why = "Modules such as the accelerators' driver cannot be loaded any more.";
      return [say.warn(`${since}; the modules of its running kernel ${release} were removed.`, why, mend)];
    }
    if ((await probes.file("/run/reboot-required")) !== null) {
      return [
        say.warn(
          `${since}, and packages ask for a restart (/run/reboot-required).`,
          "Security fixes of kernel and libraries are not in effect before.",
          mend,
        ),
      ];
    }
    return [say.ok(`${since}; nothing asks for a restart.`)];
  },
};

export const coordinatorReach: Check = {
  id: "coordinator",
  async run(probes, site) {
    const say = speaker("coordinator");
    if (site.coordinator === null) {
      return [say.ok("No agent is configured here.")];
    }
    const { address, port } = site.coordinator;
    const why = "The agent of this node dials it; without it nothing starts here and what ends here is not known.";
    try {
      const greeting = await probes.greeting(address, port, 5_000);
      return greeting.startsWith("SSH-2.0-sky-onprem") || greeting.startsWith("SSH-2.0-")
        ? [say.ok(`The coordinator answers at ${address} port ${port}.`)]
        : [
            say.error(
              `Something else than the coordinator answers at ${address} port ${port}.`,
              why,
              "grep -A 3 coordinator: /etc/sky-onprem/agent.yaml",
            ),
          ];
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      const mend = `getent hosts ${/^[A-Za-z0-9.:-]+$/.test(address) ? address : "HEAD"}; nft list ruleset | grep -n drop; systemctl status sky-coordinator (on the head)`;
      return [say.error(`The coordinator does not answer at ${address} port ${port}: ${cause}.`, why, mend)];
    }
  },
};

export const ownFiles: Check = {
  id: "own-files",
  async run(probes, site) {
    const say = speaker("own-files");
    const found: Finding[] = [];
    const wanted: [string | null, RegExp, string][] = [
      [site.configFile, /^0 [0-7]*[0-7][0145][0145]$/, "chown root: FILE; chmod 644 FILE"],
      [site.keyFile, /^0 [0-7]*[0-7]00$/, "chown root: FILE; chmod 600 FILE"],
      [site.head?.configFile ?? null, /^0 [0-7]*[0-7][0145]0$/, "chown root:sky-coordinator FILE; chmod 640 FILE"],
    ];
    for (const [path, fine, mend] of wanted) {
      if (path === null) {
        continue;
      }
      const answer = await probes.tool(["stat", "--format=%u %a", path], 5_000);
      if (answer.code === 0 && !fine.test(answer.stdout.trim())) {
        const [uid = "", mode = ""] = answer.stdout.trim().split(" ");
        found.push(
          say.error(
            `${path} belongs to uid ${uid} with mode ${mode}.`,
            "Whoever may change or read it can become this node, or say whom it runs as.",
            mend.replaceAll("FILE", path),
          ),
        );
      }
    }
    return found.length > 0 ? found : [say.ok("Config and key are closed to others.")];
  },
};
