/** The bash script in a real bash: commands, options, clusters by file name, subcommands. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, expect, it } from "vitest";
import { completion } from "./completion.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "sky-completion-"));
  mkdirSync(join(home, ".sky", "local"), { recursive: true });
  writeFileSync(join(home, ".sky", "local", "lab.yml"), "");
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function program(): Command {
  const sky = new Command("sky");
  sky.command("launch").option("-c, --cluster <name>", "the cluster").option("--cpus <count>", "it's 4 or [more]");
  sky.command("logs").argument("<cluster>", "the cluster");
  sky.command("gpus").command("list");
  sky.command("hidden", { hidden: true });
  return sky;
}

it.each([
  [["l"], "launch logs"],
  [["hi"], ""],
  [["launch", "--c"], "--cluster --cpus"],
  [["launch", "-c", ""], "lab"],
  [["logs", ""], "lab"],
  [["gpus", ""], "list"],
])("bash completes %j", (words, expected) => {
  const script = `${completion("bash", program())}
COMP_WORDS=(sky "$@"); COMP_CWORD=$#; _sky; echo "\${COMPREPLY[*]}"`;
  const env = { HOME: home, PATH: process.env["PATH"] };
  const out = execFileSync("bash", ["-c", script, "bash", ...words], { env, cwd: home, encoding: "utf8" });
  expect(out.trim()).toBe(expected);
});

it("descriptions cannot end the quotes of zsh and fish", () => {
  expect(completion("zsh", program())).toContain("'--cpus[its 4 or (more)]'");
  expect(completion("fish", program())).toContain("-l cpus -d 'its 4 or (more)'");
});
