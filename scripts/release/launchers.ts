/**
 * The commands of a release: small scripts in bin/ that find their release by their own real place and run its Node.js
 * with fixed flags, whatever PATH or NODE_OPTIONS say, so that nothing of a caller's Node.js settings reaches a program
 * of root's. Called by scripts/package.ts.
 */

interface Program {
  bundle: string;
  /** Fixed flags for Node.js. */
  flags: string[];
}

/** By the name of the command. */
export const programs: Record<string, Program> = {
  sky: { bundle: "client.mjs", flags: [] },
  // A small young generation: the coordinator lives long and keeps little.
  "sky-coordinator": { bundle: "coordinator.mjs", flags: ["--max-semi-space-size=4"] },
  "sky-agent": { bundle: "agent.mjs", flags: [] },
  "sky-doctor": { bundle: "doctor.mjs", flags: [] },
};

export function launcherOf(program: Program): string {
  const words = ['"$lib/node"', ...program.flags, `"$lib/${program.bundle}"`, '"$@"'];
  return `#!/bin/sh
# Runs the program of this release with this release's own Node.js. By absolute paths only: PATH may be anything.
readlink=/usr/bin/readlink
[ -x "$readlink" ] || readlink=/bin/readlink
self=$("$readlink" -f -- "$0") || exit 127
lib=\${self%/bin/*}/lib
unset NODE_OPTIONS NODE_PATH
exec ${words.join(" ")}
`;
}
