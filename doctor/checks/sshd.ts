/**
 * Does the head's sshd let users through to the coordinator's socket? It is asked for what holds for a user
 * (`sshd -T -C`), so that Match blocks count. Only the head matters: users connect to no other machine.
 */
import type { Finding } from "../../shared/doctor.ts";
import { type Check, some, speaker } from "../check.ts";
import { ProbeFault, type Probes } from "../probes.ts";
import { usersHere } from "./users.ts";

const usersMax = 12;

interface Rules {
  /** Why streams to a unix socket are refused; null when they are not. */
  closedBy: string | null;
  /** Why a command cannot be run either. */
  noCommandBy: string | null;
}

export function parseRules(text: string): Rules {
  const value = (key: string): string => new RegExp(`^${key} (.*)$`, "m").exec(text)?.[1]?.trim() ?? "";
  const stream = value("allowstreamlocalforwarding");
  const closedBy =
    value("disableforwarding") === "yes"
      ? "DisableForwarding yes"
      : stream === "yes" || stream === "local" || stream === "all"
        ? null
        : `AllowStreamLocalForwarding ${stream === "" ? "?" : stream}`;
  const forced = value("forcecommand");
  const noCommandBy =
    value("maxsessions") === "0" ? "MaxSessions 0" : forced === "" || forced === "none" ? null : "ForceCommand";
  return { closedBy, noCommandBy };
}

async function rulesFor(probes: Probes, name: string): Promise<Rules> {
  const who = `user=${name},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22`;
  const answer = await probes.tool(["/usr/sbin/sshd", "-T", "-C", who], 8_000);
  if (answer.code !== 0) {
    throw new ProbeFault("failed", `sshd -T fails: ${answer.stderr.slice(0, 200)}`);
  }
  return parseRules(answer.stdout);
}

const file = "/etc/ssh/sshd_config.d/00-sky-onprem.conf";
const reload = "sshd -t && systemctl reload ssh";

/** The first value that sshd reads counts; for a user that of the first Match block. */
function mendFor(closedBy: string, only: string | null): string {
  const key = closedBy.split(" ")[0] ?? "";
  const line = `${key} ${key === "DisableForwarding" ? "no" : "yes"}`;
  return only === null
    ? `sed -i '1i ${line}' /etc/ssh/sshd_config && ${reload}`
    : `printf 'Match User ${only}\\n  ${line}\\n' >> ${file}; ${reload}`;
}

export const sshd: Check = {
  id: "sshd",
  async run(probes, site) {
    const say = speaker("sshd");
    if (site.head === null) {
      return [say.ok("This machine is not the head: users do not connect to it.")];
    }
    const users = (await usersHere(probes, site)).slice(0, usersMax).map((row) => row.name);
    let anybody: Rules;
    try {
      anybody = await rulesFor(probes, "nobody");
    } catch (error) {
      if (error instanceof ProbeFault && error.kind === "missing") {
        return [
          say.error(
            "There is no sshd on the head.",
            "Users reach the coordinator through it.",
            "apt-get install -y openssh-server",
          ),
        ];
      }
      throw error;
    }
    const why =
      "sky reaches the coordinator's socket through a stream; where it may not, it needs the slower detour `sky gate`, which starts a program for each call.";
    const found: Finding[] = [];
    const verdict = (closedBy: string, who: string, noCommandBy: string | null, mend: string): Finding =>
      noCommandBy === null
        ? say.warn(`sshd forbids streams to the coordinator${who} (${closedBy}).`, why, mend)
        : say.error(
            `sshd forbids streams to the coordinator${who} (${closedBy}) and commands too (${noCommandBy}).`,
            "Users cannot reach the coordinator at all.",
            mend,
          );
    if (anybody.closedBy !== null) {
      found.push(verdict(anybody.closedBy, "", anybody.noCommandBy, mendFor(anybody.closedBy, null)));
    } else {
      const rules = await Promise.all(users.map(async (name) => ({ name, ...(await rulesFor(probes, name)) })));
      const closed = rules.filter((rule) => rule.closedBy !== null);
      const [first] = closed;
      if (first !== undefined) {
        const names = closed.map((rule) => rule.name);
        found.push(
          verdict(
            first.closedBy ?? "",
            ` for ${some(names)}, by a Match block`,
            first.noCommandBy,
            mendFor(first.closedBy ?? "", names.join(",")),
          ),
        );
      }
    }
    return found.length > 0 ? found : [say.ok("sshd lets users' streams through to the coordinator.")];
  },
};
