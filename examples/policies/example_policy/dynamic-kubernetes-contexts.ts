/**
 * Sets the Kubernetes contexts that a user may use, as a registry of the organization knows them at this moment. Jobs here
 * run as processes of their users, so that the value changes nothing; the request passes all the same.
 */
import * as sky from "sky-onprem";

/** Stands for a question to a registry, such as an internal API or a vault. */
async function allowedContexts(): Promise<string[]> {
  return ["context1", "context2"];
}

export class DynamicKubernetesContextsUpdatePolicy extends sky.AdminPolicy {
  static override async validateAndMutate(userRequest: sky.UserRequest): Promise<sky.MutatedUserRequest> {
    const { task, skypilotConfig: config } = userRequest;
    config.setNested(["kubernetes", "allowed_contexts"], await allowedContexts());
    return new sky.MutatedUserRequest(task, config);
  }
}
