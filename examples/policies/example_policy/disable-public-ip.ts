/**
 * Forbids public addresses on AWS, and refuses requests of users who have no VPC in their config. Machines of one's own
 * have the addresses that they have; what the policy demands of the config holds here too.
 */
import * as sky from "sky-onprem";

export class DisablePublicIpPolicy extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig: config }: sky.UserRequest): sky.MutatedUserRequest {
    config.setNested(["aws", "use_internal_ip"], true);
    if (config.getNested(["aws", "vpc_name"], null) === null) {
      // Without a VPC it is likely a mistake.
      throw new sky.RuntimeError("VPC name should be set. Check organization wiki for more information.");
    }
    return new sky.MutatedUserRequest(task, config);
  }
}
