/**
 * The admin policy of the server's config, asked about every request before its task is read: code of the admin's in a
 * process of its own, or a policy server. Everything but a changed request is a refusal with SkyPilot's texts; a policy
 * that cannot be asked refuses all. It must never give a policy a secret's value, and never run code from elsewhere than
 * the admin's folder. Opened by coordinator/main.ts, called by coordinator/api.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ConfigTree, readConfig } from "../../shared/config-layers.ts";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { policyTask } from "../../shared/admin-policy/documents.ts";
import { type PolicyPlace, policyPlace } from "../../shared/admin-policy/names.ts";
import { brokenByPolicy } from "../../shared/admin-policy/outcomes.ts";
import type { PolicyAnswer, PolicyQuestion } from "../../shared/admin-policy/wire.ts";
import { requireOwn } from "../../system/policy/packages.ts";
import { askPolicyServer } from "../../system/policy/rest.ts";
import { PolicyProcess } from "../../system/policy/worker-process.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { Log } from "../log.ts";
import type { AdminPolicyRequest, AdminPolicyRunner } from "./parts.ts";

type PolicyConfig = Pick<CoordinatorConfig, "admin_policy" | "policies" | "state_dir" | "sky_config">;

export interface OpenOptions {
  /** The worker's program. Default: the one beside this program. */
  program?: string;
}

/** Lines of a policy's own output that are logged in each period; more are counted. */
const printedLinesMax = 100;
const printedPeriodMs = 10_000;

/** Of a cluster without an admin policy. */
export const noAdminPolicy: AdminPolicyRunner = {
  name: null,
  apply: async ({ taskText, config }) => ({ taskText, config }),
  close: async () => undefined,
};

/** What the config names; null: nothing. Throws SkyError("ValueError"). */
function placeOf(config: PolicyConfig): PolicyPlace | null {
  const named = config.admin_policy ?? config.sky_config["admin_policy"] ?? null;
  if (named === null) {
    return null;
  }
  if (typeof named !== "string") {
    throw new SkyError("ValueError", "sky_config.admin_policy must be a text: MODULE.CLASS or a URL.");
  }
  return policyPlace(named);
}

/** A policy that prints without end fills no disk. */
function printer(log: Log, policy: string): (line: string) => void {
  let [since, count] = [0, 0];
  return (line) => {
    const now = performance.now();
    if (now - since > printedPeriodMs) {
      if (count > printedLinesMax) {
        log.warn({ policy, lines: count - printedLinesMax }, "lines that the admin policy printed were left out");
      }
      [since, count] = [now, 0];
    }
    count += 1;
    if (count <= printedLinesMax) {
      log.info({ policy, line }, "the admin policy printed");
    }
  };
}

interface Asker {
  ask(question: PolicyQuestion, request: AdminPolicyRequest): Promise<PolicyAnswer>;
  close(): void;
}

function packagesOf({ policies }: PolicyConfig): { path: string; owners: number[] } {
  const own = process.geteuid?.();
  return { path: policies.packages, owners: own === undefined ? [] : [own] };
}

function moduleAsker(
  place: PolicyPlace & { kind: "module" },
  config: PolicyConfig,
  log: Log,
  { program = fileURLToPath(new URL("./policy-worker.mjs", import.meta.url)) }: OpenOptions,
): Asker {
  // The policy's own place, for what it must remember.
  const cwd = join(config.state_dir, "policies");
  mkdirSync(cwd, { recursive: true, mode: 0o700 });
  const worker = new PolicyProcess({
    place,
    packages: packagesOf(config),
    program,
    cwd,
    env: {},
    limitMs: config.policies.admin_policy_seconds * 1_000,
    memoryMb: config.policies.admin_policy_memory_mb,
    say: printer(log, place.shown),
  });
  worker.start().catch((error: unknown) => {
    log.error(
      { policy: place.shown, cause: messageOf(error) },
      "the admin policy cannot be used: requests are refused",
    );
  });
  return {
    ask: (question, { account, holdings, signal }) => worker.ask(String(account.uid), question, holdings, signal),
    close: () => worker.close(),
  };
}

function urlAsker(place: PolicyPlace & { kind: "url" }, config: PolicyConfig): Asker {
  const limitMs = config.policies.admin_policy_seconds * 1_000;
  return {
    ask: (question, { signal }) => askPolicyServer(place, question, { limitMs, signal }),
    close: () => undefined,
  };
}

/** As SkyPilot's records name a user: the uid in eight hexadecimal digits. */
function userOf({ account }: AdminPolicyRequest): { id: string; name: string } {
  return { id: account.uid.toString(16).padStart(8, "0"), name: account.name };
}

/** The config as the policy has made it, as a server's config must be. */
function checkedConfig(policy: string, config: ConfigTree): ConfigTree {
  try {
    return readConfig(JSON.stringify(config), "config");
  } catch (error) {
    throw error instanceof SkyError ? brokenByPolicy(policy, error) : error;
  }
}

async function applied(
  request: AdminPolicyRequest,
  place: PolicyPlace,
  asker: Asker,
): Promise<{ taskText: string; config: ConfigTree }> {
  const inTurn = request.inTurn ?? (async (work) => work());
  const task = await inTurn(() => policyTask(request.taskText));
  const { clusterName, idleMinutesToAutostop, down, dryrun } = request.options;
  const answer = await asker.ask(
    {
      task: task.tree,
      config: request.config,
      requestName: request.name,
      options: { cluster_name: clusterName, idle_minutes_to_autostop: idleMinutesToAutostop, down, dryrun },
      atClientSide: false,
      user: userOf(request),
      clientApiVersion: request.clientApiVersion,
      clientVersion: request.clientVersion,
    },
    request,
  );
  return inTurn(() => ({
    taskText: task.withChanges(answer.task),
    config: checkedConfig(place.shown, answer.config),
  }));
}

/**
 * Where the policy is that the config names; null: it names none. Rejects with SkyError for a place that is none, and for a
 * folder of packages in which others could put their code ("InvalidPolicyError").
 */
export async function requirePolicyPlace(config: PolicyConfig): Promise<PolicyPlace | null> {
  const place = placeOf(config);
  if (place?.kind === "module") {
    await requireOwn(packagesOf(config));
  }
  return place;
}

/**
 * The policy that the config names. Rejects as `requirePolicyPlace`. A module that cannot be loaded refuses each request
 * instead, so that the coordinator runs and says why.
 */
export async function openAdminPolicy(
  config: PolicyConfig,
  log: Log,
  options: OpenOptions = {},
): Promise<AdminPolicyRunner> {
  const place = await requirePolicyPlace(config);
  if (place === null) {
    return noAdminPolicy;
  }
  const asker = place.kind === "module" ? moduleAsker(place, config, log, options) : urlAsker(place, config);
  log.info({ policy: place.shown }, "an admin policy looks at every request");
  return {
    name: place.shown,
    async apply(request) {
      const about = { policy: place.shown, user: request.account.name, request: request.name };
      const began = performance.now();
      try {
        const result = await applied(request, place, asker);
        const changed = result.taskText !== request.taskText;
        log.info(
          { ...about, changed, ms: Math.round(performance.now() - began) },
          "the admin policy let a request pass",
        );
        return result;
      } catch (error) {
        log.info({ ...about, cause: messageOf(error).slice(0, 500) }, "the admin policy did not let a request pass");
        throw error;
      }
    },
    async close() {
      asker.close();
    },
  };
}
