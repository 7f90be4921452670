/**
 * What the definitions of commands share: argument parsers, the `--output` option, and the form of examples in help
 * texts. It must never do a command's work. Used by client/program.ts and client/program-admin.ts.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Context } from "./commands/context.ts";

/** A parser for whole numbers of at least `smallest`. */
export function integer(smallest: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || value < smallest || value > 2 ** 31) {
      throw new InvalidArgumentError(`It must be a whole number of at least ${smallest}.`);
    }
    return value;
  };
}

/** Gathers a repeatable option. */
export function gather(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

export function outputOption(): Option {
  return new Option("-o, --output <format>", "how to print").choices(["table", "json"]).default("table");
}

export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

/** Holds what the chosen command came to. */
export interface Outcome {
  code: number;
}

export type Register = (program: Command, context: Context, outcome: Outcome) => void;
