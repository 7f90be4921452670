/**
 * What a launch or an exec asks for, before anything is decided: the task in its text, what the config adds, and what is
 * refused because no cluster of one's own can do it. Pure. Called by routes-submit.ts.
 */
import { type ConfigTree, runOptionsOf } from "../../shared/config-layers.ts";
import type { Uploads } from "../../shared/files.ts";
import type { Task } from "../../shared/task.ts";
import { readTask } from "../../shared/task-file.ts";
import { requirePlace } from "../../shared/task-place.ts";
import { resourceRefusals } from "../../shared/task-refusals.ts";
import type { PolicyStep, SentBy } from "./admin-policy-step.ts";

/** What `/launch` and `/exec` have in common. */
export interface Submission {
  kind: "launch" | "exec";
  taskText: string;
  clusterName: string;
  dryrun: boolean;
  noSetup: boolean;
  /** Manifests of the task's local sources. */
  uploads: Uploads;
  /** SkyPilot's client: the zip that holds them. */
  blobId: string | null;
  /** What the caller's config files say. */
  config: ConfigTree;
  /** Why what was asked for beside the task cannot be done; null: nothing of it was. An admin policy speaks first. */
  refusal: string | null;
  /** For the admin policy: what was asked for beside the task, and by which program. */
  asked: Pick<PolicyStep["options"], "down" | "idleMinutesToAutostop">;
  sentBy: SentBy;
}

/** What SkyPilot's clients can ask for beside the task, and no cluster of one's own can do. */
interface Asked {
  down: boolean;
  idle_minutes_to_autostop?: number | null;
  clone_disk_from?: string | null;
}

/** The sentence for the user; null: nothing was asked for that cannot be done. */
export function refusalOf({
  down,
  idle_minutes_to_autostop: idle = null,
  clone_disk_from: cloned = null,
}: Asked): string | null {
  if (down || (idle !== null && idle >= 0)) {
    const name = down ? "down" : "idle_minutes_to_autostop";
    return `'${name}' cannot be used here. ${resourceRefusals["autostop"]?.reason ?? ""}`;
  }
  return cloned === null ? null : "'clone_disk_from' cannot be used here. The disks are those of the machines.";
}

/** The task in the text, for this cluster. An empty text is SkyPilot's `sky launch -c NAME ''`: one with nothing to do. */
export function taskOf(text: string, cluster: string): Task {
  const task = readTask(text.trim() === "" ? "{}" : text, { file: "task" });
  requirePlace(task, cluster);
  return task;
}

/** The task with what the config says where it says nothing itself. */
export function configured(task: Task, tree: ConfigTree): Task {
  const options = task.image === undefined || task.imageOptions !== undefined ? [] : runOptionsOf(tree);
  return options.length === 0 ? task : { ...task, imageOptions: options };
}
