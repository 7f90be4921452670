/**
 * Buckets as folders, mounted by the user's own tools for as long as the attempt lasts. What was mounted is written down
 * in the attempt's folder, so that the runner unmounts it at its end. Called by uri.ts.
 */
import { appendFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { FilePlan } from "../../../shared/files.ts";
import { attemptFiles } from "../runner-script.ts";
import type { Bringing } from "./bringing.ts";
import type { Bucket } from "./bucket.ts";
import { asFault, FilesFault } from "./fault.ts";
import { firstTool, runTool } from "./tool.ts";

type UriPlan = Extract<FilePlan, { kind: "uri" }>;

const toolsOf: Record<string, string[]> = { s3: ["goofys", "s3fs", "rclone"], gs: ["gcsfuse", "rclone"] };

/** The words for one tool; each goes into the background by itself when the mount is there. */
export function mountWords(tool: string, bucket: Bucket, folder: string, plan: UriPlan): string[] {
  const { bucket: name, key } = bucket;
  const { readOnly } = plan;
  switch (tool) {
    case "goofys":
      return [...(readOnly ? ["-o", "ro"] : []), key === "" ? name : `${name}:${key}`, folder];
    case "s3fs":
      return [key === "" ? name : `${name}:/${key}`, folder, ...(readOnly ? ["-o", "ro"] : [])];
    case "gcsfuse":
      return [...(key === "" ? [] : ["--only-dir", key]), ...(readOnly ? ["-o", "ro"] : []), name, folder];
    default: {
      const remote = `${bucket.scheme}:${name}${key === "" ? "" : `/${key}`}`;
      const cache = plan.mode === "MOUNT_CACHED" ? ["--vfs-cache-mode", "writes"] : [];
      return ["mount", "--daemon", ...cache, ...(readOnly ? ["--read-only"] : []), "--", remote, folder];
    }
  }
}

export async function mountBucket(bringing: Bringing, plan: UriPlan, bucket: Bucket): Promise<void> {
  const { destination, label, folder, say } = bringing;
  const known = toolsOf[bucket.scheme] ?? ["rclone"];
  const names = plan.mode === "MOUNT_CACHED" ? ["rclone"] : known;
  const tool = firstTool(names);
  const unmount = firstTool(["fusermount3", "fusermount"]);
  if (tool === null || unmount === null) {
    const missing = tool === null ? `one of '${names.join("', '")}'` : "'fusermount3'";
    throw new FilesFault(
      `${plan.uri} as a mount needs ${missing}, which this machine does not have. Ask its admin, or use 'mode: COPY'.`,
    );
  }
  try {
    mkdirSync(destination, { recursive: true });
    if (readdirSync(destination).length > 0) {
      throw new FilesFault(`${label} is to be a mount and is not empty. Move what is there away and launch again.`);
    }
    // Before it is mounted: what is not there is not unmounted, and nothing that is there is forgotten.
    appendFileSync(join(folder, attemptFiles.mounts), `${destination}\n`, { mode: 0o600 });
  } catch (error) {
    throw asFault(error, `make the folder ${label}`);
  }
  const code = await runTool(tool, mountWords(tool, bucket, destination, plan));
  if (code !== 0) {
    throw new FilesFault(`${plan.uri} could not be mounted at ${label}: ${tool} ended with exit code ${code}.`);
  }
  say(`${plan.uri} is mounted by ${tool} until the job's end`);
}
