/**
 * `sky launch --retry-until-up`: machines of one's own are not rented, so what may be waited for is that the cluster
 * answers and has a node that is up. A job that merely finds no free node needs none of this: it waits in the queue. It
 * must never wait without saying for what, nor for ever. Used by commands/launch.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Calls } from "../sdk/calls.ts";
import type { Context } from "./context.ts";

/** Milliseconds between two looks: doubled each time up to the longest. */
const firstWaitMs = 500;
const longestWaitMs = 30_000;
/** Hours after which it gives up. */
const limitHours = 24;

/** What will not come by waiting is not waited for. */
const passing = new Set(["ConnectionError", "ServerUnavailableError", "ClusterNotUpError"]);

/** Why it cannot run anything now; null: it can. */
async function whyNot(calls: Pick<Calls, "nodes">): Promise<string | null> {
  try {
    const { nodes } = await calls.nodes();
    return nodes.some((node) => node.state === "UP") ? null : `none of its ${nodes.length} nodes is up`;
  } catch (error) {
    if (error instanceof SkyError && passing.has(error.type)) {
      return messageOf(error).replace(/\.$/, "");
    }
    throw error;
  }
}

/** Resolves with true when the cluster can run something, with false when the person has stopped it. */
export async function untilUp(context: Context, calls: Pick<Calls, "nodes">, cluster: string): Promise<boolean> {
  const { screen } = context;
  const { signal, done } = context.interrupted();
  const until = performance.now() + limitHours * 3_600_000;
  let said = "";
  try {
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(waitMs * 2, longestWaitMs)) {
      const why = await whyNot(calls);
      if (why === null) {
        return true;
      }
      if (performance.now() > until) {
        throw new SkyError("ClusterNotUpError", `Cluster '${cluster}' did not come up in ${limitHours} hours: ${why}.`);
      }
      if (why !== said) {
        said = why;
        const text = `Cluster '${cluster}' is not up: ${why}. Waiting for it, for up to ${limitHours} hours (Ctrl-C stops).`;
        screen.note(screen.noteColors.yellow(text));
      }
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) {
        screen.note("Stopped waiting; nothing was submitted.");
        return false;
      }
    }
  } finally {
    done();
  }
}
