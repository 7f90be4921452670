/**
 * Refuses launches that set no autostop. Machines of one's own are never stopped, so that no request can set it: the
 * policy runs, and its refusal says what to use in its place.
 */
import * as sky from "sky-onprem";

const needed: readonly string[] = [sky.AdminPolicyRequestName.CLUSTER_LAUNCH, sky.AdminPolicyRequestName.CLUSTER_EXEC];

export class EnforceAutostopPolicy extends sky.AdminPolicy {
  static override validateAndMutate(userRequest: sky.UserRequest): sky.MutatedUserRequest {
    const { task, skypilotConfig, requestName, requestOptions } = userRequest;
    const minutes = requestOptions?.idleMinutesToAutostop ?? -1;
    if (needed.includes(requestName) && minutes < 0) {
      throw new sky.RuntimeError(
        "Autostop/down must be set for all clusters. Machines of one's own are never stopped, so it cannot be set here: " +
          "an admin limits the time of jobs with scheduling.max_time instead of this policy.",
      );
    }
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
