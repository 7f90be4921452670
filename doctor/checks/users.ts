/**
 * Do this machine's accounts agree with the head's? A job runs on a node only where its user's name and uid belong
 * together as they do on the head. Home, shell and login are looked at in logins.ts.
 */
import { refusalOf } from "../../shared/users-policy.ts";
import { type Check, type KnownUser, type PasswdRow, parsePasswd, type Site, some, speaker } from "../check.ts";
import type { Probes } from "../probes.ts";

const namesAtOnce = 200;
const lookupLimitMs = 15_000;
/** Accounts whose groups are asked for, one by one. */
const groupsAskedMax = 100;

/** Accounts of these keys (names or uids), with one question for many. */
async function lookUp(probes: Probes, keys: readonly string[]): Promise<PasswdRow[]> {
  const rows: PasswdRow[] = [];
  for (let at = 0; at < keys.length; at += namesAtOnce) {
    const part = keys.slice(at, at + namesAtOnce);
    const answer = await probes.tool(["getent", "passwd", ...part], lookupLimitMs);
    // 2: some of them were not found.
    if (answer.code !== 0 && answer.code !== 2) {
      throw new Error(`getent passwd ended with code ${answer.code}`);
    }
    rows.push(...parsePasswd(answer.stdout));
  }
  return rows;
}

/**
 * Accounts here whose jobs may run here: the head's users where they are named, else all of this machine. Groups are not
 * looked at: `admitted` does that for those few that something is to be done as.
 */
export async function usersHere(probes: Probes, site: Site): Promise<PasswdRow[]> {
  const { users, policy } = site;
  if (policy === null) {
    return [];
  }
  const rows =
    users === null
      ? parsePasswd((await probes.tool(["getent", "passwd"], lookupLimitMs)).stdout)
      : await lookUp(
          probes,
          users.map((user) => user.name),
        );
  return rows.filter(
    (row) =>
      /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/.test(row.name) &&
      refusalOf({ ...row, groups: [] }, policy) === null &&
      (users === null || users.some((user) => user.name === row.name && user.uid === row.uid)),
  );
}

/** The first `most` of these accounts that this machine's own policy lets it run as, their groups included. */
export async function admitted(
  probes: Probes,
  site: Site,
  rows: readonly PasswdRow[],
  most: number,
): Promise<PasswdRow[]> {
  const { policy } = site;
  const found: PasswdRow[] = [];
  for (const row of rows.slice(0, groupsAskedMax)) {
    if (policy === null || found.length >= most) {
      break;
    }
    const groups = policy.deny_groups.length === 0 ? ["-"] : await groupsOf(probes, row.name);
    // Whose groups nobody can say could be in one that is denied.
    if (groups.length > 0 && refusalOf({ ...row, groups }, policy) === null) {
      found.push(row);
    }
  }
  return found;
}

async function groupsOf(probes: Probes, name: string): Promise<string[]> {
  const answer = await probes.tool(["id", "-Gnz", "--", name], lookupLimitMs).catch(() => null);
  return (answer?.stdout ?? "").split("\0").filter((group) => group !== "");
}

const whyUid =
  "Jobs of a user run only where name and uid are the same as on the head; files on shared disks have a uid.";

function judge(
  user: KnownUser,
  byName: PasswdRow | undefined,
  byUid: PasswdRow | undefined,
): ReturnType<ReturnType<typeof speaker>["ok"]> | null {
  const say = speaker("users");
  const { name, uid } = user;
  if (byName !== undefined && byName.uid !== uid) {
    const taken = byUid === undefined ? "" : ` Uid ${uid} is '${byUid.name}' here, who needs another one first.`;
    return say.error(
      `User '${name}' has uid ${byName.uid} here and ${uid} on the head.${taken}`,
      whyUid,
      `loginctl terminate-user ${name}; systemctl stop user@${byName.uid}; usermod --uid ${uid} ${name}`,
    );
  }
  if (byName === undefined && byUid !== undefined) {
    const text = `User '${name}' (uid ${uid} on the head) is missing, and uid ${uid} is '${byUid.name}' here.`;
    return say.error(
      text,
      whyUid,
      `usermod --uid NEW_UID ${byUid.name} && useradd --uid ${uid} --create-home --shell /bin/bash ${name}`,
    );
  }
  if (byName === undefined) {
    const mend = `useradd --uid ${uid} --create-home --shell /bin/bash ${name}`;
    return say.error(`User '${name}' (uid ${uid} on the head) is missing here.`, whyUid, mend);
  }
  return null;
}

const findingsMax = 20;

export const users: Check = {
  id: "users",
  async run(probes, site) {
    const say = speaker("users");
    const { users: known, policy } = site;
    if (policy === null) {
      const text = "The config's `users` cannot be read, so nobody is compared or logged in as.";
      const mend = "/opt/sky-onprem/current/bin/sky-agent --config /etc/sky-onprem/agent.yaml --check";
      return [say.unknown(text, "The agent does not start with such a config.", mend)];
    }
    if (known === null) {
      const local = await usersHere(probes, site);
      return [
        say.ok(
          `${local.length} accounts here may run jobs (not compared with the head: run it through the coordinator).`,
        ),
      ];
    }
    const named = known.filter(
      (user) => refusalOf({ ...user, gid: 0, home: "", shell: "", groups: [] }, policy) === null,
    );
    const rows = new Map(
      (
        await lookUp(
          probes,
          named.map((user) => user.name),
        )
      ).map((row) => [row.name, row]),
    );
    const odd = named.filter((user) => rows.get(user.name)?.uid !== user.uid);
    const owners = new Map(
      (
        await lookUp(
          probes,
          odd.map((user) => String(user.uid)),
        )
      ).map((row) => [row.uid, row]),
    );
    const findings = odd.flatMap((user) => judge(user, rows.get(user.name), owners.get(user.uid)) ?? []);
    if (findings.length === 0) {
      return [say.ok(`${named.length} users have the same uid as on the head.`)];
    }
    const rest = odd.slice(findingsMax).map((user) => user.name);
    return rest.length === 0
      ? findings
      : [
          ...findings.slice(0, findingsMax),
          say.error(`More users are missing or differ: ${some(rest)}.`, whyUid, null),
        ];
  },
};
