/**
 * The definitions of `sky admin …`: what those who look after a cluster do. Each verb's code lies in
 * client/commands/admin/ and is loaded when it is called. It must never decide who is an admin: the coordinator does, by
 * the Unix group that its config names. Called by client/program.ts.
 */
import { examples, gather, type Register } from "./program-parts.ts";

const registerDeploy: Register = (group, context, outcome) => {
  group
    .command("deploy")
    .description("install a cluster on the machines of a file, or bring it to another release")
    .argument("<file>", "a cluster file: cluster.ips (the first is the head), cluster.name, auth")
    .option("--release <archive>", "the release to install (repeatable, one an architecture)", gather)
    .option("--vars <file>", "further settings for the roles, YAML (repeatable)", gather)
    .option("-K, --ask-become-pass", "ask for the password that sudo wants on the machines")
    .addHelpText(
      "after",
      `${examples(
        "sky admin deploy lab.yml",
        "sky admin deploy lab.yml --release sky-onprem-0.2.0-linux-x64.tar.gz",
        "sky admin deploy lab.yml --vars settings.yml -K",
      )}

Needs ansible on this machine and root, or sudo, on the others. Writes the file
for users to ~/.sky/local/NAME.yml. Running it again changes what has changed.`,
    )
    .action(async (file: string, flags: { release?: string[]; vars?: string[]; askBecomePass?: boolean }) => {
      const { deploy } = await import("./commands/admin/deploy.ts");
      outcome.code = await deploy(context, file, { ...flags, release: flags.release ?? [], vars: flags.vars ?? [] });
    });
};

/** Verbs of `sky admin`; each adds its own command to the group. */
const verbs: Register[] = [registerDeploy];

export const registerAdmin: Register = (program, context, outcome) => {
  const group = program.command("admin").description("look after a cluster (members of its admin group)");
  for (const register of verbs) {
    register(group, context, outcome);
  }
};
