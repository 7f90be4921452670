/**
 * The definitions of the verbs of `sky policy` about saved policies: apply, get, list, delete, history, rollback, diff,
 * and those that need no cluster: check, test, explain. It must never do a verb's work: client/commands/policy/ does.
 * Called by client/program.ts.
 */
import { type Command, Option } from "commander";
import type { PolicyFlags } from "./commands/policy/calls.ts";
import type { CheckFlags } from "./commands/policy/check.ts";
import type { ExplainFlags } from "./commands/policy/explain.ts";
import type { ApplyFlags, DiffFlags } from "./commands/policy/saved.ts";
import type { TestFlags } from "./commands/policy/test.ts";
import { withCluster } from "./program-admin-nodes.ts";
import { examples, gather, integer, outputOption, type Register } from "./program-parts.ts";
import { registerPolicyKept } from "./program-policy-kept.ts";
import { registerPolicyServe } from "./program-policy-serve.ts";

/** Where a document stands that has no envelope to say so. */
function withPlace(command: Command): Command {
  return command
    .option("--name <name>", "the policy's name, where the file does not say it")
    .addOption(
      new Option("--scope <scope>", "whom it binds, where the file does not say it").choices([
        "tenant",
        "cluster",
        "department",
        "project",
      ]),
    )
    .option("--id <name>", "which department or project")
    .option("--kind <kind>", "workspace, training, distributed, inference or fallback (repeatable)", gather)
    .addOption(new Option("--mode <mode>", "what a violation does").choices(["enforce", "warn", "audit"]));
}

const registerShown: Register = (group, context, outcome) => {
  withCluster(group.command("list", { isDefault: true }))
    .description("show the policies that bind you; an admin sees all (the default)")
    .addOption(outputOption())
    .action(async (flags: PolicyFlags) => {
      const { list } = await import("./commands/policy/saved.ts");
      outcome.code = await list(context, flags);
    });
  withCluster(group.command("get"))
    .description("print a policy as it was applied")
    .argument("<policy>", "its name")
    .option("--revision <number>", "an earlier one", integer(1))
    .option("--grades", "how well this cluster holds jobs to each of its fields")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples("sky policy get nlp-training", "sky policy get nlp-training --grades", "sky policy get p --revision 2"),
    )
    .action(async (name: string, flags: PolicyFlags & { revision?: number; grades?: boolean }) => {
      const { get } = await import("./commands/policy/saved.ts");
      outcome.code = await get(context, name, flags);
    });
  withCluster(group.command("history"))
    .description("show the revisions of a policy: who, when, what")
    .argument("<policy>", "its name")
    .addOption(outputOption())
    .action(async (name: string, flags: PolicyFlags) => {
      const { history } = await import("./commands/policy/saved.ts");
      outcome.code = await history(context, name, flags);
    });
};

const registerChanges: Register = (group, context, outcome) => {
  withPlace(withCluster(group.command("apply")))
    .description("save policies (admins); nothing that is queued or runs is touched")
    .requiredOption("-f, --file <file>", "the policy's file (repeatable)", gather)
    .option("--dry-run", "check it and show what it would do; save nothing")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        "sky policy apply -f nlp-training.yaml",
        "sky policy apply -f nlp-training.yaml --dry-run",
        "sky policy apply -f bare.yaml --name limits --scope cluster --kind training --mode audit",
      ),
    )
    .action(async (flags: ApplyFlags) => {
      const { apply } = await import("./commands/policy/saved.ts");
      outcome.code = await apply(context, flags);
    });
  withPlace(withCluster(group.command("diff")))
    .description("show what a policy's file would have done to the last jobs (admins)")
    .requiredOption("-f, --file <file>", "the policy's file", gather)
    .option("--jobs <number>", "how many jobs to look back", integer(1), 1000)
    .addOption(outputOption())
    .addHelpText("after", examples("sky policy diff -f nlp-training.yaml", "sky policy diff -f p.yaml --jobs 100"))
    .action(async (flags: DiffFlags) => {
      const { diff } = await import("./commands/policy/saved.ts");
      outcome.code = await diff(context, flags);
    });
  withCluster(group.command("rollback"))
    .description("save an earlier revision of a policy again, as a new one (admins)")
    .argument("<policy>", "its name")
    .argument("<revision>", "which", integer(1))
    .addOption(outputOption())
    .addHelpText("after", examples("sky policy history nlp-training", "sky policy rollback nlp-training 3"))
    .action(async (name: string, revision: number, flags: PolicyFlags) => {
      const { rollback } = await import("./commands/policy/saved.ts");
      outcome.code = await rollback(context, name, revision, flags);
    });
  withCluster(group.command("delete"))
    .description("delete a policy (admins); its revisions are kept")
    .argument("<policy>", "its name")
    .option("-y, --yes", "do not ask")
    .action(async (name: string, flags: PolicyFlags & { yes?: boolean }) => {
      const { remove } = await import("./commands/policy/saved.ts");
      outcome.code = await remove(context, name, flags);
    });
};

const registerAsked: Register = (group, context, outcome) => {
  withCluster(group.command("check"))
    .description("say what policies make of a task: with -f offline, else those of the cluster")
    .requiredOption("--task <file>", "the task's file")
    .option("-f, --file <file>", "policies to check against, instead of the cluster's (repeatable)", gather)
    .option("--project <name>", "as a task of this project")
    .option("--user <name>", "as this user's task (admins)")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        "sky policy check --task train.yaml",
        "sky policy check -f nlp-training.yaml --task train.yaml",
        "sky policy check --task train.yaml --project nlp -o json",
      ),
    )
    .action(async (flags: CheckFlags) => {
      const { check } = await import("./commands/policy/check.ts");
      outcome.code = await check(context, flags);
    });
  group
    .command("test")
    .description("run files of cases on this machine: a line each, then how many passed and failed")
    .argument("<paths...>", "files, or folders of .yaml files")
    .addOption(outputOption())
    .addHelpText("after", examples("sky policy test cases.yaml", "sky policy test policies/"))
    .action(async (paths: string[], flags: TestFlags) => {
      const { test } = await import("./commands/policy/test.ts");
      outcome.code = await test(context, paths, flags);
    });
  withCluster(group.command("explain"))
    .description("describe a kind of workload, a field or a rule, and what binds it on a cluster")
    .argument("<words>", "e.g. training, training.compute.cpuCoreRequest, interactivepolicy.spec.ports.rules")
    .option("--project <name>", "what binds in this project")
    .option("--user <name>", "what binds this user (admins)")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        "sky policy explain training",
        "sky policy explain training.compute.gpuDevicesRequest -c lab",
        "sky policy explain trainingpolicy.spec.ports.rules",
      ),
    )
    .action(async (words: string, flags: ExplainFlags) => {
      const { explain } = await import("./commands/policy/explain.ts");
      outcome.code = await explain(context, words, flags);
    });
};

export const registerPolicy: Register = (program, context, outcome) => {
  const group = program
    .command("policy")
    .description("what admins allow, force and refuse: see, check, test and change it")
    .addHelpText(
      "after",
      examples(
        "sky policy list",
        "sky policy explain training.compute.gpuDevicesRequest",
        "sky policy check --task train.yaml",
        "sky policy apply -f nlp-training.yaml",
        "sky policy log",
      ),
    );
  registerShown(group, context, outcome);
  registerChanges(group, context, outcome);
  registerAsked(group, context, outcome);
  registerPolicyKept(group, context, outcome);
  registerPolicyServe(group, context, outcome);
};
