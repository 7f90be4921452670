/**
 * Opens sessions as users do, through sudo and su with nothing to read, and looks at what they are like: does the login
 * end, does it print, is there a home to write into, is the umask sane. All of it is asked as the user and inside the
 * session; root reads no file of a user. What a session says of itself is the user's own word and is shown as text only.
 */
import type { Finding } from "../../shared/doctor.ts";
import { oneLine } from "../../shared/doctor.ts";
import { type Check, type PasswdRow, type Site, some, speaker } from "../check.ts";
import { ProbeFault, type Probes } from "../probes.ts";
import { admitted, usersHere } from "./users.ts";

/** Sessions that one visit opens. */
const sessionsMax = 24;
const sessionLimitMs = 10_000;
const sessionSlowMs = 3_000;
const lowHomeKb = 100 * 1024;

/**
 * Run by the user's login shell, whichever it is: so no newline, backslash or `!`, and no single quote inside. The bash
 * in it reads ~/.bashrc as it does under sshd for a command without a terminal, which is what rsync, scp and git meet.
 */
const questions = [
  "echo SKY-BEGIN",
  "echo uid=$(id -u)",
  "echo umask=$(umask)",
  "echo groups=$(id -Gn | wc -w)",
  "echo private=$(test x$(id -gn) = x$(id -un) && echo yes)",
  "echo home=$(test -d ~ && echo yes)",
  "f=~/.sky-doctor.$$; echo write=$( { : >$f && rm -f $f && echo yes; } 2>/dev/null )",
  'echo free=$(df -Pk ~ 2>/dev/null | tail -n 1 | tr -s " " | cut -d " " -f 4)',
  'echo inodes=$(df -Pi ~ 2>/dev/null | tail -n 1 | tr -s " " | cut -d " " -f 4)',
  "echo SKY-BASHRC",
  'test -r ~/.bashrc && env -i "HOME=$HOME" PATH=/usr/bin:/bin SSH_CLIENT=sky-doctor /bin/bash -c : </dev/null 2>&1 | head -c 500',
  "echo; echo SKY-END",
].join("; ");
const line = `exec /bin/sh -c '${questions}'`;

export interface Session {
  /** What the login printed before the command. */
  printed: string;
  /** What `.bashrc` prints in a shell without a terminal. */
  bashrc: string;
  facts: Map<string, string>;
  isComplete: boolean;
}

export function parseSession(stdout: string): Session {
  const begin = stdout.indexOf("SKY-BEGIN");
  const middle = stdout.indexOf("SKY-BASHRC", Math.max(0, begin));
  const end = stdout.lastIndexOf("SKY-END");
  const factsText = begin < 0 ? "" : stdout.slice(begin, middle < 0 ? undefined : middle);
  const facts = new Map<string, string>();
  for (const row of factsText.split("\n")) {
    const at = row.indexOf("=");
    if (at > 0) {
      facts.set(row.slice(0, at), row.slice(at + 1).trim());
    }
  }
  return {
    printed: (begin < 0 ? stdout : stdout.slice(0, begin)).trim(),
    bashrc: middle < 0 ? "" : stdout.slice(middle + "SKY-BASHRC".length, end < middle ? undefined : end).trim(),
    facts,
    isComplete: begin >= 0 && middle >= 0 && end > middle,
  };
}

/** A command that is run as the user, so that root touches nothing of theirs. */
function asUser(name: string, command: string): string {
  return `sudo -H -u ${name} sh -c '${command}'`;
}

const quietMend = (name: string, file: string): string =>
  asUser(
    name,
    `cp ${file} ${file}.old && { echo "case \\$- in *i*) ;; *) return ;; esac"; cat ${file}.old; } > ${file}`,
  );

function judgeOutput(name: string, session: Session): Finding[] {
  const say = speaker("login-output");
  const found: Finding[] = [];
  if (session.bashrc !== "") {
    const text = `~/.bashrc of '${name}' prints in a shell without a terminal: "${oneLine(session.bashrc, 120)}".`;
    const why = "It breaks rsync, scp and git over ssh, and what it prints stands in every job's output.";
    found.push(say.warn(text, why, quietMend(name, "~/.bashrc")));
  }
  if (session.printed !== "" && session.bashrc === "") {
    const text = `The login of '${name}' prints: "${oneLine(session.printed, 120)}".`;
    const why = "Programs that read a session's output (rsync, scp, sky over ssh) take it for their own.";
    found.push(
      say.warn(
        text,
        why,
        `sudo -H su --login ${name} -c true </dev/null; ${asUser(name, "ls -l ~/.profile ~/.bash_profile /etc/profile.d")}`,
      ),
    );
  }
  return found;
}

function judgeHome(row: PasswdRow, session: Session): Finding[] {
  const { facts } = session;
  const { name, home } = row;
  const say = speaker("home");
  if (facts.get("home") !== "yes") {
    const text = `'${name}' has no home here: ${home} is not there or not theirs to enter.`;
    const why = "Jobs begin in the home and write their logs there; usually the disk with the homes is not mounted.";
    return [say.error(text, why, `mount -a; test -d ${home} || mkhomedir_helper ${name}`)];
  }
  const free = Number(facts.get("free") ?? Number.NaN);
  const inodes = Number(facts.get("inodes") ?? Number.NaN);
  if (facts.get("write") !== "yes") {
    const isFull = free === 0 || inodes === 0;
    const text = `'${name}' cannot write into their home ${home}${isFull ? ": its disk is full" : ""}.`;
    const why = "The skylet and the logs of every job are written there.";
    const mend = isFull
      ? `du -xh --max-depth=1 ${home}/.. 2>/dev/null | sort -h | tail -20`
      : `findmnt --target ${home}; chown ${name}: ${home} && chmod u+rwx ${home}`;
    return [say.error(text, why, mend)];
  }
  if (free < lowHomeKb || inodes < 100) {
    const text = `The disk with the home of '${name}' is nearly full (${Math.round(free / 1024)} MB, ${inodes} inodes left).`;
    return [
      say.warn(
        text,
        "Output of jobs is lost when it is full.",
        `du -xh --max-depth=1 ${home}/.. 2>/dev/null | sort -h | tail -20`,
      ),
    ];
  }
  return [];
}

function judgeUmask(name: string, session: Session): Finding[] {
  const say = speaker("umask");
  const text = session.facts.get("umask") ?? "";
  if (!/^[0-7]{3,4}$/.test(text)) {
    return [];
  }
  const mask = Number.parseInt(text, 8);
  const mend = asUser(name, "echo umask 022 >> ~/.profile");
  if ((mask & 0o700) !== 0) {
    return [
      say.error(
        `The login umask of '${name}' is ${text}: they cannot use files that they make.`,
        "Logs of their jobs cannot be read or written.",
        mend,
      ),
    ];
  }
  if ((mask & 0o002) === 0) {
    return [
      say.error(
        `The login umask of '${name}' is ${text}: everybody may change files that they make.`,
        "Others can change their logs, scripts and results.",
        mend,
      ),
    ];
  }
  if ((mask & 0o020) === 0 && session.facts.get("private") !== "yes") {
    return [
      say.warn(
        `The login umask of '${name}' is ${text}: their whole group may change files that they make.`,
        "Others of the group can change their logs, scripts and results.",
        mend,
      ),
    ];
  }
  return [];
}

function judgeSession(row: PasswdRow, session: Session, ms: number): Finding[] {
  const say = speaker("login");
  const { name } = row;
  if (!session.isComplete) {
    const said = session.printed === "" ? "" : ` It printed: "${oneLine(session.printed, 120)}".`;
    const why = "Jobs of this user cannot start here.";
    return [
      say.error(
        `The login of '${name}' ends before a command is run.${said}`,
        why,
        `sudo -H su --login ${name} -c id </dev/null`,
      ),
    ];
  }
  const found = [...judgeHome(row, session), ...judgeUmask(name, session), ...judgeOutput(name, session)];
  if (ms > sessionSlowMs) {
    const why = "Each of the user's skylets starts through such a login.";
    found.push(
      say.warn(
        `The login of '${name}' takes ${(ms / 1000).toFixed(1)} s.`,
        why,
        `sudo -H su --login ${name} -c true </dev/null; ${asUser(name, "bash -xlc true </dev/null")}`,
      ),
    );
  }
  return found;
}

async function visit(probes: Probes, row: PasswdRow): Promise<Finding[]> {
  const say = speaker("login");
  try {
    const answer = await probes.tool(["sudo", "-n", "-H", "su", "--login", row.name, "-c", line], sessionLimitMs);
    return judgeSession(row, parseSession(answer.stdout), answer.ms);
  } catch (error) {
    if (error instanceof ProbeFault && error.kind === "slow") {
      const text = `The login of '${row.name}' does not end within ${sessionLimitMs / 1000} s with nothing to read.`;
      const why =
        "Something in /etc/profile.d, ~/.profile or ~/.bashrc waits, or the home's file server does not answer; jobs of this user cannot start.";
      return [say.error(text, why, asUser(row.name, "timeout 5 bash -xlc true </dev/null"))];
    }
    throw error;
  }
}

function shellFindings(refused: readonly PasswdRow[]): Finding[] {
  const say = speaker("login-shell");
  return refused.length === 0
    ? []
    : [
        say.warn(
          `No login is possible for: ${some(refused.map((row) => `${row.name} (${row.shell})`))}.`,
          "Users with such a shell cannot run jobs here.",
          `chsh --shell /bin/bash ${refused[0]?.name ?? ""}`,
        ),
      ];
}

export const logins: Check = {
  id: "login",
  async run(probes: Probes, site: Site) {
    const rows = await usersHere(probes, site);
    const isNoLogin = ({ shell }: PasswdRow): boolean => /\/(nologin|false)$/.test(shell);
    const open = rows.filter((row) => !isNoLogin(row));
    const visited = await admitted(probes, site, open, sessionsMax);
    // Without a list from the head, accounts of this machine that cannot log in are no fault.
    const found = site.users === null ? [] : shellFindings(rows.filter(isNoLogin));
    const results = await Promise.allSettled(visited.map((row) => visit(probes, row)));
    const say = speaker("login");
    for (const [at, result] of results.entries()) {
      if (result.status === "fulfilled") {
        found.push(...result.value);
      } else {
        found.push(say.unknown(`The login of '${visited[at]?.name}' could not be tried: ${String(result.reason)}`));
      }
    }
    const bad = new Set(found.map((finding) => finding.check));
    const of = open.length > visited.length ? ` of ${open.length}` : "";
    const fine = ["login", "login-output", "home", "umask"].filter((id) => !bad.has(id));
    return [...found, ...fine.map((id) => speaker(id).ok(`Fine in ${visited.length}${of} logins that were tried.`))];
  },
};
