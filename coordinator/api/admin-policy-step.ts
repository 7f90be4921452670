/**
 * Where a request meets the admin policy: before its task is read, with the config that counts for it. While a policy is
 * in force the requests of one user that queue jobs are looked at one after another, up to the moment at which the job is
 * known to the loop, so that what a policy counts is what there is. It must never let a request pass that the policy has
 * not seen. Called by the routes that take tasks.
 */
import * as z from "zod";
import { applyingLine, brokenByPolicy } from "../../shared/admin-policy/outcomes.ts";
import { headers } from "../../shared/api.ts";
import type { ConfigTree } from "../../shared/config-layers.ts";
import { messageOf, SkyError, type SkyErrorType } from "../../shared/errors.ts";
import type { RequestId, Uid } from "../../shared/ids.ts";
import type { Task } from "../../shared/task.ts";
import type { Account } from "../../shared/users-policy.ts";
import { FairTurns } from "../../system/policy/turns.ts";
import { noAdminPolicy } from "../policy/admin-policy.ts";
import { holdingsOf } from "../policy/holdings.ts";
import type { AdminPolicyRequest, AdminPolicyRunner } from "../policy/parts.ts";
import { liveParts } from "./job-watch.ts";
import type { ApiContext, RouteCall } from "./route.ts";
import { configOf, serverOnlyKeys } from "./routes-config.ts";
import { configured, taskOf } from "./submission.ts";

/** Of the program that sent the request, as it says itself. */
export interface SentBy {
  clientApiVersion: number | null;
  clientVersion: string | null;
}

/** What the policy is asked about. `config`: what counts for the request. */
export interface PolicyStep extends SentBy, Pick<AdminPolicyRequest, "name" | "taskText" | "config" | "options"> {}

export interface Passed {
  taskText: string;
  config: ConfigTree;
  /** Does what may find fault with the task; for what the policy has brought into it the message says so. */
  blaming: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Faults of a task, not of the moment. */
const ofTheTask: readonly SkyErrorType[] = [
  "ValueError",
  "InvalidTaskError",
  "NotSupportedError",
  "PermissionDeniedError",
  "ResourcesMismatchError",
];

function runnerOf(context: ApiContext): AdminPolicyRunner {
  return context.parts.adminPolicy ?? noAdminPolicy;
}

/** The policy's own word, or its failure; nothing else that ends a request is a decision. */
function isRefusal(error: unknown): boolean {
  return error instanceof SkyError && error.type === "UserRequestRejectedByPolicy";
}

/** By the caller's headers. */
export function sentBy({ header }: Pick<RouteCall<unknown>, "header">): SentBy {
  const version = header(headers.version.toLowerCase());
  const number = Number(header(headers.apiVersion.toLowerCase()) ?? Number.NaN);
  return {
    clientApiVersion: Number.isSafeInteger(number) && number >= 0 ? number : null,
    clientVersion: version === undefined ? null : version.slice(0, 100),
  };
}

/** What the policy makes of the request. Rejects with SkyError("UserRequestRejectedByPolicy") where it refuses it. */
export async function passPolicy(
  context: ApiContext,
  account: Account,
  step: PolicyStep,
  running: { id?: RequestId; signal: AbortSignal; print?: (text: string) => void },
): Promise<Passed> {
  const runner = runnerOf(context);
  const { name } = runner;
  if (name === null) {
    return { taskText: step.taskText, config: step.config, blaming: async (work) => work() };
  }
  running.print?.(`${applyingLine("server", name)}\n`);
  const shown = Object.entries(step.config).filter(([key]) => !serverOnlyKeys.includes(key));
  const asking = runner.apply({
    ...step,
    account,
    config: Object.fromEntries(shown),
    holdings: () => holdingsOf(liveParts(context.parts).loop.state),
    signal: running.signal,
    inTurn: (work) => context.turns.run(account.uid, work),
  });
  const { taskText, config } = await asking.catch((error: unknown) => {
    if (isRefusal(error) && !running.signal.aborted) {
      context.policies.refused({ id: running.id ?? "", name: step.name, account }, messageOf(error));
    }
    throw error;
  });
  const isChanged = taskText !== step.taskText;
  return {
    taskText,
    config,
    async blaming(work) {
      try {
        return await work();
      } catch (error) {
        const isFault = isChanged && error instanceof SkyError && ofTheTask.includes(error.type);
        throw isFault ? brokenByPolicy(name, error) : error;
      }
    },
  };
}

/** SkyPilot's `/validate` and `/optimize`: both look at a task and queue nothing. */
export const lookBodySchema = z.object({
  dag: z.string(),
  request_options: z
    .object({
      cluster_name: z.string().nullable().default(null),
      idle_minutes_to_autostop: z.int().nullable().default(null),
      down: z.boolean().default(false),
      dryrun: z.boolean().default(false),
    })
    .nullable()
    .default(null),
});

/** The task of such a call, as the admin policy has made it, with what the server's config says. */
export async function lookedAt(
  call: RouteCall<z.infer<typeof lookBodySchema>>,
  name: "validate" | "optimize",
  running: { signal: AbortSignal; print?: (text: string) => void },
): Promise<Task> {
  const { context, account, body } = call;
  const given = body.request_options;
  const options = {
    clusterName: given?.cluster_name ?? null,
    idleMinutesToAutostop: given?.idle_minutes_to_autostop ?? null,
    down: given?.down ?? false,
    dryrun: given?.dryrun ?? false,
  };
  const step = { name, taskText: body.dag, config: configOf(context.config, {}).tree, options, ...sentBy(call) };
  const { taskText, config, blaming } = await passPolicy(context, account, step, running);
  return blaming(async () => {
    const task = await context.turns.run(account.uid, () => taskOf(taskText, context.config.cluster));
    return configured(task, config);
  });
}

const turns = new WeakMap<AdminPolicyRunner, Map<Uid, { turns: FairTurns<null>; users: number }>>();

/** Does the work when no other of this user's is under way; at once where no policy is in force. */
export async function inPolicyTurn<T>(
  context: ApiContext,
  { uid }: Account,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const runner = runnerOf(context);
  if (runner.name === null) {
    return work();
  }
  const all = turns.get(runner) ?? new Map<Uid, { turns: FairTurns<null>; users: number }>();
  turns.set(runner, all);
  const own = all.get(uid) ?? { turns: new FairTurns<null>(), users: 0 };
  all.set(uid, own);
  own.users += 1;
  try {
    return await own.turns.run(null, work, signal);
  } finally {
    own.users -= 1;
    if (own.users === 0) {
      all.delete(uid);
    }
  }
}
