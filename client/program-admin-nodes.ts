/**
 * The definitions of the verbs of `sky admin` that look after nodes: nodes, drain, resume, remove, rotate-key, unknown.
 * It must never do a verb's work: client/commands/admin/ does. Used by client/program-admin.ts.
 */
import { type Command, InvalidArgumentError } from "commander";
import type { ClusterFlags } from "./commands/admin/cluster.ts";
import type { DrainFlags } from "./commands/admin/drain.ts";
import type { NodesFlags } from "./commands/admin/nodes.ts";
import type { RemoveFlags } from "./commands/admin/remove.ts";
import type { UnknownFlags } from "./commands/admin/unknown.ts";
import { examples, outputOption, type Register } from "./program-parts.ts";

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
const deadlineDaysMax = 366;

/** `90s`, `30m`, `2h`, `1d`, `0`: seconds. */
export function parseSpan(text: string): number {
  const match = /^(\d{1,9})([smhd]?)$/.exec(text);
  const seconds = Number(match?.[1]) * (unitSeconds[match?.[2] ?? ""] ?? 1);
  if (match === null || (match[2] === "" && seconds !== 0)) {
    throw new InvalidArgumentError("It must be a time such as 90s, 30m, 2h or 1d, or 0 for at once.");
  }
  if (seconds > deadlineDaysMax * 86_400) {
    throw new InvalidArgumentError(`It may be ${deadlineDaysMax} days at most.`);
  }
  return seconds;
}

/** How each verb that asks the coordinator names its cluster. */
export function withCluster(command: Command): Command {
  return command
    .option("-c, --cluster <name>", "the cluster; not needed where one is registered, or on the head")
    .option("--socket <path>", "the coordinator's socket on this machine");
}

const registerNodes: Register = (group, context, outcome) => {
  withCluster(group.command("nodes"))
    .description("show the nodes: state, version, accelerators, load, jobs, warnings")
    .argument("[node]", "one node, with everything that is known of it")
    .addOption(outputOption())
    .addHelpText("after", examples("sky admin nodes", "sky admin nodes n1", "sky admin nodes -o json"))
    .action(async (name: string | undefined, flags: NodesFlags) => {
      const { nodes } = await import("./commands/admin/nodes.ts");
      outcome.code = await nodes(context, name, flags);
    });
};

const registerDrain: Register = (group, context, outcome) => {
  withCluster(group.command("drain"))
    .description("start nothing new on nodes; their jobs go on, until a deadline if you name one")
    .argument("<nodes...>", "names of nodes")
    .requiredOption("-r, --reason <text>", "why; users see it")
    .option("--deadline <time>", "end what still runs there after this time, e.g. 2h; 0: now", parseSpan)
    .option("-w, --wait", "wait until the nodes are empty")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      `${examples(
        "sky admin drain n1 --reason 'new disks'",
        "sky admin drain n1 n2 -r 'new driver' --deadline 2h --wait",
        "sky admin drain n1 -r 'it smokes' --deadline 0 -y",
      )}

Exit codes: 0 done (with --wait: the nodes are empty), 1 not done, or a node was
resumed meanwhile, 130 Ctrl-C (it only stops the waiting).`,
    )
    .action(async (names: string[], flags: DrainFlags) => {
      const { drain } = await import("./commands/admin/drain.ts");
      outcome.code = await drain(context, names, flags);
    });
};

const registerResume: Register = (group, context, outcome) => {
  withCluster(group.command("resume"))
    .description("let drained or removed nodes take jobs again")
    .argument("<nodes...>", "names of nodes")
    .addHelpText("after", examples("sky admin resume n1", "sky admin resume n1 n2"))
    .action(async (names: string[], flags: ClusterFlags) => {
      const { resume } = await import("./commands/admin/resume.ts");
      outcome.code = await resume(context, names, flags);
    });
};

const registerRemove: Register = (group, context, outcome) => {
  withCluster(group.command("remove"))
    .description("refuse nodes' keys and plan without the nodes")
    .argument("<nodes...>", "names of nodes")
    .option("-r, --reason <text>", "why; users of jobs that end see it")
    .option("--force", "end the jobs that run there; without it they hinder the removal")
    .option("-y, --yes", "do not ask")
    .addHelpText("after", examples("sky admin remove n1", "sky admin remove n1 --force -r 'the machine is lost'"))
    .action(async (names: string[], flags: RemoveFlags) => {
      const { remove } = await import("./commands/admin/remove.ts");
      outcome.code = await remove(context, names, flags);
    });
};

const registerRotateKey: Register = (group, context, outcome) => {
  withCluster(group.command("rotate-key"))
    .description("have nodes make new keys; the old ones are refused afterwards")
    .argument("<nodes...>", "names of nodes")
    .addHelpText("after", examples("sky admin rotate-key n1"))
    .action(async (names: string[], flags: ClusterFlags) => {
      const { rotateKey } = await import("./commands/admin/rotate-key.ts");
      outcome.code = await rotateKey(context, names, flags);
    });
};

const registerUnknown: Register = (group, context, outcome) => {
  withCluster(group.command("unknown"))
    .description("show what nodes run and the coordinator does not know, and end it")
    .option("--end <attempt>", "end this one")
    .option("-y, --yes", "do not ask")
    .addOption(outputOption())
    .addHelpText("after", examples("sky admin unknown", "sky admin unknown --end k3x9p2ab-17"))
    .action(async (flags: UnknownFlags) => {
      const { unknown } = await import("./commands/admin/unknown.ts");
      outcome.code = await unknown(context, flags);
    });
};

export const nodeVerbs: Register[] = [
  registerNodes,
  registerDrain,
  registerResume,
  registerRemove,
  registerRotateKey,
  registerUnknown,
];
