/**
 * The definitions of the verbs of `sky policy` about what stands beside policies: the decision log, exceptions, assets
 * and secrets. It must never do a verb's work: client/commands/policy/ does. Used by client/program-policy.ts.
 */
import { Option } from "commander";
import { violationRules } from "../shared/policy/words.ts";
import type { PolicyFlags } from "./commands/policy/calls.ts";
import type { ExceptionFlags, LogFlags, SecretFlags } from "./commands/policy/kept.ts";
import { withCluster } from "./program-admin-nodes.ts";
import { examples, gather, integer, outputOption, type Register } from "./program-parts.ts";

const registerLog: Register = (group, context, outcome) => {
  withCluster(group.command("log"))
    .description("show what was decided: policy, revision, rule and values; your own, an admin all")
    .option("--limit <number>", "how many, the newest first", integer(1), 50)
    .option("--user <name>", "only of this user")
    .addOption(
      new Option("--outcome <outcome>", "only those with this outcome").choices([
        "accepted",
        "warned",
        "would have been rejected",
        "excepted",
        "rejected",
      ]),
    )
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples("sky policy log", "sky policy log --outcome rejected --limit 10", "sky policy log -o json"),
    )
    .action(async (flags: LogFlags) => {
      const { log } = await import("./commands/policy/kept.ts");
      outcome.code = await log(context, flags);
    });
};

const registerExceptions: Register = (group, context, outcome) => {
  const exception = group
    .command("exception")
    .description("let somebody do what a policy refuses, for a time (admins)");
  withCluster(exception.command("list", { isDefault: true }))
    .description("show all, the expired ones too (the default)")
    .addOption(outputOption())
    .action(async (flags: PolicyFlags) => {
      const { listExceptions } = await import("./commands/policy/kept.ts");
      outcome.code = await listExceptions(context, flags);
    });
  withCluster(exception.command("add"))
    .description("let users, groups or projects pass; it ends by itself")
    .argument("<policy>", "the policy's name")
    .requiredOption("--for <subject>", "user:NAME, group:NAME or project:NAME (repeatable)", gather)
    .requiredOption("--until <time>", "when it ends: +30d, 2026-12-31")
    .requiredOption("-r, --reason <text>", "why")
    .option("--owner <name>", "who answers for it; default: you")
    .option("--field <path>", "only this field, e.g. compute.gpuDevicesRequest")
    .addOption(new Option("--rule <rule>", "only this rule").choices([...violationRules]))
    .addHelpText(
      "after",
      examples("sky policy exception add nlp-training --for user:alice --until +14d -r 'paper deadline'"),
    )
    .action(async (policy: string, flags: ExceptionFlags) => {
      const { addException } = await import("./commands/policy/kept.ts");
      outcome.code = await addException(context, policy, flags);
    });
  withCluster(exception.command("remove"))
    .description("end one now")
    .argument("<id>", "as the list names it")
    .action(async (id: string, flags: PolicyFlags) => {
      const { removeException } = await import("./commands/policy/kept.ts");
      outcome.code = await removeException(context, id, flags);
    });
};

const registerAssets: Register = (group, context, outcome) => {
  const asset = group.command("asset").description("definitions of storage that policies impose (admins)");
  withCluster(asset.command("list", { isDefault: true }))
    .description("show all, and who imposes them (the default)")
    .addOption(outputOption())
    .action(async (flags: PolicyFlags) => {
      const { listAssets } = await import("./commands/policy/kept.ts");
      outcome.code = await listAssets(context, flags);
    });
  withCluster(asset.command("set"))
    .description("save one from a file with id, field and spec")
    .requiredOption("-f, --file <file>", "the asset's file", gather)
    .action(async (flags: PolicyFlags & { file?: string[] }) => {
      const { setAsset } = await import("./commands/policy/kept.ts");
      outcome.code = await setAsset(context, flags);
    });
  withCluster(asset.command("delete"))
    .description("delete one that no policy imposes")
    .argument("<id>", "its id")
    .action(async (id: string, flags: PolicyFlags) => {
      const { deleteAsset } = await import("./commands/policy/kept.ts");
      outcome.code = await deleteAsset(context, id, flags);
    });
};

const registerSecrets: Register = (group, context, outcome) => {
  const secret = group
    .command("secret")
    .description("values for SECRET:name,key in policies; they are never shown (admins)");
  withCluster(secret.command("list", { isDefault: true }))
    .description("show names and keys (the default)")
    .addOption(outputOption())
    .action(async (flags: PolicyFlags) => {
      const { listSecrets } = await import("./commands/policy/kept.ts");
      outcome.code = await listSecrets(context, flags);
    });
  withCluster(secret.command("set"))
    .description("set one key; the value is asked for, or read from a file")
    .argument("<name>", "the secret's name")
    .argument("<key>", "the key in it")
    .option("--file <file>", "holds the value")
    .option("--project <name>", "only for jobs of this project")
    .addHelpText("after", examples("sky policy secret set my-secret password --file ./password --project nlp"))
    .action(async (name: string, key: string, flags: SecretFlags) => {
      const { setSecret } = await import("./commands/policy/kept.ts");
      outcome.code = await setSecret(context, name, key, flags);
    });
  withCluster(secret.command("delete"))
    .description("delete one with all its keys")
    .argument("<name>", "the secret's name")
    .option("--project <name>", "that of this project")
    .action(async (name: string, flags: SecretFlags) => {
      const { deleteSecret } = await import("./commands/policy/kept.ts");
      outcome.code = await deleteSecret(context, name, flags);
    });
};

export const registerPolicyKept: Register = (group, context, outcome) => {
  registerLog(group, context, outcome);
  registerExceptions(group, context, outcome);
  registerAssets(group, context, outcome);
  registerSecrets(group, context, outcome);
};
