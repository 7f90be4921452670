/**
 * The command program: calls a task's generator with this node's rank and the addresses of all, and writes the run script
 * from what it gives. A part of one job, in the attempt's own session, as the user: whatever the function does, the skylet
 * goes on. Its output is the job's log. Started by the runner script: `node skylet.mjs command FOLDER`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Script } from "node:vm";
import * as z from "zod";
import { messageOf } from "../../shared/errors.ts";
import { attemptFiles, userScript } from "./runner-script.ts";

/** What the generator is called with; written before the runner exists. */
const generatorOrderSchema = z.strictObject({
  format: z.literal(1),
  /** An expression that is the function. */
  source: z.string(),
  rank: z.int().min(0),
  addresses: z.array(z.string()),
  home: z.string(),
});
export type GeneratorOrder = z.infer<typeof generatorOrderSchema>;

/** A generator only writes a command line. */
const limitMs = 30_000;

/** The command of this rank; null: it has none. Throws with a text for the user. */
export function generatedCommand({ source, rank, addresses }: GeneratorOrder): string | null {
  const call = new Script(`(${source})(${rank}, ${JSON.stringify(addresses)})`, { filename: "run" });
  const command: unknown = call.runInThisContext({ timeout: limitMs });
  if (command === null || command === undefined) {
    return null;
  }
  if (typeof command !== "string" || command.includes("\0")) {
    throw new Error(`it gave ${typeof command === "string" ? "text with a NUL character" : `a ${typeof command}`}.`);
  }
  return command;
}

/** Runs the program to its end; a script that is not there afterwards means that this rank has nothing to run. */
export function runCommandGenerator(folder: string): never {
  try {
    const order = generatorOrderSchema.parse(
      JSON.parse(readFileSync(join(folder, attemptFiles.generatorOrder), "utf8")),
    );
    const command = generatedCommand(order);
    if (command !== null) {
      const script = userScript({ folder, home: order.home }, attemptFiles.runEnvironment, command);
      writeFileSync(join(folder, attemptFiles.runScript), script, { mode: 0o600, flag: "wx" });
    }
    process.exit(0);
  } catch (error) {
    process.stdout.write(`The command generator of the task failed: ${messageOf(error)}\n`);
    process.exit(1);
  }
}
