/**
 * The definitions of `sky logs`, `sky cp` and `sky files`: what brings output and files home, and what uploads take. It
 * must never do a command's work. Used by client/program.ts.
 */
import { examples, integer, outputOption, type Register } from "./program-parts.ts";

/** `sky logs` */
export const registerLogs: Register = (program, context, outcome) => {
  program
    .command("logs")
    .description("stream the output of jobs; ends with the job's exit code")
    .argument("<cluster>", "the local cluster")
    .argument("[jobs...]", "numbers or names of jobs; none: the latest")
    .option("--follow", "go on until the job ends (default)")
    .option("--no-follow", "print what there is")
    .option("--tail <lines>", "only the last lines; 0: all", integer(0), 0)
    .option("--status", "print the status only")
    .option("-s, --sync-down", "bring log files home, to ~/sky_logs; jobs may be patterns")
    .addHelpText(
      "after",
      `${examples("sky logs lab", "sky logs lab train", "sky logs lab 3 --no-follow --tail 20", "sky logs lab 3 --status", "sky logs lab 3 4 --sync-down")}

Exit codes: 0 succeeded, 100 failed, 101 not finished, 102 no such job,
103 cancelled, 130 Ctrl-C.`,
    )
    .action(async (name: string, ids: string[], flags) => {
      const { logs } = await import("./commands/logs.ts");
      outcome.code = await logs(context, name, ids, { ...flags, follow: flags.follow !== false });
    });
};

/** `sky cp` */
export const registerCp: Register = (program, context, outcome) => {
  program
    .command("cp")
    .description("copy files between this machine and your home on a cluster, as yourself")
    .argument("<source>", "a file or a folder; CLUSTER:PATH is on the cluster's head; with / at its end: what is in it")
    .argument("<target>", "the same; one of both is on a cluster")
    .option("-r, --recursive", "as in scp; folders are copied whole with or without it")
    .option("--node <name>", "in your home on this node instead, through the head")
    .addHelpText(
      "after",
      examples("sky cp lab:results/ ./results", "sky cp data.csv lab:", "sky cp lab:a.log . --node n2"),
    )
    .action(async (source: string, target: string, flags: { node?: string }) => {
      const { cp } = await import("./commands/cp.ts");
      outcome.code = await cp(context, source, target, flags);
    });
};

/** `sky files` */
export const registerFiles: Register = (program, context, outcome) => {
  const group = program.command("files").description("what your uploaded files take; `clean` forgets them");
  group
    .command("list", { isDefault: true })
    .description("show what your uploads take on the head, and your quota")
    .argument("[clusters...]", "local clusters; none: all that are initialized")
    .addOption(outputOption())
    .addHelpText("after", examples("sky files", "sky files list lab -o json"))
    .action(async (names: string[], flags) => {
      const { files } = await import("./commands/files.ts");
      outcome.code = await files(context, names, flags);
    });
  group
    .command("clean")
    .description("forget those that no unfinished job needs; they are sent again when a task brings them")
    .argument("[clusters...]", "local clusters; none: all that are initialized")
    .addOption(outputOption())
    .addHelpText("after", examples("sky files clean", "sky files clean lab"))
    .action(async (names: string[], flags) => {
      const { filesClean } = await import("./commands/files.ts");
      outcome.code = await filesClean(context, names, flags);
    });
};
