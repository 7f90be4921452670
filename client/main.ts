/**
 * Entry of the `sky` command: hands the process's terminal, environment and signals to client/program.ts and ends with
 * its exit code. It must hold no logic of its own, and import nothing that a short command does not need.
 */
import { homedir } from "node:os";
import type { Context } from "./commands/context.ts";
import { commandLineOf } from "./output/command-line.ts";
import { createScreen } from "./output/screen.ts";
import { sshQuestions } from "./output/ssh-questions.ts";
import { runSky } from "./program.ts";

/** What shells show for a program that wrote into a closed pipe (`sky logs lab | head`). */
const closedPipeCode = 141;
/** Milliseconds that a connection may take to close after the command is done. */
const lingerMs = 500;

const home = process.env["HOME"] ?? "";

const context: Context = {
  screen: createScreen(process),
  env: process.env,
  home: home === "" ? homedir() : home,
  cwd: process.cwd(),
  commandLine: commandLineOf(process.argv.slice(2)),
  now: () => Date.now() / 1000,
  async connect(cluster) {
    const { connectHead } = await import("./ssh/connect.ts");
    return connectHead(cluster, sshQuestions(context.screen));
  },
  interrupted() {
    const controller = new AbortController();
    const onInterrupt = (): void => controller.abort();
    // Once: a second Ctrl-C ends the program at once.
    process.once("SIGINT", onInterrupt);
    return { signal: controller.signal, done: () => void process.off("SIGINT", onInterrupt) };
  },
};

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? closedPipeCode : 1);
  });
}

process.exitCode = await runSky(process.argv.slice(2), context);
setTimeout(() => process.exit(), lingerMs).unref();
