/**
 * Limits how often each user may launch: a bucket of tokens for each user, in a file of the policy's own folder, so that
 * a restart of the coordinator gives nobody a new one.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import * as sky from "sky-onprem";

interface Bucket {
  tokens: number;
  /** Seconds since 1970. */
  refilledAt: number;
}

/** Up to `capacity` requests at once, and `fillRate` a second in the long run. */
export class TokenBucketRateLimiter {
  readonly capacity: number;
  readonly fillRate: number;
  readonly file: string;

  constructor(capacity: number, fillRate: number, file = "rate_limit.json") {
    this.capacity = capacity;
    this.fillRate = fillRate;
    this.file = file;
  }

  /** Takes a token of this user's, if there is one. */
  allowRequest(user: string): boolean {
    const buckets = this.#read();
    const now = Date.now() / 1000;
    const { tokens, refilledAt } = buckets.get(user) ?? { tokens: this.capacity, refilledAt: now };
    const filled = Math.min(this.capacity, tokens + Math.max(0, now - refilledAt) * this.fillRate);
    const allowed = filled >= 1;
    buckets.set(user, { tokens: allowed ? filled - 1 : filled, refilledAt: now });
    this.#write(buckets, now);
    return allowed;
  }

  #read(): Map<string, Bucket> {
    return existsSync(this.file)
      ? new Map(Object.entries(JSON.parse(readFileSync(this.file, "utf8")) as Record<string, Bucket>))
      : new Map();
  }

  /** In one step: whoever reads it sees the old or the new. Full buckets are forgotten. */
  #write(buckets: Map<string, Bucket>, now: number): void {
    const isFull = ({ tokens, refilledAt }: Bucket): boolean =>
      tokens + (now - refilledAt) * this.fillRate >= this.capacity;
    const kept = [...buckets].filter(([, bucket]) => !isFull(bucket));
    writeFileSync(`${this.file}.new`, JSON.stringify(Object.fromEntries(kept)), { flush: true });
    renameSync(`${this.file}.new`, this.file);
  }
}

export class RateLimitLaunchPolicy extends sky.AdminPolicy {
  static rateLimiter = new TokenBucketRateLimiter(10, 1);

  static override validateAndMutate(userRequest: sky.UserRequest): sky.MutatedUserRequest {
    const { task, skypilotConfig, requestName, atClientSide, user } = userRequest;
    // Looking whether a task is right counts for nothing.
    if (!atClientSide && requestName === sky.AdminPolicyRequestName.CLUSTER_LAUNCH && user !== null) {
      if (!this.rateLimiter.allowRequest(user.name)) {
        throw new sky.RuntimeError(`Rate limit exceeded for user ${user.name}`);
      }
    }
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
