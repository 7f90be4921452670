/**
 * Which program runs a user's containers on this machine, and that it is ready before a job's first one. Asks only what
 * this user may do: docker's socket may be closed to them. Called by prepare.ts.
 */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { promisify } from "node:util";
import { SkyError } from "../../shared/errors.ts";
import type { ContainerEngine } from "./container.ts";
import { findTool } from "./files/tool.ts";

const dockerSocket = "/var/run/docker.sock";
const readyLimitMs = 30_000;

/** docker may be told by the user's own environment where it listens. */
function mayUseDocker(): boolean {
  if ((process.env["DOCKER_HOST"] ?? "") !== "") {
    return true;
  }
  try {
    accessSync(dockerSocket, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** podman first: it needs no right that is as good as root's. Throws a SkyError that says what is missing. */
export function containerEngine(image: string): ContainerEngine {
  if (findTool("podman") !== null) {
    return "podman";
  }
  const why =
    findTool("docker") === null
      ? "neither podman nor docker is on the user's PATH there."
      : "podman is not on the user's PATH there, and the user may not use docker's socket.";
  if (findTool("docker") === null || !mayUseDocker()) {
    throw new SkyError("NotSupportedError", `the job is to run in image '${image}', and ${why}`);
  }
  return "docker";
}

/**
 * podman keeps a process for all of a user's containers, which the first command starts. It must not be one of a job's
 * processes: it would end with that job, and be missed by the containers of others. What fails here is told by the
 * container's own start.
 */
export async function readyEngine(engine: ContainerEngine): Promise<void> {
  if (engine === "podman") {
    await promisify(execFile)("podman", ["unshare", "true"], { timeout: readyLimitMs, cwd: "/" }).catch(
      () => undefined,
    );
  }
}
