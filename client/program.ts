/**
 * The command line of `sky`: commands, options, help texts and exit codes. Each command's code is loaded when it is
 * called, so that `sky --version` costs nothing. It must never do a command's work itself. Called by client/main.ts, and
 * by tests with a terminal and a home of their own.
 */
import { Command, CommanderError, Option } from "commander";
import { versionText } from "../shared/version.ts";
import { type Context, UsageError } from "./commands/context.ts";
import type { ExecFlags } from "./commands/exec.ts";
import type { LaunchFlags } from "./commands/launch.ts";
import { registerAdmin } from "./program-admin.ts";
import { addAsync, registerApi } from "./program-api.ts";
import { registerConfig } from "./program-config.ts";
import { registerCp, registerFiles, registerLogs } from "./program-files.ts";
import { cloudOfInfra, refusedOptions, refuseFlags } from "./program-refused.ts";
import { registerPolicy } from "./program-policy.ts";
import { registerTunnel } from "./program-tunnel.ts";
import { registerPlumbing } from "./program-plumbing.ts";
import { examples, gather, integer, type Outcome, outputOption, type Register } from "./program-parts.ts";

/** Exit codes of the command line itself; jobs have 0 and 100–103 (shared/api.ts). */
const usageCode = 2;
const failureCode = 1;

function withTaskOptions(command: Command): Command {
  for (const option of [...refusedOptions(), new Option("--infra <name>").hideHelp()]) {
    command.addOption(option);
  }
  return command
    .option("-n, --name <name>", "the task's name")
    .option("-d, --detach-run", "return when the job is submitted; do not stream its output")
    .option("--env <KEY=VALUE>", "set a variable of the job; KEY alone takes your own value (repeatable)", gather)
    .option("--env-file <file>", "variables of the job, a KEY=VALUE a line")
    .option("--secret <KEY=VALUE>", "as --env, but never shown again (repeatable)", gather)
    .option("--secret-file <file>", "secrets of the job, a KEY=VALUE a line")
    .option("--workdir <folder>", "the folder to work in; its files go along")
    .option("--git-url <url>", "work in a checkout of this git repository instead")
    .option("--git-ref <ref>", "its branch, tag or commit")
    .option("--image-id <docker:image>", "run in a container, where nodes have podman or docker")
    .option("--ports <ports>", "ports that the job listens on, e.g. 8080 or 9000-9010 (repeatable)", gather)
    .option("--num-nodes <count>", "how many nodes at once", integer(1))
    .addOption(new Option("--gpus <kind:count>", "accelerators per node, e.g. V100:4, A100:0.5 or 80GB+; none: none"))
    .addOption(new Option("--accelerators <kind:count>", "the same as --gpus").hideHelp())
    .option("--cpus <count>", "CPUs per node, e.g. 4 or 4+")
    .option("--memory <size>", "memory per node in GiB, e.g. 16 or 16+")
    .option("--label <NAME=VALUE>", "only nodes with this label (repeatable)", gather)
    .option("--time <time>", "end the job after 2h, 90m, 1d or 1:30:00; short jobs find gaps sooner")
    .option("--priority <number>", "from -1000 to 1000 (default 0); higher starts first")
    .option("--exclusive", "let nobody else use its nodes")
    .option("--preemptible", "may be stopped for a job of higher priority, and is started again")
    .addOption(new Option("--cloud <name>").hideHelp())
    .option("--config <file|key=value>", "over ~/.sky/config.yaml and .sky.yaml (repeatable)", gather)
    .option("--dryrun", "ask whether the cluster would take the task, submit nothing")
    .showHelpAfterError("A command with options of its own goes after --, e.g. sky exec lab -- nvidia-smi -L");
}

/** Flags beside those that commands know. */
interface OtherFlags {
  gpus?: string;
  accelerators?: string;
  cloud?: string;
  infra?: string;
  env?: string[];
}

/** `--accelerators` is `--gpus`, `--infra` is `--cloud`; no `--env` is an empty list, which help need not show. */
function merged<Flags extends OtherFlags>(flags: Flags): Flags {
  refuseFlags(flags);
  const cloud = flags.cloud ?? cloudOfInfra(flags.infra);
  const all = { ...flags, env: flags.env ?? [], ...(cloud === undefined ? {} : { cloud }) };
  return all.accelerators === undefined ? all : { ...all, gpus: all.accelerators };
}

const registerLaunch: Register = (program, context, outcome) => {
  withTaskOptions(
    program
      .command("launch")
      .description("run a task, with its setup, on a local cluster; '' initializes the cluster only")
      .argument("[entrypoint...]", "a YAML file, or a command (after --)")
      .option("-c, --cluster <name>", "the local cluster"),
  )
    .option("-y, --yes", "do not ask")
    .option("--no-setup", "leave out the task's setup")
    .option("--fast", "leave out the setup, unless this is the first launch there")
    .option("-r, --retry-until-up", "wait until the cluster answers and has a node that is up")
    .addHelpText(
      "after",
      examples(
        "sky launch -c lab ''           # initialize the cluster on this machine",
        "sky launch -c lab train.yaml",
        "sky launch -c lab --gpus V100:2 -- python train.py --epochs 3",
        "sky launch -c lab --gpus 80GB+ --time 2h --label disk=ssd task.yaml",
        "sky launch -c lab -d --env DATA=/data task.yaml",
      ),
    )
    .action(async (words: string[], flags: LaunchFlags) => {
      const { launch } = await import("./commands/launch.ts");
      outcome.code = await launch(context, words, merged(flags));
    });
};

const registerExec: Register = (program, context, outcome) => {
  withTaskOptions(
    program
      .command("exec")
      .description("run a task, without its setup, on an initialized cluster")
      .argument("[cluster]", "the local cluster (or -c)")
      .argument("[entrypoint...]", "a YAML file, or a command (after --)")
      .option("-c, --cluster <name>", "the local cluster"),
  )
    .addHelpText(
      "after",
      examples(
        "sky exec lab train.yaml",
        "sky exec lab -d --gpus V100:1 train.yaml",
        "sky exec lab --gpus A100:0.5 --time 30m -- python try.py",
        "sky exec lab -- nvidia-smi",
        "sky exec -c lab 'echo $SKYPILOT_NODE_RANK' --num-nodes 2",
      ),
    )
    .action(async (name: string | undefined, words: string[], flags: ExecFlags) => {
      const { exec } = await import("./commands/exec.ts");
      outcome.code = await exec(context, name === undefined ? words : [name, ...words], merged(flags));
    });
};

const registerQueue: Register = (program, context, outcome) => {
  program
    .command("queue")
    .description("show your jobs, and why the waiting ones wait")
    .argument("[clusters...]", "local clusters; none: all that are initialized")
    .option("-s, --skip-finished", "leave out finished jobs")
    .option("-u, --all-users", "show everybody's jobs")
    .addOption(outputOption())
    .addHelpText("after", examples("sky queue", "sky queue lab --skip-finished", "sky queue lab -o json"))
    .action(async (names: string[], flags) => {
      const { queue } = await import("./commands/queue.ts");
      outcome.code = await queue(context, names, flags);
    });
};

const registerExplain: Register = (program, context, outcome) => {
  program
    .command("explain")
    .description("say why a job waits and when it starts, where it runs, or how it ended")
    .argument("<cluster>", "the local cluster; may be left out when only one is initialized")
    .argument("[job]", "the job's number or name")
    .option("-u, --user <name>", "a job of this user (admins)")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        "sky explain lab 12",
        "sky explain lab train",
        "sky explain 12",
        "sky explain lab 12 -o json",
        "sky explain lab 3 --user alice",
      ),
    )
    .action(async (first: string, job: string | undefined, flags) => {
      const { explain } = await import("./commands/explain.ts");
      outcome.code = await explain(context, job === undefined ? [first] : [first, job], flags);
    });
};

const registerQuota: Register = (program, context, outcome) => {
  program
    .command("quota")
    .description("show what limits you, and what you hold")
    .argument("[clusters...]", "local clusters; none: all that are initialized")
    .addOption(outputOption())
    .addHelpText("after", examples("sky quota", "sky quota lab -o json"))
    .action(async (names: string[], flags: { output: string }) => {
      const { quota } = await import("./commands/quota.ts");
      outcome.code = await quota(context, names, flags);
    });
};

const registerCancel: Register = (program, context, outcome) => {
  program
    .command("cancel")
    .description("cancel your jobs")
    .argument("<cluster>", "the local cluster")
    .argument("[jobs...]", "numbers or names of jobs; none: your latest running job")
    .option("-a, --all", "all your jobs")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      examples("sky cancel lab 1 2", "sky cancel lab train", "sky cancel lab -a -y", "sky cancel lab"),
    )
    .action(async (name: string, words: string[], flags) => {
      const { cancel } = await import("./commands/cancel.ts");
      outcome.code = await cancel(context, name, words, flags);
    });
};

const registerClusters: Register = (program, context, outcome) => {
  program
    .command("status")
    .description("show the registered clusters")
    .argument("[clusters...]", "local clusters; none: all")
    .option("-r, --refresh", "ask the clusters, rather than show what is remembered here")
    .option("-v, --verbose", "when they were last launched on, and their files")
    .addOption(outputOption())
    .addHelpText("after", examples("sky status", "sky status -r", "sky status lab -o json"))
    .action(async (names: string[], flags) => {
      const { status } = await import("./commands/status.ts");
      outcome.code = await status(context, names, flags);
    });
  program
    .command("down")
    .description("cancel your jobs on clusters and forget the clusters on this machine")
    .argument("[clusters...]", "local clusters")
    .option("-a, --all", "all initialized clusters")
    .option("-y, --yes", "do not ask")
    .option("-p, --purge", "forget here only, without asking the cluster")
    .addHelpText("after", examples("sky down lab", "sky down -a -y", "sky down --purge lab"))
    .action(async (names: string[], flags) => {
      const { down } = await import("./commands/down.ts");
      outcome.code = await down(context, names, flags);
    });
  program
    .command("check")
    .description("connect to the registered clusters and say what is wrong")
    .argument("[clusters...]", "local clusters; none: all")
    .addOption(outputOption())
    .addHelpText("after", examples("sky check", "sky check lab", "sky check -o json"))
    .action(async (names: string[], flags) => {
      const { check } = await import("./commands/check.ts");
      outcome.code = await check(context, names, flags);
    });
};

function addGpusOptions(command: Command, context: Context, outcome: Outcome): void {
  command
    .description("show accelerators: all, free, node by node")
    .argument("[name]", "an accelerator, e.g. H100, or a local cluster")
    .option("-c, --cluster <name>", "one local cluster only")
    .option("--infra <name>", "the same, as local/NAME")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples("sky gpus list", "sky gpus list H100 -c lab", "sky gpus list --infra local/lab -o json"),
    )
    .action(async (kind: string | undefined, flags) => {
      const { gpus } = await import("./commands/gpus.ts");
      outcome.code = await gpus(context, kind ?? null, flags);
    });
}

const registerGpus: Register = (program, context, outcome) => {
  const group = program.command("gpus").description("accelerators of the clusters");
  addGpusOptions(group.command("list"), context, outcome);
  addGpusOptions(program.command("show-gpus", { hidden: true }), context, outcome);
};

const registerUsage: Register = (program, context, outcome) => {
  program
    .command("usage")
    .description("show accelerator-hours and CPU-hours: yours; for admins everybody's")
    .argument("[clusters...]", "local clusters; none: all that are initialized")
    .option("--last <time>", "how far back from --to: 24h, 7d, 4w (default: 7d)")
    .option("--from <time>", "when the period begins: 2026-11-01, 2026-11-01T08:00")
    .option("--to <time>", "when it ends (default: now)")
    .option("--by <keys>", "sum by user, group, kind, node or job; several with commas (default: user)")
    .option("--idle", "accelerators that are held and idle just now, and who holds them")
    .addOption(new Option("-o, --output <format>", "how to print").choices(["table", "json", "csv"]).default("table"))
    .addHelpText(
      "after",
      examples(
        "sky usage",
        "sky usage lab --last 30d --by kind",
        "sky usage lab --from 2026-11-01 --to 2026-12-01 --by user,kind -o csv",
        "sky usage lab --by group -o json",
        "sky usage --idle",
      ),
    )
    .action(async (names: string[], flags) => {
      const { usage } = await import("./commands/usage.ts");
      outcome.code = await usage(context, names, flags);
    });
};

const registerUnsupported: Register = (program, context, outcome) => {
  for (const name of ["start", "stop", "autostop"] as const) {
    const command = program
      .command(name)
      .description("not for local clusters: their machines stay on")
      .argument("[clusters...]", "clusters")
      .option("-a, --all", "all clusters")
      .option("-y, --yes", "do not ask")
      .addHelpText("after", examples(`sky ${name} lab`));
    if (name !== "stop") {
      command.option("-i, --idle-minutes <minutes>", "as in SkyPilot", integer(0)).option("--down", "as in SkyPilot");
    }
    if (name === "autostop") {
      command.option("--cancel", "as in SkyPilot");
    }
    command.action(async (names: string[], flags: { all?: boolean }) => {
      const { skipClusters } = await import("./commands/unsupported.ts");
      const verb = name === "start" ? "start" : "stop/autostop";
      outcome.code = await skipClusters(context, names, flags.all === true, verb);
    });
  }
};

/** The whole program; `outcome` gets the exit code of the command that is typed. */
export function buildProgram(context: Context, outcome: Outcome): Command {
  const { screen } = context;
  const program = new Command("sky")
    .description("Run jobs, as yourself, on machines that your group shares.")
    .version(versionText("sky"), "-v, --version")
    .exitOverride()
    // Else -v would be the program's own after every command.
    .enablePositionalOptions()
    // Arguments stand in each command's own help; here they would leave no room for what it does.
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .configureOutput({
      writeOut: (text) => screen.print(text.replace(/\n$/, "")),
      writeErr: (text) => screen.note(text.replace(/\n$/, "")),
      outputError: (text, write) => write(screen.noteColors.red(text.replace(/^error:/, "Error:"))),
    })
    .addHelpText(
      "after",
      examples("sky status", "sky launch -c lab ''", "sky launch -c lab task.yaml", "sky queue lab", "sky logs lab 1"),
    );
  const registers = [
    registerLaunch,
    registerExec,
    registerQueue,
    registerExplain,
    registerQuota,
    registerLogs,
    registerCp,
    registerFiles,
    registerCancel,
    registerClusters,
    registerGpus,
    registerUsage,
    registerConfig,
    registerPolicy,
    registerApi,
    registerTunnel,
    registerUnsupported,
    registerAdmin,
    registerPlumbing,
  ];
  for (const register of registers) {
    register(program, context, outcome);
  }
  addAsync(program, context);
  return program;
}

/** Of a request that is left to itself: says how to find it again. False: it is something else. */
async function showTaken(error: unknown, { screen }: Context): Promise<boolean> {
  const { RequestTaken } = await import("./sdk/requests.ts");
  if (!(error instanceof RequestTaken)) {
    return false;
  }
  const { takenText } = await import("./output/requests-text.ts");
  screen.print(takenText(error, screen.colors));
  return true;
}

/** Runs `sky` with these words (without the program's own name). Resolves with the exit code; never rejects. */
export async function runSky(words: string[], context: Context): Promise<number> {
  const outcome: Outcome = { code: 0 };
  const program = buildProgram(context, outcome);
  try {
    if (words.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync(words, { from: "user" });
    return outcome.code;
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? 0 : usageCode;
    }
    if (context.leavesRequests === true && (await showTaken(error, context))) {
      return 0;
    }
    const { showFailure } = await import("./output/failure.ts");
    showFailure(error, context.screen, context.env);
    return error instanceof UsageError ? usageCode : failureCode;
  }
}
