/** Lets no request pass: what is thrown is what the user reads. */
import * as sky from "sky-onprem";

export class RejectAllPolicy extends sky.AdminPolicy {
  static override validateAndMutate(): sky.MutatedUserRequest {
    throw new sky.RuntimeError("Reject all policy");
  }
}
