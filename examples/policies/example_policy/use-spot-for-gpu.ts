/**
 * Runs everything that asks for accelerators on spot instances. Nobody takes away machines of one's own, so that the
 * cluster refuses the task and says why; `preemptible: true` is what lets others go first here.
 */
import * as sky from "sky-onprem";
import { waysOf } from "./accelerators.ts";

export class UseSpotForGpuPolicy extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig }: sky.UserRequest): sky.MutatedUserRequest {
    const resources = task.getResourceConfig();
    for (const way of waysOf(resources)) {
      if (way["accelerators"] !== undefined && way["accelerators"] !== null) {
        way["use_spot"] = true;
      }
    }
    task.setResources(resources);
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
