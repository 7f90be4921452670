/**
 * Adds a Kubernetes label to the config of every request. Jobs here run as processes of their users, so that the label
 * changes nothing; the request passes all the same.
 */
import * as sky from "sky-onprem";

const labelsKey = ["kubernetes", "custom_metadata", "labels"];

export class AddLabelsPolicy extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig: config }: sky.UserRequest): sky.MutatedUserRequest {
    const labels = config.getNested<Record<string, string>>(labelsKey, {});
    config.setNested(labelsKey, { ...labels, app: "skypilot" });
    return new sky.MutatedUserRequest(task, config);
  }
}
