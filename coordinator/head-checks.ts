/**
 * What only the coordinator can see of a cluster: machines that are silent or refuse it, clocks and versions that differ,
 * whether anybody is an admin, and its own Redis' socket. Pure but for `headFacts`, which looks at the head itself. The
 * findings join those of the machines' doctors. Called by the API's route for the doctor.
 */
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { type Finding, oneLine } from "../shared/doctor.ts";
import type { CoordinatorConfig } from "./config.ts";
import { membersOf } from "./head-users.ts";
import type { Answer } from "./inspection.ts";

const skewWarnMs = 2_000;
const skewErrorMs = 60_000;

/** A node as the state has it, and its answer; null: it was not asked. */
export interface Seen {
  name: string;
  state: "up" | "silent" | "never" | "removed";
  refusal: string | null;
  version: string | null;
  silentSeconds: number | null;
  protocol: number | null;
  answer: Answer | null;
}

function finding(
  check: string,
  level: Finding["level"],
  seen: string,
  why: string | null,
  mend: string | null,
): Finding {
  return { check, level, seen: oneLine(seen, 600), why, mend };
}

function judgeSilence(node: Seen): Finding[] {
  const { name, state, refusal } = node;
  const why = "Nothing new starts there, and what runs there is not known to have ended.";
  if (refusal !== null) {
    const text = `Node '${name}' refuses this coordinator: ${refusal}`;
    return [
      finding(
        "nodes",
        "error",
        text,
        "It has served another state and waits for an admin's word.",
        `ssh ${name} /opt/sky-onprem/current/bin/sky-agent accept-state STATE_ID --config /etc/sky-onprem/agent.yaml`,
      ),
    ];
  }
  if (state === "never") {
    return [
      finding(
        "nodes",
        "error",
        `Node '${name}' has not reported since the coordinator was started.`,
        why,
        `ssh ${name} 'systemctl status sky-agent; journalctl -u sky-agent -n 20 --no-pager'`,
      ),
    ];
  }
  if (state === "silent") {
    const since = node.silentSeconds === null ? "" : ` for ${Math.round(node.silentSeconds)} s`;
    return [
      finding(
        "nodes",
        "error",
        `Node '${name}' is silent${since}.`,
        why,
        `ssh ${name} 'systemctl restart sky-agent; sky admin doctor --local'`,
      ),
    ];
  }
  return [];
}

function judgeClock(node: Seen): Finding[] {
  const skew = node.answer?.skewMs ?? null;
  if (skew === null || Math.abs(skew) < skewWarnMs) {
    return [];
  }
  const text = `The clock of '${node.name}' is ${(Math.abs(skew) / 1000).toFixed(1)} s ${skew > 0 ? "ahead of" : "behind"} the head's.`;
  const why = "Logs cannot be compared, and file times on shared homes mislead make and rsync.";
  return [
    finding(
      "clocks",
      Math.abs(skew) < skewErrorMs ? "warn" : "error",
      text,
      why,
      `ssh ${node.name} 'timedatectl set-ntp true; systemctl restart systemd-timesyncd'`,
    ),
  ];
}

/** A head without an agent is looked at by nobody: the coordinator has no root. */
function judgeHead(nodes: readonly Seen[], head: string): Finding[] {
  if (nodes.some((node) => node.answer?.host === head)) {
    return [];
  }
  const text = `No agent on the head '${head}' was asked, so its sshd, Redis, disks and own name were not looked at.`;
  return [
    finding(
      "head",
      "unknown",
      text,
      "Users reach the cluster through it.",
      "sudo sky admin doctor --local (on the head)",
    ),
  ];
}

/** Findings about the machines as a group. `version` is the coordinator's own, `head` the name of its machine. */
export function compareNodes(nodes: readonly Seen[], version: string, head: string): Finding[] {
  const found = nodes.flatMap((node) => [...judgeSilence(node), ...judgeClock(node)]);
  found.push(...judgeHead(nodes, head));
  const others = nodes.filter((node) => node.version !== null && node.version !== version);
  if (others.length > 0) {
    const names = others.slice(0, 10).map((node) => `${node.name} (${node.version})`);
    const text = `The coordinator is version ${version}; other versions: ${names.join(", ")}${others.length > 10 ? ` and ${others.length - 10} more` : ""}.`;
    const isOld = others.some((node) => node.state === "up" && (node.protocol ?? 0) < 2);
    found.push(
      finding(
        "versions",
        isOld ? "error" : "warn",
        text,
        "Versions one apart work together, for the time of an upgrade.",
        "ansible-playbook -i inventory.ini ansible/site.yml --tags agent",
      ),
    );
  }
  const fine = [
    ["nodes", `All ${nodes.length} nodes report.`],
    ["clocks", "No clock of a node that answered is off by 2 s."],
    ["versions", `All agents are version ${version}.`],
  ] as const;
  return [
    ...found,
    ...fine
      .filter(([check]) => !found.some((each) => each.check === check))
      .map(([check, text]) => finding(check, "ok", text, null, null)),
  ];
}

/** What there is to see on the head. Never rejects. */
export async function headFacts(config: CoordinatorConfig): Promise<Finding[]> {
  return [...(await judgeAdmins(config)), ...(await judgeSocket(config))];
}

async function judgeAdmins(config: CoordinatorConfig): Promise<Finding[]> {
  const group = config.admin_group;
  const why = "Without it only root on the head can look after the cluster.";
  try {
    const members = await membersOf(group);
    if (members === null) {
      return [
        finding(
          "admins",
          "warn",
          `There is no group '${group}' on the head (admin_group in the config).`,
          why,
          `groupadd --system ${group} && gpasswd --add USER ${group}`,
        ),
      ];
    }
    return members.length === 0
      ? [finding("admins", "warn", `Nobody is in the group '${group}'.`, why, `gpasswd --add USER ${group}`)]
      : [finding("admins", "ok", `${members.length} member(s) of '${group}' are admins.`, null, null)];
  } catch (error) {
    return [
      finding(
        "admins",
        "unknown",
        `Who is in the group '${group}' could not be found out: ${String(error)}`,
        why,
        null,
      ),
    ];
  }
}

/** The socket or its folder must be closed to other accounts: whoever opens it can change every job. */
async function judgeSocket(config: CoordinatorConfig): Promise<Finding[]> {
  const { socket } = config.redis;
  try {
    const modes = await Promise.all([socket, dirname(socket)].map(async (path) => (await stat(path)).mode & 0o777));
    const isClosed = modes.some((mode) => (mode & 0o077) === 0);
    const shown = modes.map((mode) => mode.toString(8)).join(" in a folder of ");
    return isClosed
      ? [finding("redis-socket", "ok", "Redis' socket is closed to other accounts.", null, null)]
      : [
          finding(
            "redis-socket",
            "error",
            `Other accounts can reach Redis' socket ${socket} (mode ${shown}).`,
            "Whoever opens it can change every user's jobs.",
            `chmod 700 ${dirname(socket)}`,
          ),
        ];
  } catch (error) {
    return [
      finding("redis-socket", "unknown", `Redis' socket ${socket} cannot be looked at: ${String(error)}`, null, null),
    ];
  }
}
