/** Mounts the volume `pvc0`, which an admin publishes in the coordinator's config, in every task. */
import * as sky from "sky-onprem";

export class AddVolumesPolicy extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig }: sky.UserRequest): sky.MutatedUserRequest {
    if (!task.isControllerTask()) {
      // `updateVolumes` would keep those that the user names.
      task.setVolumes({ "/mnt/data0": "pvc0" });
    }
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
