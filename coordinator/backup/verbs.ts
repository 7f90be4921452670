/**
 * The verbs of the coordinator's program that look after its state: `backup FILE` and `restore FILE`. It reads the
 * switches and prints a line a step. Called by coordinator/main.ts before it becomes a server.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { SkyError } from "../../shared/errors.ts";
import type { CoordinatorConfig } from "../config.ts";
import { putBack } from "./put-back.ts";
import { takeBackup } from "./take.ts";

const usage = `Usage: sky-coordinator backup FILE --config C [--move]
       sky-coordinator restore FILE --config C [--replace]

  --move      the last backup of this head: the state is handed over to the head on which it is put back
  --replace   set the present state aside and put the backup in its place
`;

export function isStateVerb(word: string | undefined): word is "backup" | "restore" {
  return word === "backup" || word === "restore";
}

/** Carries the verb out; throws SkyError when it could not. */
export async function runStateVerb(
  verb: "backup" | "restore",
  args: string[],
  readConfig: (file: string) => CoordinatorConfig,
): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      config: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
      ...(verb === "backup" ? { move: { type: "boolean" } } : { replace: { type: "boolean" } }),
    } as const,
  });
  const given = values as { config?: string; help?: boolean; move?: boolean; replace?: boolean };
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const [file] = positionals;
  if (given.help === true) {
    process.stdout.write(usage);
    return;
  }
  if (given.config === undefined || file === undefined || positionals.length > 1) {
    throw new SkyError("ValueError", `${verb} needs one FILE and --config.`, usage.trim());
  }
  const config = readConfig(given.config);
  if (verb === "backup") {
    const configText = readFileSync(given.config, "utf8");
    await takeBackup(config, { file, configText, move: given.move === true }, say);
  } else {
    await putBack(config, { file, replace: given.replace === true }, say);
  }
}
