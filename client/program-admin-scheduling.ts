/**
 * The definitions of the verbs of `sky admin` that say who may use how much and when: quota, reserve, maintenance,
 * windows. It must never do a verb's work: client/commands/admin/ does. Used by client/program-admin.ts.
 */
import { type Command, InvalidArgumentError } from "commander";
import type { QuotaFlags } from "./commands/admin/quota.ts";
import type { WindowFlags } from "./commands/admin/windows.ts";
import { parseSpan, withCluster } from "./program-admin-nodes.ts";
import { examples, gather, outputOption, type Register } from "./program-parts.ts";

const limitHelp = `
LIMIT is KEY=NUMBER, or KEY=none to drop one; what is not named stays:
  H100=8      accelerators of a kind        gpus=16      of all kinds together
  cpus=64     CPUs                          memory=512   GiB (or 512GB, 1TB)
  running=20  jobs that have started        waiting=100  jobs that wait
Nothing that runs is ended: what starts next waits.`;

const registerQuota: Register = (group, context, outcome) => {
  const quota = group
    .command("quota")
    .description("limit what users and groups may use at one time")
    .addHelpText(
      "after",
      examples(
        "sky admin quota",
        "sky admin quota set user:alice H100=8 running=20",
        "sky admin quota set group:students gpus=4 cpus=32",
        "sky admin quota set each waiting=1000",
        "sky admin quota unset user:alice",
      ),
    );
  withCluster(quota.command("list", { isDefault: true }))
    .description("show every quota and what is in use of it (the default)")
    .addOption(outputOption())
    .action(async (flags: QuotaFlags) => {
      const { listQuotas } = await import("./commands/admin/quota.ts");
      outcome.code = await listQuotas(context, flags);
    });
  withCluster(quota.command("set"))
    .description("change limits of a user, a group (its members together) or each user")
    .argument("<subject>", "user:NAME, group:NAME or each")
    .argument("<limits...>", "KEY=NUMBER")
    .addOption(outputOption())
    .addHelpText("after", limitHelp)
    .action(async (subject: string, limits: string[], flags: QuotaFlags) => {
      const { setQuota } = await import("./commands/admin/quota.ts");
      outcome.code = await setQuota(context, subject, limits, flags);
    });
  withCluster(quota.command("unset"))
    .description("drop all limits of a user, a group or each user")
    .argument("<subject>", "user:NAME, group:NAME or each")
    .addOption(outputOption())
    .action(async (subject: string, flags: QuotaFlags) => {
      const { unsetQuota } = await import("./commands/admin/quota.ts");
      outcome.code = await unsetQuota(context, subject, flags);
    });
};

/** A time that is longer than nothing, in seconds. */
function lasting(text: string): number {
  const seconds = parseSpan(text);
  if (seconds === 0) {
    throw new InvalidArgumentError("It must be longer than nothing, such as 90m, 2h or 1d.");
  }
  return seconds;
}

/** What both kinds of windows take. */
function withTimes(command: Command): Command {
  return withCluster(command)
    .argument("<nodes...>", "names of nodes")
    .option("--from <time>", "when it begins: now, +2h, 2026-12-01T08:00", "now")
    .option("--to <time>", "when it ends")
    .option("--for <span>", "how long it lasts, e.g. 4h", lasting)
    .option("-r, --reason <text>", "why; users see it")
    .option("--end-jobs", "end what still runs there at its begin and may not run in it")
    .option("-y, --yes", "do not ask")
    .addOption(outputOption());
}

const registerMaintenance: Register = (group, context, outcome) => {
  withTimes(group.command("maintenance"))
    .description("set nodes aside for a time in which nothing runs there")
    .addHelpText(
      "after",
      examples(
        "sky admin maintenance n1 n2 --from 2026-12-01T08:00 --for 4h -r 'new disks'",
        "sky admin maintenance n1 --for 1h --end-jobs -y",
      ),
    )
    .action(async (names: string[], flags: WindowFlags) => {
      const { addWindow } = await import("./commands/admin/windows.ts");
      outcome.code = await addWindow(context, "maintenance", names, flags);
    });
};

const registerReserve: Register = (group, context, outcome) => {
  withTimes(group.command("reserve"))
    .description("set nodes aside for a time in which only some people's jobs run there")
    .option("--user <name>", "who may run there (repeatable)", gather)
    .option("--group <name>", "whose members may run there (repeatable)", gather)
    .addHelpText(
      "after",
      examples(
        "sky admin reserve n1 n2 --group course --from 2026-12-01T08:00 --for 10h",
        "sky admin reserve n3 --user alice --user bob --for 2d -r 'the deadline'",
      ),
    )
    .action(async (names: string[], flags: WindowFlags) => {
      const { addWindow } = await import("./commands/admin/windows.ts");
      outcome.code = await addWindow(context, "reservation", names, flags);
    });
};

const registerWindows: Register = (group, context, outcome) => {
  const windows = group
    .command("windows")
    .description("show when nodes are set aside, and take that back")
    .addHelpText("after", examples("sky admin windows", "sky admin windows -o json", "sky admin windows remove w2"));
  withCluster(windows.command("list", { isDefault: true }))
    .description("show what is on and what is to come (the default)")
    .addOption(outputOption())
    .action(async (flags: WindowFlags) => {
      const { listWindows } = await import("./commands/admin/windows.ts");
      outcome.code = await listWindows(context, flags);
    });
  withCluster(windows.command("remove"))
    .description("take windows back, also while they are on")
    .argument("<ids...>", "their names, e.g. w2")
    .action(async (ids: string[], flags: WindowFlags) => {
      const { removeWindows } = await import("./commands/admin/windows.ts");
      outcome.code = await removeWindows(context, ids, flags);
    });
};

export const schedulingVerbs: Register[] = [registerQuota, registerMaintenance, registerReserve, registerWindows];
