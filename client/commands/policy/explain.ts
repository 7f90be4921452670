/**
 * `sky policy explain`: what a field of policies is, drilled down as `kubectl explain` does it, and, where a cluster is
 * named or only one is registered, what binds it there now and who says so. Without a cluster it still describes the
 * field. Called by client/program-policy.ts.
 */
import { explainField } from "../../../shared/policy/explain.ts";
import { kindNamed } from "../../../shared/policy/fields/fields.ts";
import { bindingText } from "../../output/policy-check-text.ts";
import { listLocal } from "../clusters.ts";
import { type Context, UsageError } from "../context.ts";
import { type PolicyFlags, withPolicyCalls } from "./calls.ts";
import { pageOf } from "./saved.ts";

export interface ExplainFlags extends PolicyFlags {
  project?: string;
  user?: string;
}

/** Somebody was named, or there is just one cluster that can be meant. */
async function hasCluster(context: Context, flags: ExplainFlags): Promise<boolean> {
  const { cluster, socket, project, user } = flags;
  const isNamed = [cluster, socket, project, user].some((flag) => flag !== undefined);
  return isNamed || (await listLocal(context)).clusters.filter(({ initialized }) => initialized !== null).length === 1;
}

export async function explain(context: Context, words: string, flags: ExplainFlags): Promise<number> {
  const { screen } = context;
  const description = explainField(words);
  const [kindWord = "", ...path] = words.split(".");
  const kind = kindNamed(kindWord);
  if (kind === null || !(await hasCluster(context, flags))) {
    if (flags.output === "json") {
      throw new UsageError("Name a cluster with -c: JSON is about what binds there.");
    }
    screen.print(description.trimEnd());
    return 0;
  }
  const question = { kind, project: flags.project, user: flags.user };
  const result = await withPolicyCalls(context, flags, async (calls) => calls.effective(question));
  if (flags.output === "json") {
    screen.print(JSON.stringify(result, null, 2));
    return 0;
  }
  const project = result.project === null ? "" : `, project ${result.project}`;
  const field = path.filter((word) => !["spec", "rules", "itemRules", "items"].includes(word)).join(".");
  screen.print(
    `${description.trimEnd()}\n\nNOW (${result.user}${project}):\n${bindingText(result, field, pageOf(context))}`,
  );
  return 0;
}
