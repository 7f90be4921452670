/**
 * How admin policies are named: the requests that one is asked about, and the places that `admin_policy` of a config can
 * name. Pure. Used by coordinator/policy, client/policy, the worker that policies run in and the public SDK.
 */
import { SkyError } from "../errors.ts";

/** SkyPilot's AdminPolicyRequestName. */
export const adminPolicyRequestNames = {
  VALIDATE: "validate",
  OPTIMIZE: "optimize",
  CLUSTER_LAUNCH: "launch",
  CLUSTER_EXEC: "exec",
  JOBS_LAUNCH: "jobs.launch",
  JOBS_LAUNCH_CONTROLLER: "jobs.launch_controller",
  JOBS_LAUNCH_CLUSTER: "jobs.launch_cluster",
  JOBS_POOL_APPLY: "jobs.pool_apply",
  SERVE_UP: "serve.up",
  SERVE_UPDATE: "serve.update",
  SERVE_LAUNCH_CONTROLLER: "serve.launch_controller",
  SERVE_LAUNCH_REPLICA: "serve.launch_replica",
} as const;

/** `shown` as log lines and refusals call it; `url` with its credentials, which are shown nowhere. */
export type PolicyPlace =
  | { kind: "url"; url: string; shownUrl: string; shown: string }
  | { kind: "module"; module: string; className: string; shown: string };

const modulePattern =
  /^(?:@[A-Za-z0-9][A-Za-z0-9._-]*\/)?[A-Za-z0-9_][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/;
const classPattern = /^[A-Za-z_$][A-Za-z0-9_$]{0,99}$/;

function hint(): string {
  return "Write MODULE.CLASS, such as my-package/policies.MyPolicy, or the URL of a policy server.";
}

/** What `admin_policy` names. Throws SkyError("ValueError"): a path of the machine is no place of a policy. */
export function policyPlace(text: string): PolicyPlace {
  if (/^https?:\/\//i.test(text)) {
    return urlPlace(text);
  }
  const dot = text.lastIndexOf(".");
  const [module, className] = [text.slice(0, Math.max(0, dot)), text.slice(dot + 1)];
  if (dot < 1 || !modulePattern.test(module) || !classPattern.test(className)) {
    throw new SkyError("ValueError", `admin_policy: '${text.slice(0, 200)}' names no policy.`, hint());
  }
  return { kind: "module", module, className, shown: className };
}

function urlPlace(text: string): PolicyPlace {
  let url: URL | null = null;
  try {
    // It is shown as it is written.
    url = /[\s\p{Cc}\p{Cf}]/u.test(text) ? null : new URL(text);
  } catch {
    // No URL.
  }
  if (url === null) {
    throw new SkyError("ValueError", "admin_policy is no URL that can be called.", hint());
  }
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  const isAsWritten = url.username === "" && url.password === "";
  const shownUrl = isAsWritten ? text : shown.href;
  return { kind: "url", url: text, shownUrl, shown: `RestfulAdminPolicy(policy_url=${shownUrl})` };
}
