/** Lets every request pass as it is. */
import * as sky from "sky-onprem";

export class DoNothingPolicy extends sky.AdminPolicy {
  static override validateAndMutate(userRequest: sky.UserRequest): sky.MutatedUserRequest {
    return new sky.MutatedUserRequest(userRequest.task, userRequest.skypilotConfig);
  }
}
