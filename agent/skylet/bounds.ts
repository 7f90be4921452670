/**
 * What of a job's launch spec this user's side carries out: whether all of it can be, and by which programs. What cannot
 * be carried out here is a failed start, never left out. The limits are the agent's, which sets them on the attempt's
 * cgroup; here they are only compared, so that a payload never promises one that nobody was told of. Called by prepare.ts.
 */
import { accessSync, constants } from "node:fs";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { SkyError } from "../../shared/errors.ts";
import type { Payload } from "../../shared/job.ts";
import { type LaunchSpec, type Limits, limitsOf } from "../../shared/launch-spec.ts";
import { optionFieldsOf } from "../../shared/policy/task/run-options.ts";
import { type Scratch, scratchOf } from "./scratch.ts";

/** Where the system's own programs lie: one of the user's own on PATH must not stand in for them. */
const systemFolders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

export interface Bounds {
  /** The program that keeps what it starts from gaining privileges; null: nothing is to. */
  setpriv: string | null;
  workingDir: string | null;
  scratch: Scratch | null;
}

function systemProgram(name: string, what: string): string {
  for (const folder of systemFolders) {
    try {
      accessSync(`${folder}/${name}`, constants.X_OK);
      return `${folder}/${name}`;
    } catch {
      // Not here.
    }
  }
  throw new SkyError("NotSupportedError", `${what} needs the program ${name}, which is not in ${systemFolders[0]}.`);
}

function isSame(one: Limits | null, other: Limits | undefined): boolean {
  return one?.cpuCores === other?.cpuCores && one?.memoryBytes === other?.memoryBytes;
}

/** Throws a SkyError for what could not be kept. */
function requireCarried(spec: LaunchSpec, payload: Payload, wanted: WantedAttempt): void {
  if (!isSame(limitsOf(spec), wanted.limits)) {
    throw new SkyError("InternalError", "the job's limits are not those that the agent was told of.");
  }
  if (spec.container !== undefined && payload.image === undefined) {
    throw new SkyError("NotSupportedError", "the job has options of a container, and no image.");
  }
  if (spec.scratch?.some((one) => one.sizeBytes !== undefined && one.memory === undefined) === true) {
    throw new SkyError("NotSupportedError", "the size of a scratch folder can only be kept in memory.");
  }
  const { fields, raw } = optionFieldsOf(payload.image?.options ?? []);
  const bad = [...raw, ...[...fields.keys()].filter((path) => path.startsWith("security.") || path === "privileged")];
  if (spec.container?.optionsChecked === true && bad.length > 0) {
    throw new SkyError(
      "NotSupportedError",
      `options of the task's own that its policies do not allow: ${bad.join(", ")}.`,
    );
  }
}

/** `folder`: the attempt's. Throws a SkyError when this machine or this user's side cannot do all of it. */
export function boundsOf(payload: Payload, wanted: WantedAttempt, folder: string): Bounds {
  const spec = payload.launchSpec ?? {};
  requireCarried(spec, payload, wanted);
  const scratch = scratchOf(spec, folder);
  if (payload.image === undefined && scratch !== null && scratch.mounted.length > 0) {
    systemProgram("unshare", "A scratch folder");
    systemProgram("nsenter", "A scratch folder");
  }
  return {
    setpriv: spec.noNewPrivileges === true ? systemProgram("setpriv", "Keeping a job from gaining privileges") : null,
    workingDir: spec.workingDir ?? null,
    scratch,
  };
}
