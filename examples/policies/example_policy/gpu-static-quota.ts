/**
 * Gives each user so many accelerators of each kind and no more, waiting jobs included. What is in use comes with the
 * request and is exact: no other request of the same user is looked at until this one is queued.
 */
import * as sky from "sky-onprem";
import { acceleratorsOf } from "./accelerators.ts";

type Counts = Record<string, number>;

function check(user: string, used: Counts, quotas: Counts, task: sky.Task): void {
  for (const [kind, count] of acceleratorsOf(task.getResourceConfig())) {
    const of = (counts: Counts): number =>
      Object.entries(counts).find(([name]) => name.toLowerCase() === kind.toLowerCase())?.[1] ?? 0;
    const [inUse, requested, quota] = [of(used), count * task.numNodes, of(quotas)];
    // Not "more than": an amount that is no number is refused too.
    if (!(inUse + requested <= quota)) {
      throw new sky.RuntimeError(
        `User ${user} has exceeded the GPU quota for ${kind}. ` +
          `In use: ${inUse}, Requested: ${requested}, Quota: ${quota}`,
      );
    }
  }
}

export class GPUStaticQuotaPolicy extends sky.AdminPolicy {
  static quotaPerUser: Counts = { H100: 2, L40S: 10 };

  static override validateAndMutate(userRequest: sky.UserRequest): sky.MutatedUserRequest {
    const { task, skypilotConfig, requestName, atClientSide, user, holdings } = userRequest;
    const counted: readonly string[] = [
      sky.AdminPolicyRequestName.CLUSTER_LAUNCH,
      // Here each exec takes devices of its own.
      sky.AdminPolicyRequestName.CLUSTER_EXEC,
    ];
    if (!atClientSide && counted.includes(requestName)) {
      if (user === null || holdings === null) {
        throw new sky.RuntimeError("Failed to get what is in use: name this policy in the coordinator's own config.");
      }
      const own = holdings.find((one) => one.user === user.name)?.accelerators ?? {};
      check(user.name, own, this.quotaPerUser, task);
    }
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
