/**
 * SkyPilot's example policies, for machines of one's own. Copy the folder `example_policy` into the admins' folder of
 * policies and name one of these in the coordinator's config: `admin_policy: example_policy.DoNothingPolicy`.
 */
export { AddLabelsPolicy } from "./add-labels.ts";
export { AddVolumesPolicy } from "./add-volumes.ts";
export { DisablePublicIpPolicy } from "./disable-public-ip.ts";
export { DoNothingPolicy } from "./do-nothing.ts";
export { DynamicKubernetesContextsUpdatePolicy } from "./dynamic-kubernetes-contexts.ts";
export { EnforceAutostopPolicy } from "./enforce-autostop.ts";
export { GPUStaticQuotaPolicy } from "./gpu-static-quota.ts";
export { RateLimitLaunchPolicy, TokenBucketRateLimiter } from "./rate-limit-launch.ts";
export { RejectAllPolicy } from "./reject-all.ts";
export { SetMaxAutostopIdleMinutesPolicy } from "./set-max-autostop.ts";
export { UseLocalGcpCredentialsPolicy } from "./use-local-gcp-credentials.ts";
export { UseSpotForGpuPolicy } from "./use-spot-for-gpu.ts";
