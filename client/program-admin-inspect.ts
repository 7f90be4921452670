/**
 * The definitions of the verbs of `sky admin` that look into machines: doctor and logs. It must never do a verb's work:
 * client/commands/admin/ does. Used by client/program-admin.ts.
 */
import { Option } from "commander";
import type { DoctorFlags } from "./commands/admin/doctor.ts";
import type { AdminLogsFlags } from "./commands/admin/logs.ts";
import { withCluster } from "./program-admin-nodes.ts";
import { examples, integer, outputOption, type Register } from "./program-parts.ts";

const registerDoctor: Register = (group, context, outcome) => {
  withCluster(group.command("doctor"))
    .description("check the machines for what breaks clusters; says what mends it")
    .argument("[nodes...]", "nodes; none: all")
    .option("--local", "this machine only, without a coordinator (as root)")
    .addOption(
      new Option("--fail-on <level>", "what makes the exit code 1").choices(["warn", "error"]).default("error"),
    )
    .addOption(outputOption())
    .addHelpText(
      "after",
      `${examples("sky admin doctor", "sky admin doctor n1 n2 --fail-on warn", "sudo sky admin doctor --local")}

Exit codes: 0 nothing that bad was found, 1 something was, 2 wrong use.
With --fail-on warn, what could not be found out counts as well.`,
    )
    .action(async (names: string[], flags: DoctorFlags) => {
      const { doctor } = await import("./commands/admin/doctor.ts");
      outcome.code = await doctor(context, names, flags);
    });
};

const registerLogs: Register = (group, context, outcome) => {
  withCluster(group.command("logs"))
    .description("show what coordinator and agents wrote about one job")
    .argument("<job>", "USER/ID, e.g. alice/3")
    .option("--attempt <number>", "one attempt only", integer(1))
    .option("--since <time>", "a span such as 90m or 2d, or a date; default: since the job was submitted")
    .option("--lines <count>", "at most this many of the newest lines", integer(1))
    .addOption(outputOption())
    .addHelpText("after", examples("sky admin logs alice/3", "sky admin logs alice/3 --attempt 2 -o json"))
    .action(async (job: string, flags: AdminLogsFlags) => {
      const { adminLogs } = await import("./commands/admin/logs.ts");
      outcome.code = await adminLogs(context, job, flags);
    });
};

export const inspectVerbs: Register[] = [registerDoctor, registerLogs];
