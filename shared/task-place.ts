/**
 * Where a task says that it is to run: `infra` and its old name `cloud`. There is one place, the cluster that it is sent
 * to, so all that they can do is name it; SkyPilot's client calls it `ssh/NAME`, as the coordinator reports itself.
 * Called by shared/task-resources.ts and, when the cluster is known, by coordinator/api. It must never choose a cluster.
 */
import { SkyError } from "./errors.ts";
import { clusterNameSchema } from "./ids.ts";
import type { Task } from "./task.ts";
import { shownText, type TaskFields } from "./task-fields.ts";
import type { YamlEntry } from "./yaml11.ts";

const kinds: readonly string[] = ["local", "ssh"];

/** The cluster that is named; null: any. What names no place that can exist here goes to `fields`. */
export function readPlace(
  fields: TaskFields,
  cloud: YamlEntry | undefined,
  infra: YamlEntry | undefined,
): string | null {
  if (cloud !== undefined && infra !== undefined) {
    fields.fault(infra, "Cannot specify both `infra` and `cloud`.");
    return null;
  }
  const entry = cloud ?? infra;
  const place = fields.text(entry);
  if (entry === undefined || place === null || place === "*") {
    return null;
  }
  const at = place.indexOf("/");
  const [kind, name] = at < 0 ? [place, "*"] : [place.slice(0, at), place.slice(at + 1)];
  const isName = name === "*" || (entry === infra && clusterNameSchema.safeParse(name).success);
  if (!kinds.includes(kind.toLowerCase()) || !isName) {
    fields.fault(
      entry,
      `'${entry.key}: ${shownText(place)}' names no place that exists here. Must specify \`cloud: local\` or no cloud in YAML or CLI args.`,
    );
    return null;
  }
  return name === "*" ? null : name;
}

/** As `readPlace` reads it back. */
export function placeValue(clusterName: string): Record<string, string> {
  return { infra: `ssh/${clusterName}` };
}

/** Throws SkyError("ResourcesMismatchError") for a task that names another cluster than this one. */
export function requirePlace({ clusterName }: Task, cluster: string): void {
  if (clusterName !== undefined && clusterName !== cluster) {
    throw new SkyError(
      "ResourcesMismatchError",
      `The task names cluster '${clusterName}' as its 'infra', and was sent to cluster '${cluster}'.`,
      `Leave 'infra' out, or write infra: ssh/${cluster}.`,
    );
  }
}
