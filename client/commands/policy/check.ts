/**
 * `sky policy check`: what policies make of a task, and why, with the task as it would run. The cluster's policies are
 * asked for; with `-f` the answer comes from files alone, offline, by the same engine. Nothing is queued. Called by
 * client/program-policy.ts.
 */
import { resolve } from "node:path";
import type { PolicyCheckResult } from "../../../shared/policy-api.ts";
import { checkText } from "../../output/policy-check-text.ts";
import { type Context, UsageError } from "../context.ts";
import { readSmallFile } from "../entrypoint.ts";
import { type PolicyFlags, show, withPolicyCalls } from "./calls.ts";
import { checkOffline } from "./offline.ts";
import { pageOf } from "./saved.ts";

export interface CheckFlags extends PolicyFlags {
  task: string;
  file?: string[];
  project?: string;
  user?: string;
}

/** Resolves with 0 when the task is accepted, else 1. */
export async function check(context: Context, flags: CheckFlags): Promise<number> {
  const { file: files = [], user, project } = flags;
  if (files.length > 0) {
    if (user !== undefined || flags.cluster !== undefined) {
      const flag = user === undefined ? "--cluster" : "--user";
      throw new UsageError(`${flag} cannot be used with -f: files are checked offline.`, "Leave one of them out.");
    }
    const result = await checkOffline(context, { files, task: flags.task, project });
    const note = "Checked offline: whether machines can hold a job to it, `sky policy apply --dry-run` says.";
    show(context, flags, result, (one) => `${checkText(one, pageOf(context))}\n${note}`);
    return result.accepted ? 0 : 1;
  }
  const task = await readSmallFile(resolve(context.cwd, flags.task), "the task file");
  const body = { task, ...(user === undefined ? {} : { user }), ...(project === undefined ? {} : { project }) };
  const result: PolicyCheckResult = await withPolicyCalls(context, flags, async (calls) => calls.check(body));
  show(context, flags, result, (one) => checkText(one, pageOf(context)));
  return result.accepted ? 0 : 1;
}
