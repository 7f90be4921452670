/**
 * `sky files`: what one's uploads take on the head of each cluster, and `sky files clean`, which forgets those that no
 * unfinished job needs. A cluster that does not answer does not hide the others.
 */
import { bytesText } from "../../shared/units.ts";
import { createFilesCalls, type FilesCalls, type FilesUsage } from "../sdk/files-calls.ts";
import { showFailure } from "../output/failure.ts";
import { takenText } from "../output/requests-text.ts";
import { formatTable } from "../output/table.ts";
import { RequestTaken } from "../sdk/requests.ts";
import { chosenClusters, transportOf } from "./clusters.ts";
import type { Context } from "./context.ts";

const columns = [{ title: "CLUSTER", min: 8, cutOrder: 1 }, { title: "USED" }, { title: "QUOTA" }, { title: "TREES" }];

/** Does the work at each cluster; what it gave by the cluster's name, and whether one failed. */
async function atEach<T>(
  context: Context,
  names: string[],
  work: (calls: FilesCalls) => Promise<T>,
): Promise<{ found: [name: string, result: T][]; failed: boolean }> {
  const { screen } = context;
  const found: [string, T][] = [];
  let failed = false;
  for (const cluster of await chosenClusters(context, names)) {
    const transport = transportOf(context, cluster.registered);
    const calls = createFilesCalls(transport, (text) => screen.note(screen.noteColors.yellow(text)));
    try {
      found.push([cluster.name, await work(calls)]);
    } catch (error) {
      if (error instanceof RequestTaken) {
        screen.print(takenText(error, screen.colors));
        continue;
      }
      failed = true;
      showFailure(error, screen, context.env);
    } finally {
      transport.close();
    }
  }
  return { found, failed };
}

function usageText(found: readonly [string, FilesUsage][], { screen }: Context): string {
  const rows = found.map(([name, { bytes, quota_bytes: quota, manifests }]) => [
    name,
    bytesText(bytes),
    bytesText(quota),
    String(manifests),
  ]);
  const days = [...new Set(found.map(([, { keep_days: kept }]) => kept))].join(" or ");
  const note = `Uploads are kept for ${days} days after their last use. \`sky files clean\` forgets what no job needs.`;
  return `${formatTable(columns, rows, screen.columns, screen.colors)}\n${note}`;
}

/** Runs `sky files`; resolves with the exit code: 1 when a cluster did not answer. */
export async function files(context: Context, names: string[], flags: { output: string }): Promise<number> {
  const { found, failed } = await atEach(context, names, (calls) => calls.usage());
  if (flags.output === "json") {
    context.screen.print(JSON.stringify(Object.fromEntries(found), null, 2));
  } else if (found.length > 0) {
    context.screen.print(usageText(found, context));
  }
  return failed ? 1 : 0;
}

/** Runs `sky files clean`; resolves with the exit code as above. */
export async function filesClean(context: Context, names: string[], flags: { output: string }): Promise<number> {
  const { found, failed } = await atEach(context, names, (calls) => calls.clean());
  if (flags.output === "json" && context.leavesRequests !== true) {
    context.screen.print(JSON.stringify(Object.fromEntries(found), null, 2));
    return failed ? 1 : 0;
  }
  for (const [name, { freed_bytes: freed }] of found) {
    const kept = "What unfinished jobs need, and what came within the last minute, stays.";
    context.screen.print(`Cluster ${name}: ${bytesText(freed)} of uploads forgotten. ${kept}`);
  }
  return failed ? 1 : 0;
}
