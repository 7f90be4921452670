/**
 * The definitions of what makes `sky` at home in a shell and on a head: completion scripts, the names that they ask for,
 * and the gate to the coordinator's socket. It must never do a command's work. Called by client/program.ts.
 */
import { Argument } from "commander";
import { examples, type Register } from "./program-parts.ts";

/** `sky completion`, and the commands that programs run. */
export const registerPlumbing: Register = (program, context, outcome) => {
  program
    .command("completion")
    .description("print a completion script for your shell")
    .addArgument(new Argument("<shell>").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      examples(
        "sky completion bash > ~/.local/share/bash-completion/completions/sky",
        "sky completion zsh > ~/.zfunc/_sky",
        "sky completion fish > ~/.config/fish/completions/sky.fish",
      ),
    )
    .action(async (shell: "bash" | "zsh" | "fish") => {
      const { completion } = await import("./commands/completion.ts");
      context.screen.print(completion(shell, program));
    });
  program
    .command("names", { hidden: true })
    .description("names for shell completion, one a line; run by the completion scripts")
    .addArgument(new Argument("<kind>").choices(["clusters", "jobs", "requests", "policies"]))
    .argument("[cluster]", "the local cluster")
    .action(async (kind: "clusters" | "jobs" | "requests" | "policies", cluster: string | undefined) => {
      const { printNames } = await import("./commands/names.ts");
      outcome.code = await printNames(context, kind, cluster);
    });
  program
    .command("gate", { hidden: true })
    .description("join standard input and output to the coordinator's socket; run by sky itself, on the head")
    .option("--socket <path>", "the coordinator's socket", "/run/sky-coordinator/api.sock")
    .action(async (flags: { socket: string }) => {
      const { runGate } = await import("./ssh/gate.ts");
      outcome.code = await runGate(flags.socket);
    });
};
