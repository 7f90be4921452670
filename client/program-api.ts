/**
 * The definitions of `sky api …` and of `--async`: what one does with requests instead of waiting for them. Each verb's
 * code lies in client/commands/api.ts and is loaded when it is called. It must never decide what a request means. Called
 * by client/program.ts.
 */
import { Argument, type Command } from "commander";
import type { ApiStatusFlags } from "./commands/api.ts";
import type { Context } from "./commands/context.ts";
import { examples, outputOption, type Register } from "./program-parts.ts";

/** Every command that changes something on a cluster, by the words that one types. */
const changing = new Set([
  ...["launch", "exec", "cancel", "down", "start", "stop", "autostop", "files clean"],
  ...["drain", "resume", "remove", "rotate-key", "maintenance", "reserve", "release"].map((verb) => `admin ${verb}`),
  ...["admin quota set", "admin quota unset", "admin windows remove"],
  ...["apply", "rollback", "delete", "exception add", "exception remove"].map((verb) => `policy ${verb}`),
  ...["asset set", "asset delete", "secret set", "secret delete"].map((verb) => `policy ${verb}`),
]);

/** The words of a command, without the program's own. */
export function wordsOf(command: Command): string {
  const above = command.parent;
  return above === null || above.parent === null ? command.name() : `${wordsOf(above)} ${command.name()}`;
}

/** Every command of the program, groups included. */
export function allCommands(program: Command): Command[] {
  return program.commands.flatMap((command) => [command, ...allCommands(command)]);
}

/** Gives each command that changes something its `--async`, and has the context know of it. */
export function addAsync(program: Command, context: Context): void {
  const commands = allCommands(program).filter((command) => changing.has(wordsOf(command)));
  if (commands.length !== changing.size) {
    throw new Error("a command that takes --async is missing");
  }
  for (const command of commands) {
    command.option("--async", "print the request's id and do not wait for it");
  }
  program.hook("preAction", (_program, command) => {
    const flags = command.opts<{ async?: boolean; dryrun?: boolean }>();
    // What a dry run finds is all that there is of it.
    context.leavesRequests = flags.async === true && flags.dryrun !== true;
  });
}

const clusterFlag = [
  "-c, --cluster <name>",
  "the local cluster; may be left out when only one is initialized",
] as const;

export const registerApi: Register = (program, context, outcome) => {
  const group = program.command("api").description("your requests: what --async leaves, and what is under way");
  group
    .command("status")
    .description("list your requests that are under way")
    .addArgument(new Argument("[requests...]", "request ids, or the first characters of them; none: all"))
    .option(...clusterFlag)
    .option("-a, --all-status", "those that have ended too")
    .option("-l, --limit <rows>", "how many at most: a number, or all", "50")
    .addOption(outputOption())
    .addHelpText("after", examples("sky api status", "sky api status -a -l all", "sky api status 1a2b3c4d -o json"))
    .action(async (ids: string[], flags: ApiStatusFlags) => {
      const { apiStatus } = await import("./commands/api.ts");
      outcome.code = await apiStatus(context, ids, flags);
    });
  group
    .command("logs")
    .description("print what a request says until it ends, and end as it does")
    .addArgument(new Argument("[request]", "a request id, or the first characters of it; none: the latest"))
    .option(...clusterFlag)
    .option("--no-follow", "print what there is")
    .addHelpText("after", examples("sky api logs 1a2b3c4d", "sky api logs"))
    .action(async (id: string | undefined, flags: { cluster?: string; follow: boolean }) => {
      const { apiLogs } = await import("./commands/api.ts");
      outcome.code = await apiLogs(context, id, flags);
    });
  group
    .command("cancel")
    .description("stop requests that are under way")
    .addArgument(new Argument("[requests...]", "request ids, or the first characters of them"))
    .option(...clusterFlag)
    .option("-a, --all", "all that are under way")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      `${examples("sky api cancel 1a2b3c4d", "sky api cancel --all -y")}

A launch that has not queued its job yet queues none. A job that is queued
already is cancelled by sky cancel.`,
    )
    .action(async (ids: string[], flags: { cluster?: string; all?: boolean; yes?: boolean }) => {
      const { apiCancel } = await import("./commands/api.ts");
      outcome.code = await apiCancel(context, ids, flags);
    });
  group
    .command("info")
    .description("say who answers, in which version, and as whom it knows you")
    .option(...clusterFlag)
    .addOption(outputOption())
    .addHelpText("after", examples("sky api info", "sky api info -c lab -o json"))
    .action(async (flags: { cluster?: string; output: string }) => {
      const { apiInfo } = await import("./commands/api.ts");
      outcome.code = await apiInfo(context, flags);
    });
};
