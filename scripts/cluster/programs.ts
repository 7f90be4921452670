/**
 * The cluster's own copy of what it runs. A checkout often lies in a home that is closed to others, and Node.js too;
 * the coordinator's account and every user must reach both. Called by start.ts.
 */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ClusterError, dist, pathsOf } from "./layout.ts";

/** Whether every account may read and run this file. */
function isOpen(file: string): boolean {
  for (let path = file; path !== "/"; path = dirname(path)) {
    const needed = path === file ? 0o005 : 0o001;
    if ((statSync(path).mode & needed) !== needed) {
      return false;
    }
  }
  return true;
}

/** The Node.js that this cluster runs with: this one, or its copy where this one is closed to others. */
export function nodeProgram(dir: string): string {
  const copy = join(pathsOf(dir).programsDir, "node");
  return existsSync(copy) ? copy : process.execPath;
}

/** Copies the build, and Node.js where others cannot reach it. The `sky` of the copy names its Node.js by path. */
export function copyPrograms(dir: string): void {
  const { programsDir } = pathsOf(dir);
  if (!existsSync(join(dist, "coordinator.mjs"))) {
    throw new ClusterError(`${dist} holds no build. Run 'npm run build' first.`);
  }
  cpSync(dist, programsDir, { recursive: true });
  chmodSync(programsDir, 0o755);
  if (!isOpen(realpathSync(process.execPath))) {
    copyFileSync(process.execPath, join(programsDir, "node"));
    chmodSync(join(programsDir, "node"), 0o755);
  }
  const sky = join(programsDir, "sky");
  writeFileSync(sky, readFileSync(sky, "utf8").replace(/^#!.*/, `#!${nodeProgram(dir)}`));
}
