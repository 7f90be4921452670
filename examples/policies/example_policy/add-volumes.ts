/** Mounts the volume `pvc0`, which an admin publishes in the coordinator's config, in every task. */
import * as sky from "sky-onprem";

export class AddVolumesPolicy extends sky.AdminPolicy {
  /** Where users may put something on the nodes, and the names of volumes. */
  static volumes: Record<string, string> = { "/mnt/data0": "pvc0" };

  static override validateAndMutate({ task, skypilotConfig }: sky.UserRequest): sky.MutatedUserRequest {
    if (!task.isControllerTask()) {
      // `updateVolumes` would keep those that the user names.
      task.setVolumes(this.volumes);
    }
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
