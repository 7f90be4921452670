/**
 * Runs all checks beside each other and never fails itself: a check that throws or does not end becomes a finding of
 * level `unknown` that says why. It decides nothing about what is well. Called by main.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Finding } from "../shared/doctor.ts";
import { messageOf } from "../shared/errors.ts";
import { type Check, type Site, speaker } from "./check.ts";
import { accelerators, versions } from "./checks/accelerators.ts";
import { clock } from "./checks/clock.ts";
import { disk, mounts } from "./checks/disk.ts";
import { logins } from "./checks/logins.ts";
import { ownName, sudo } from "./checks/names.ts";
import { redis } from "./checks/redis.ts";
import { linger } from "./checks/sessions.ts";
import { sshd } from "./checks/sshd.ts";
import { cgroup, coordinatorReach, kernel, ownFiles, restart, systemd, units } from "./checks/system.ts";
import { users } from "./checks/users.ts";
import type { Probes } from "./probes.ts";

/** Whatever has not answered after this long is `unknown`; the whole takes no longer than half a minute. */
const checkLimitMs = 27_000;
const findingsMax = 300;

/** In the order in which they are shown. */
export const allChecks: readonly Check[] = [
  ...[ownName, sudo, users, logins, linger],
  ...[accelerators, versions],
  ...[disk, mounts, clock, cgroup, systemd, units, kernel, ownFiles, coordinatorReach, restart],
  ...[redis, sshd],
];

async function runOne(check: Check, probes: Probes, site: Site, limitMs: number): Promise<Finding[]> {
  const say = speaker(check.id);
  const timer = new AbortController();
  try {
    return await Promise.race([
      check.run(probes, site),
      delay(limitMs, null, { signal: timer.signal }).then(() => [
        say.unknown(`The check did not end within ${limitMs / 1000} s.`),
      ]),
    ]);
  } catch (error) {
    return [say.unknown(`It could not be found out: ${messageOf(error)}`)];
  } finally {
    timer.abort();
  }
}

/** Every check's findings, in the order of `checks`. Never rejects. */
export async function examine(
  probes: Probes,
  site: Site,
  checks: readonly Check[] = allChecks,
  limitMs = checkLimitMs,
): Promise<Finding[]> {
  const results = await Promise.all(checks.map((check) => runOne(check, probes, site, limitMs)));
  const named = (mend: string | null): string | null => mend?.replaceAll(/\bNODE\b/g, site.node ?? "NODE") ?? null;
  return results
    .flat()
    .slice(0, findingsMax)
    .map((finding) => ({ ...finding, mend: named(finding.mend) }));
}
