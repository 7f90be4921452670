/**
 * `sky admin rotate-key`: nodes make new keys for themselves, one after the other; the old one of each is refused as soon
 * as the node has connected with the new one.
 */
import type { Context } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

/** Runs the command; resolves with the exit code: 1 when a node has not come back with its new key yet. */
export async function rotateKey(context: Context, names: string[], flags: ClusterFlags): Promise<number> {
  const { screen } = context;
  const calls = await adminCallsTo(context, flags);
  let code = 0;
  try {
    for (const name of new Set(names)) {
      const { node, key, used } = await calls.rotateKey(name);
      if (used) {
        screen.print(`${screen.colors.green("✓")} ${node} uses its new key; the old one is refused.\n  ${key}`);
      } else {
        code = 1;
        screen.note(
          screen.noteColors.yellow(
            `${node} has made a new key and has not come back with it yet. Both are accepted until it does: ` +
              `sky admin nodes ${node}`,
          ),
        );
      }
    }
    screen.note(
      "The next run of the playbook brings the coordinator's config up to date.\nUntil then nothing is amiss.",
    );
    return code;
  } finally {
    calls.close();
  }
}
