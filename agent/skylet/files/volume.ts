/**
 * A volume that an admin publishes: the destination becomes a symbolic link to its path, made as the user. Nothing that is
 * there already is ever replaced. A read-only one is a link too; that its path cannot be written is done around the
 * scripts (inside.ts). Called by main.ts.
 */
import { mkdirSync, readdirSync, readlinkSync, rmdirSync, statSync, symlinkSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import type { FilePlan } from "../../../shared/files.ts";
import type { Bringing } from "./bringing.ts";
import { asFault, FilesFault } from "./fault.ts";
import { findTool } from "./tool.ts";
import { whyNotReadOnly } from "../inside.ts";

type VolumePlan = Extract<FilePlan, { kind: "volume" }>;

export function bringVolume({ destination, label }: Bringing, plan: VolumePlan): void {
  const { name, path } = plan;
  try {
    if (!statSync(path).isDirectory()) {
      throw new FilesFault(
        `Volume '${name}' is ${path}, which is no folder on machine '${hostname()}'. Ask the admin.`,
      );
    }
  } catch (error) {
    if (error instanceof FilesFault) {
      throw error;
    }
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const why = isMissing ? "is not there" : "cannot be opened by this user";
    throw new FilesFault(`Volume '${name}' is ${path}, which ${why} on machine '${hostname()}'. Ask the admin.`);
  }
  if (plan.readOnly) {
    const why = findTool("unshare") === null ? "the program unshare is missing" : whyNotReadOnly(path);
    if (why !== null) {
      throw new FilesFault(
        `Volume '${name}' may only be read, and machine '${hostname()}' cannot make it so for one job: ${why}. Ask the admin.`,
      );
    }
  }
  link(destination, label, name, path);
}

function link(destination: string, label: string, name: string, path: string): void {
  if (destination === path) {
    return;
  }
  try {
    mkdirSync(dirname(destination), { recursive: true });
    if (isEmptyFolder(destination)) {
      rmdirSync(destination);
    }
    symlinkSync(path, destination);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw asFault(error, `make the link ${label}`);
    }
    let present: string | null = null;
    try {
      present = readlinkSync(destination);
    } catch {
      // No link.
    }
    if (present !== path) {
      const is = present === null ? "something else" : `a link to ${present}`;
      throw new FilesFault(
        `${label} is ${is} here, and volume '${name}' is to be there. Move it away and launch again.`,
      );
    }
  }
}

function isEmptyFolder(path: string): boolean {
  try {
    return readlinkOf(path) === null && readdirSync(path).length === 0;
  } catch {
    return false;
  }
}

function readlinkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
