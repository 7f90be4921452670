/**
 * Is there room where the daemons and the system write, and is everything mounted that /etc/fstab names? Homes are asked
 * for as their users in logins.ts: root may not see into them, and a dead file server would hold it.
 */
import type { Finding } from "../../shared/doctor.ts";
import { type Check, speaker } from "../check.ts";
import type { Probes } from "../probes.ts";

const mb = 1024 * 1024;

interface Place {
  path: string;
  what: string;
  /** Below it nothing works; below it things will soon not. Bytes. */
  errorBelow: number;
  warnBelow: number;
  mend: string;
}

const biggest = (path: string): string => `du -xh --max-depth=2 ${path} 2>/dev/null | sort -h | tail -20`;

async function look(probes: Probes, place: Place): Promise<Finding> {
  const say = speaker("disk");
  const { path, what, errorBelow, warnBelow, mend } = place;
  const answer = await probes.tool(["stat", "--file-system", "--format=%a %b %S %d %c %T", path], 5_000);
  const [free = "", blocks = "", size = "", inodesFree = "", inodes = "", type = "?"] = answer.stdout.trim().split(" ");
  if (answer.code !== 0 || !/^\d+$/.test(free) || !/^\d+$/.test(size)) {
    return say.unknown(`The space of ${path} could not be read: ${answer.stderr.slice(0, 200)}`);
  }
  const freeBytes = Number(free) * Number(size);
  const totalBytes = Number(blocks) * Number(size);
  // A small file system is judged by its own size.
  const error = Math.min(errorBelow, totalBytes / 50);
  const warn = Math.min(warnBelow, totalBytes / 10);
  const left = `${Math.round(freeBytes / mb)} MB of ${Math.round(totalBytes / mb)} MB`;
  const why = `${what} is written there.`;
  const hasInodes = Number(inodes) > 0;
  if (hasInodes && Number(inodesFree) < Math.min(1000, Number(inodes) / 50)) {
    const cause = `${why} Every file needs an inode.`;
    return say.error(
      `${path} (${type}) has ${inodesFree} inodes left of ${inodes}.`,
      cause,
      `du -x --inodes --max-depth=2 ${path} 2>/dev/null | sort -n | tail -20`,
    );
  }
  if (freeBytes <= error) {
    return say.error(`${path} (${type}) is full: ${left} left.`, why, mend);
  }
  return freeBytes <= warn
    ? say.warn(`${path} (${type}) is nearly full: ${left} left.`, why, mend)
    : say.ok(`${path} has ${left} left.`);
}

export const disk: Check = {
  id: "disk",
  async run(probes, site) {
    const gb = 1024 * mb;
    const clean = "apt-get clean; journalctl --vacuum-size=200M; ";
    const places: Place[] = [
      { path: "/", what: "The system", errorBelow: 200 * mb, warnBelow: gb, mend: `${clean}${biggest("/")}` },
      {
        path: site.stateDir,
        what: "The agent's ledger",
        errorBelow: 100 * mb,
        warnBelow: 500 * mb,
        mend: `${clean}${biggest("/var")}`,
      },
      {
        path: site.runtimeDir,
        what: "Each job's scripts, state and exit code",
        errorBelow: 10 * mb,
        warnBelow: 40 * mb,
        mend: "du -xh --max-depth=2 /run | sort -h | tail -20; mount -o remount,size=20% /run",
      },
      {
        path: "/tmp",
        what: "What users and setups put aside",
        errorBelow: 50 * mb,
        warnBelow: 500 * mb,
        mend: `systemd-tmpfiles --clean; ${biggest("/tmp")}`,
      },
    ];
    const findings = await Promise.all(places.map((place) => look(probes, place)));
    const bad = findings.filter((finding) => finding.level !== "ok");
    return bad.length > 0 ? bad : [speaker("disk").ok(findings.map((finding) => finding.seen).join(" "))];
  },
};

export const mounts: Check = {
  id: "mounts",
  async run(probes) {
    const say = speaker("mounts");
    const wanted = await probes
      .tool(["findmnt", "--fstab", "--noheadings", "--raw", "--output", "TARGET,FSTYPE,OPTIONS"], 5_000)
      .catch(() => null);
    const mounted = await probes.tool(
      ["findmnt", "--kernel", "--noheadings", "--raw", "--output", "TARGET,OPTIONS"],
      5_000,
    );
    const now = new Map(mounted.stdout.split("\n").map((row) => [row.split(" ")[0] ?? "", row.split(" ")[1] ?? ""]));
    const findings: Finding[] = [];
    for (const row of (wanted?.stdout ?? "").split("\n")) {
      const [target = "", type = "", options = ""] = row.split(" ");
      const isOptional = type === "swap" || !target.startsWith("/") || options.split(",").includes("noauto");
      if (!isOptional && !now.has(target)) {
        const why =
          "Data, or the homes of users, are not where jobs look for them; what is written there hides under the mount later.";
        findings.push(
          say.error(`${target} (${type}) stands in /etc/fstab and is not mounted.`, why, `mount ${target}`),
        );
      }
    }
    for (const target of ["/", "/var", "/home"]) {
      if (now.get(target)?.split(",").includes("ro") === true) {
        findings.push(
          say.error(
            `${target} is mounted read-only.`,
            "The kernel does this after errors of the disk; nothing can be written.",
            `dmesg --level=err | tail -20; mount -o remount,rw ${target}`,
          ),
        );
      }
    }
    return findings.length > 0 ? findings.slice(0, 20) : [say.ok("Everything in /etc/fstab is mounted.")];
  },
};
