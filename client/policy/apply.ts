/**
 * The admin policy of the user's own config, asked before anything is sent: code out of `~/.sky/policies` in a process of
 * its own, which sees the user's variables and working folder, or a policy server. It enforces nothing, since users may
 * change it; it does for them what can only be done on their machine. It must never run code out of a project's folder,
 * and its name is never sent. Called by client/commands/sending.ts.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { policyTask } from "../../shared/admin-policy/documents.ts";
import { type PolicyPlace, policyPlace } from "../../shared/admin-policy/names.ts";
import { applyingLine, brokenByPolicy } from "../../shared/admin-policy/outcomes.ts";
import type { PolicyAnswer, PolicyQuestion, WireOptions } from "../../shared/admin-policy/wire.ts";
import { type ConfigTree, readConfig, withoutServerKeys } from "../../shared/config-layers.ts";
import { SkyError } from "../../shared/errors.ts";
import type { Task } from "../../shared/task.ts";
import { readTask, writeTask } from "../../shared/task-file.ts";
import { askPolicyServer, policyServerLimitMs } from "../../system/policy/rest.ts";
import { PolicyProcess } from "../../system/policy/worker-process.ts";
import type { Context } from "../commands/context.ts";

/** The folder of the user's own policies. */
export function usualPackages(home: string): string {
  return join(home, ".sky", "policies");
}

export interface ClientRequest {
  name: "launch" | "exec";
  task: Task;
  /** All layers of this machine in one, with `admin_policy`. */
  config: ConfigTree;
  options: WireOptions;
}

export interface ClientResult {
  task: Task;
  config: ConfigTree;
}

/** The worker lies beside this program. */
function workerProgram(): string {
  return fileURLToPath(new URL("./policy-worker.mjs", import.meta.url));
}

/** A policy's process, with code out of this folder; whoever opens it closes it. */
export function openPolicyProcess(
  place: PolicyPlace & { kind: "module" },
  folder: string,
  context: Pick<Context, "cwd" | "env">,
  say: (line: string) => void,
  program: string = workerProgram(),
): PolicyProcess {
  const own = process.getuid?.();
  return new PolicyProcess({
    place,
    packages: { path: folder, owners: own === undefined ? [] : [own] },
    program,
    cwd: context.cwd,
    env: context.env,
    limitMs: policyServerLimitMs,
    memoryMb: null,
    say,
  });
}

async function asked(
  place: PolicyPlace,
  question: PolicyQuestion,
  context: Context,
  program: string | undefined,
): Promise<PolicyAnswer> {
  const { signal, done } = context.interrupted();
  try {
    if (place.kind === "url") {
      return await askPolicyServer(place, question, { limitMs: policyServerLimitMs, signal });
    }
    const worker = openPolicyProcess(
      place,
      usualPackages(context.home),
      context,
      (line) => context.screen.note(line),
      program,
    );
    try {
      return await worker.ask("", question, () => null, signal);
    } finally {
      worker.close();
    }
  } finally {
    done();
  }
}

function checked<T>(policy: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof SkyError ? brokenByPolicy(policy, error) : error;
  }
}

/**
 * The request as the policy of the user's config makes it; as it is, where the config names none. Rejects with
 * SkyError("UserRequestRejectedByPolicy") where the policy refuses it or cannot be asked.
 */
export async function applyClientPolicy(
  context: Context,
  request: ClientRequest,
  program?: string,
): Promise<ClientResult> {
  const { admin_policy: named = null, ...config } = request.config;
  if (named === null) {
    return { task: request.task, config };
  }
  if (typeof named !== "string") {
    throw new SkyError("ValueError", "admin_policy of your config must be a text: MODULE.CLASS or a URL.");
  }
  const place = policyPlace(named);
  context.screen.print(applyingLine("client", place.shown));
  const text = writeTask(request.task);
  const seen = policyTask(text);
  const answer = await asked(
    place,
    {
      task: seen.tree,
      // A project's file may name any server, and keys of other servers are none of its business.
      config: place.kind === "url" ? withoutServerKeys(config) : config,
      requestName: request.name,
      options: request.options,
      atClientSide: true,
      user: null,
      clientApiVersion: null,
      clientVersion: null,
    },
    context,
    program,
  );
  const changed = seen.withChanges(answer.task);
  return {
    task: changed === text ? request.task : checked(place.shown, () => readTask(changed, { file: "task" })),
    config: checked(place.shown, () => readConfig(JSON.stringify(answer.config), "config")),
  };
}
