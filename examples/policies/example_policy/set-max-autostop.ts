/**
 * Sets autostop to ten minutes where a task says nothing or more. Machines of one's own are never stopped: the cluster
 * refuses the task that the policy makes, and says why.
 */
import * as sky from "sky-onprem";

const maxIdleMinutes = 10;

export class SetMaxAutostopIdleMinutesPolicy extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig }: sky.UserRequest): sky.MutatedUserRequest {
    const resources = task.getResourceConfig();
    const autostop = resources["autostop"] as { idle_minutes?: unknown } | undefined;
    const minutes = Number(autostop?.idle_minutes ?? Number.POSITIVE_INFINITY);
    if (minutes > maxIdleMinutes) {
      resources["autostop"] = { ...autostop, idle_minutes: maxIdleMinutes };
    }
    task.setResources(resources);
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
