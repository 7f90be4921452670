/**
 * Users' sessions and the holder of jobs as systemd's units. A skylet started from a hardened service would hand its
 * sandbox on to every job; started by systemd as a transient unit of its own it has what an ssh login has, and neither a
 * restart nor a kill of the agent reaches it. Nothing that a user says becomes part of a unit's name or properties: both
 * are made of numbers. Made by agent/agent.ts; called by agent/skylet-starts.ts.
 */
import { createHash } from "node:crypto";
import { lstat } from "node:fs/promises";
import { messageOf } from "../shared/errors.ts";
import type { Uid } from "../shared/ids.ts";
import type { Account } from "../shared/users-policy.ts";
import { type AgentConfig, installedRuntimeDir } from "./config.ts";
import { loginCommand, runTool, type SkyletCommand, type StartedSkylet, startTool, type ToolEnd } from "./spawn.ts";

const holder = "sky-jobs.service";
const askLimitMs = 5_000;
/** A login that hangs gets TERM, and KILL after `sessionProperties` says so. */
const stopLimitMs = 15_000;
/** Names that are tried when what is left of earlier sessions (a user's own daemons) keeps one of them. */
const namesMax = 9;
/** Of a service's defaults, those that a login does not have; and no way for a user to fill the journal. */
const sessionProperties = [
  ...["KillMode=process", "TimeoutStopSec=5", "TasksMax=infinity", "OOMPolicy=continue", "IgnoreSIGPIPE=no"],
  ...["StandardInput=null", "StandardOutput=null", "StandardError=null", "UMask=0022"],
];

/** Unit names of this agent: one that is not the installed one has a mark of its own in them. */
export function unitPrefix(runtimeDir: string): string {
  const mark = createHash("sha256").update(runtimeDir).digest("hex").slice(0, 8);
  return runtimeDir === installedRuntimeDir ? "sky-" : `sky-${mark}-`;
}

export class Units {
  /** Not a development cluster's: what it changes on the machine is taken back by the same agent later. */
  readonly isInstalled: boolean;
  private readonly prefix: string;

  constructor(runtimeDir: string) {
    this.isInstalled = runtimeDir === installedRuntimeDir;
    this.prefix = unitPrefix(runtimeDir);
  }

  /** Null where sessions are started plainly: without systemd, or as an ordinary user. */
  static async find(config: AgentConfig): Promise<Units | null> {
    if (config.single_user) {
      return null;
    }
    // As sd_booted(3) has it.
    const isBooted = await lstat("/run/systemd/system").then(
      (facts) => facts.isDirectory(),
      () => false,
    );
    const tool = isBooted ? await runTool("systemd-run", ["--version"], askLimitMs).catch(() => null) : null;
    return tool?.code === 0 ? new Units(config.runtime_dir) : null;
  }

  /** Name of the user's unit without `.service`. */
  nameOf(uid: Uid): string {
    return `${this.prefix}u${uid}`;
  }

  /** Opens the user's session in a unit of its own. Throws when a word of the command is not safe. */
  start(account: Account, command: SkyletCommand): StartedSkylet {
    const login = loginCommand(account, command);
    const base = this.nameOf(account.uid);
    const session: { unit: string; end: (() => void) | null; isOver: boolean } = {
      unit: base,
      end: null,
      isOver: false,
    };
    const once = (unit: string): Promise<ToolEnd> => {
      const tool = startTool("systemd-run", startWords(unit, account.uid, login));
      Object.assign(session, { unit, end: () => tool.end() });
      return tool.ended;
    };
    const run = async (): Promise<ToolEnd> => {
      let ended = await once(base);
      for (let number = 1; number <= namesMax && isTaken(ended) && !session.isOver; number += 1) {
        if (number === 1) {
          // Its skylet is no more, or has not come back in time: a login that hangs must not stay beside the next one.
          await free(base);
        }
        ended = session.isOver ? ended : await once(number === 1 ? base : `${base}-${number}`);
      }
      return ended;
    };
    const settle = (): void => {
      session.isOver = true;
      session.end?.();
    };
    return {
      ended: run().then(endOf, (error: unknown) => ({ how: messageOf(error), isError: false })),
      settle,
      abandon: () => {
        settle();
        void free(session.unit);
      },
    };
  }

  /** The control group of the unit that holds running jobs, as a path below cgroup2's mount; null: there is no such unit. */
  static async holderGroup(): Promise<string | null> {
    try {
      const properties = await show(holder);
      if (properties.get("LoadState") !== "loaded") {
        return null;
      }
      if (properties.get("ActiveState") !== "active") {
        await runTool("systemctl", ["start", holder], stopLimitMs);
      }
      const group = (await show(holder)).get("ControlGroup") ?? "";
      return /^\/.*\/sky-jobs\.service$/.test(group) ? group : null;
    } catch {
      return null;
    }
  }
}

function startWords(unit: string, uid: Uid, login: string[]): string[] {
  const properties = sessionProperties.flatMap((property) => ["-p", property]);
  const how = ["--quiet", "--wait", "--collect", "--service-type=exec"];
  const what = [`--unit=${unit}`, "--slice=sky-users", `--description=Jobs' keeper of uid ${uid} (sky-onprem)`];
  return [...how, ...what, ...properties, "--", ...login];
}

async function show(unit: string): Promise<Map<string, string>> {
  const shown = await runTool("systemctl", ["show", "-p", "LoadState,ActiveState,ControlGroup", unit], askLimitMs);
  const rows = shown.stdout.split("\n").map((line) => [line.split("=")[0] ?? "", line.slice(line.indexOf("=") + 1)]);
  return new Map(rows as [string, string][]);
}

/** Ends the main process of a unit that is left, and lets go of its name. */
async function free(unit: string): Promise<void> {
  for (const verb of ["stop", "reset-failed"]) {
    await runTool("systemctl", [verb, `${unit}.service`], stopLimitMs).catch(() => undefined);
  }
}

function isTaken(end: ToolEnd): boolean {
  return /already (loaded|exists)/.test(end.said);
}

/** What systemd-run itself says is on its stderr; the session's own output goes nowhere. */
function endOf(end: ToolEnd): { how: string; isError: boolean } {
  const said = end.said.trim().split("\n")[0] ?? "";
  if (end.code === null) {
    return { how: said === "" ? "systemd-run was ended" : said, isError: end.isMissing };
  }
  if (said !== "") {
    return { how: `an error of systemd (${said.slice(0, 200)}; see 'systemctl status dbus')`, isError: false };
  }
  return { how: `exit code ${end.code}`, isError: end.code > 0 && end.code < 128 };
}
