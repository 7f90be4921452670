/**
 * The definitions of `sky admin …`: what those who look after a cluster do. Each verb's code lies in
 * client/commands/admin/ and is loaded when it is called. It must never decide who is an admin: the coordinator does, by
 * the Unix group that its config names. Called by client/program.ts.
 */
import type { ReleaseFlags } from "./commands/admin/release.ts";
import { inspectVerbs } from "./program-admin-inspect.ts";
import { nodeVerbs, withCluster } from "./program-admin-nodes.ts";
import { schedulingVerbs } from "./program-admin-scheduling.ts";
import { examples, gather, outputOption, type Register } from "./program-parts.ts";

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

const registerBackup: Register = (group, _context, outcome) => {
  group
    .command("backup")
    .description("copy the coordinator's state into one file (on the head, as root)")
    .argument("<file>", "a file that does not exist yet")
    .option("--move", "the last backup of this head: the state moves to another one")
    .addHelpText("after", examples("sudo sky admin backup /var/backups/sky-$(date +%F)"))
    .action(async (file: string, flags: { move?: boolean }) => {
      const { onHead } = await import("./commands/admin/state.ts");
      outcome.code = await onHead("backup", file, flags.move === true ? ["--move"] : []);
    });
};

const registerRestore: Register = (group, _context, outcome) => {
  group
    .command("restore")
    .description("put a backup back (on the head, as root, with the coordinator stopped)")
    .argument("<file>", "a file that `sky admin backup` has made")
    .option("--replace", "set the present state aside")
    .addHelpText("after", examples("sudo sky admin restore /var/backups/sky-2026-01-31 --replace"))
    .action(async (file: string, flags: { replace?: boolean }) => {
      const { onHead } = await import("./commands/admin/state.ts");
      outcome.code = await onHead("restore", file, flags.replace === true ? ["--replace"] : []);
    });
};

const registerRelease: Register = (group, context, outcome) => {
  withCluster(group.command("release"))
    .description("list the waiting jobs that a restore has put back, and let them start")
    .argument("[jobs...]", "USER, USER/ID or USER/ID,ID; none: list them")
    .option("-a, --all", "all of them")
    .option("--cancel", "end them instead of letting them start")
    .option("--anyway", "also while a node has not said what it runs")
    .addOption(outputOption())
    .addHelpText("after", examples("sky admin release", "sky admin release alice/7,9 bob", "sky admin release --all"))
    .action(async (jobs: string[], flags: ReleaseFlags) => {
      const { release } = await import("./commands/admin/release.ts");
      outcome.code = await release(context, jobs, flags);
    });
};

/** Verbs of `sky admin`; each adds its own command to the group. */
const verbs: Register[] = [
  ...nodeVerbs,
  ...schedulingVerbs,
  ...inspectVerbs,
  registerDeploy,
  registerBackup,
  registerRestore,
  registerRelease,
];

export const registerAdmin: Register = (program, context, outcome) => {
  const group = program.command("admin").description("look after a cluster (members of its admin group)");
  for (const register of verbs) {
    register(group, context, outcome);
  }
  for (const verb of group.commands) {
    for (const command of [verb, ...verb.commands]) {
      command.showHelpAfterError(`Examples: sky admin ${verb.name()} --help`);
    }
  }
};
