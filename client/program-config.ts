/**
 * The command line of `sky config`. It must never do a command's work itself. Called by client/program.ts.
 */
import { examples, gather, outputOption, type Register } from "./program-parts.ts";

export const registerConfig: Register = (program, context, outcome) => {
  const config = program.command("config").description("show the config that counts for your next task");
  config
    .command("show")
    .description("every value, from the command line, a task file, .sky.yaml, ~/.sky/config.yaml and the server")
    .argument(
      "[clusters...]",
      "the local cluster whose server counts (none: the only initialized one), a task file, or both",
    )
    .option("--origin", "say where each value came from")
    .option("--config <file|key=value>", "as a task would be given (repeatable)", gather)
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        "sky config show",
        "sky config show lab --origin",
        "sky config show lab task.yaml --origin",
        "sky config show --config docker.run_options='--shm-size=8g' -o json",
      ),
    )
    .action(async (words: string[], flags) => {
      const { configShow } = await import("./commands/config.ts");
      outcome.code = await configShow(context, words, flags);
    });
};
