/**
 * What a user's processes can be held to on this machine without root: tried once, as an ordinary user and, where systemd
 * runs, outside of the agent's own sandbox, as sessions are. What cannot be tried counts as missing, so that no job that
 * needs it comes here. Called by agent/agent.ts at start; what the kernel's groups can do says agent/cgroup.ts.
 */
import type { Mechanism } from "../shared/launch-spec.ts";
import { runTool } from "./spawn.ts";

const limitMs = 20_000;
/** Whom the trials run as: `nobody`, who has no rights of its own. */
const nobody = 65_534;

/** Programs of the shell that succeed where the machine can do it; in the way in which agent/skylet does it. */
const trials: readonly [Mechanism, string][] = [
  ["no-new-privileges", "exec setpriv --no-new-privs -- grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status"],
  [
    "mount-namespace",
    "command -v nsenter >/dev/null && exec unshare --user --map-root-user --mount --propagation private -- /bin/sh -c " +
      `'mount -t tmpfs tmpfs /tmp && mount --bind /tmp /tmp && exec unshare --user --map-user=${nobody} --map-group=${nobody} -- true'`,
  ],
];

/** How a trial is run. `session`: in a unit of its own; `plain`: by root as nobody; `own`: as who we are. */
export type TrialMode = "session" | "plain" | "own";

function wordsFor(mode: TrialMode, script: string): string[] {
  const shell = ["/bin/sh", "-c", script];
  switch (mode) {
    case "own":
      return shell;
    case "plain":
      return ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--", ...shell];
    case "session": {
      const how = ["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", `--uid=${nobody}`];
      return ["systemd-run", ...how, `--gid=${nobody}`, "-p", "RuntimeMaxSec=15", "--", ...shell];
    }
  }
}

export async function userMechanisms(mode: TrialMode): Promise<Mechanism[]> {
  const found = await Promise.all(
    trials.map(async ([mechanism, script]) => {
      const [file = "", ...argv] = wordsFor(mode, script);
      const result = await runTool(file, argv, limitMs).catch(() => null);
      return result?.code === 0 ? [mechanism] : [];
    }),
  );
  return found.flat();
}
