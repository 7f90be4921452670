/**
 * What a check is, and the few forms in which checks say things. A check asks `probes` and turns the answers into
 * findings; it must never touch the machine in another way, so that every one of them can be tested on recorded answers.
 * Used by every file in checks/ and by run.ts.
 */
import type { Finding } from "../shared/doctor.ts";
import { oneLine } from "../shared/doctor.ts";
import type { UsersPolicy } from "../shared/users-policy.ts";
import type { Probes } from "./probes.ts";

export interface KnownUser {
  name: string;
  uid: number;
}

/** What is known of this machine's part before any check runs. */
export interface Site {
  /** This machine's name in the cluster; null when it has no agent.yaml. */
  node: string | null;
  coordinator: { address: string; port: number } | null;
  /** Whom this machine may run as; null: its config does not say it in a usable way, so nobody. */
  policy: UsersPolicy | null;
  runtimeDir: string;
  stateDir: string;
  /** The agent's config file, its private key and the release that this doctor belongs to. */
  configFile: string | null;
  keyFile: string | null;
  declaredAccelerators: string | null;
  /** Set on the head: where the coordinator's Redis and config are. */
  head: { configFile: string; redisSocket: string | null; socket: string | null } | null;
  /** Users as the head knows them; null: nobody has said, so this machine's own accounts count. */
  users: KnownUser[] | null;
}

export interface Check {
  /** As in Finding.check. */
  id: string;
  run(probes: Probes, site: Site): Promise<Finding[]>;
}

function finding(
  check: string,
  level: Finding["level"],
  seen: string,
  why: string | null,
  mend: string | null,
): Finding {
  const said = oneLine(seen, 600);
  return {
    check,
    level,
    seen: said === "" ? "-" : said,
    why: why === null ? null : oneLine(why, 400),
    // A command that had to be cut is none.
    mend: mend === null || mend.length > 600 ? null : oneLine(mend, 600),
  };
}

/** The forms of a finding for one check. `mend` is a command for root on that machine. */
export function speaker(check: string): {
  ok(seen: string): Finding;
  warn(seen: string, why: string, mend: string | null): Finding;
  error(seen: string, why: string, mend: string | null): Finding;
  unknown(seen: string, why?: string, mend?: string): Finding;
} {
  return {
    ok: (seen) => finding(check, "ok", seen, null, null),
    warn: (seen, why, mend) => finding(check, "warn", seen, why, mend),
    error: (seen, why, mend) => finding(check, "error", seen, why, mend),
    unknown: (seen, why, mend) => finding(check, "unknown", seen, why ?? null, mend ?? null),
  };
}

/** `a.b.c` as numbers; null when the text does not begin with a version. */
export function versionOf(text: string): number[] | null {
  const match = /(\d+(?:\.\d+)+)/.exec(text);
  return match?.[1]?.split(".").map(Number) ?? null;
}

/** Whether version `a` is before `b`, number by number. */
export function isOlder(a: readonly number[], b: readonly number[]): boolean {
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    const left = a[at] ?? 0;
    const right = b[at] ?? 0;
    if (left !== right) {
      return left < right;
    }
  }
  return false;
}

/** At most this many names, and how many more there are. */
export function some(names: readonly string[], most = 8): string {
  return names.length <= most ? names.join(", ") : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}

/** One row of passwd. */
export interface PasswdRow {
  name: string;
  uid: number;
  gid: number;
  home: string;
  shell: string;
}

/** Rows of passwd; lines that are none are left out. */
export function parsePasswd(text: string): PasswdRow[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(":");
    const [name = "", , uid = "", gid = "", , home = "", shell = ""] = fields;
    const isRow = fields.length >= 7 && /^[0-9]+$/.test(uid) && /^[0-9]+$/.test(gid) && name !== "";
    return isRow ? [{ name, uid: Number(uid), gid: Number(gid), home, shell }] : [];
  });
}
