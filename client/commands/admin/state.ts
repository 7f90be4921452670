/**
 * `sky admin backup` and `sky admin restore`: run the installed coordinator's own commands on this machine, which must
 * be the head, and pass its words on. They exist so that an admin finds them beside the others; they must never do
 * anything that the coordinator's program does not. Called by client/program-admin.ts.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { SkyError } from "../../../shared/errors.ts";

const program = "/opt/sky-onprem/current/bin/sky-coordinator";
const config = "/etc/sky-onprem/coordinator.yaml";

/** Runs `sky-coordinator VERB FILE`; resolves with 0 or 1. */
export async function onHead(verb: "backup" | "restore", file: string, flags: string[]): Promise<number> {
  if (!existsSync(program) || !existsSync(config)) {
    throw new SkyError(
      "NotSupportedError",
      `This machine is no installed head: ${existsSync(program) ? config : program} is missing.`,
      `Run it on the head: sudo sky admin ${verb} ${file}`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new SkyError(
      "PermissionDeniedError",
      `Only root may do this: ${config} and the state are closed to others.`,
      `Run: sudo sky admin ${[verb, file, ...flags].join(" ")}`,
    );
  }
  const child = spawn(program, [verb, file, "--config", config, ...flags], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(new SkyError("InternalError", `${program} cannot be run: ${error.message}.`)),
    );
    // The words were right, or this program would have refused them: whatever it is, it is no wrong use.
    child.once("close", (code) => resolve(code === 0 ? 0 : 1));
  });
}
