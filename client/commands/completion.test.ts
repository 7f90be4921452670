/**
 * The completion scripts in real shells: commands, options, and names of clusters, jobs, requests and policies from `sky`
 * itself. Bash is everywhere; zsh and fish are skipped where they are missing, which fails a run of all tests.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startPerson } from "../../test/help/person.ts";
import { completion } from "./completion.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "sky-completion-"));
  mkdirSync(join(home, "bin"));
  // Says what it was asked for; and something on stderr, which nobody may see.
  script(
    "sky",
    'echo noise >&2\ncase "$2" in clusters) echo lab ;; jobs) printf "12\\ntrain-$3\\n" ;; requests) echo 0f11aaaa ;; policies) echo nlp-training ;; esac\n',
  );
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function script(name: string, text: string): void {
  writeFileSync(join(home, "bin", name), `#!/bin/sh\n${text}`);
  chmodSync(join(home, "bin", name), 0o755);
}

function program(): Command {
  const sky = new Command("sky");
  sky.command("launch").option("-c, --cluster <name>", "the cluster").option("--cpus <count>", "it's 4 or [more]");
  sky.command("logs").argument("<cluster>", "the cluster").argument("[jobs...]", "jobs");
  sky.command("status").argument("[clusters...]", "clusters");
  sky.command("gpus").command("list");
  const api = sky.command("api");
  api.command("info");
  api.command("cancel").argument("[requests...]", "requests");
  const policy = sky.command("policy");
  policy.command("apply");
  policy.command("get").argument("<policy>", "its name");
  sky.command("hidden", { hidden: true });
  return sky;
}

const surroundings = (): { env: NodeJS.ProcessEnv; cwd: string } => ({
  env: { HOME: home, PATH: `${join(home, "bin")}:${process.env["PATH"] ?? ""}`, TERM: "dumb" },
  cwd: join(home, "bin"),
});

const cases: [string[], string][] = [
  [["l"], "launch logs"],
  [["hi"], ""],
  [["launch", "--c"], "--cluster --cpus"],
  [["launch", "-c", ""], "lab"],
  [["logs", ""], "lab"],
  [["status", ""], "lab"],
  [["logs", "lab", ""], "12 train-lab"],
  [["logs", "lab", "tr"], "train-lab"],
  [["gpus", ""], "list"],
  [["api", ""], "info cancel"],
  [["api", "cancel", ""], "0f11aaaa"],
  [["policy", "get", ""], "nlp-training"],
  [["policy", "get", "x"], ""],
];

it.each(cases)("bash completes %j", (words, expected) => {
  const text = `${completion("bash", program())}
COMP_WORDS=(sky "$@"); COMP_CWORD=$#; _sky; echo "\${COMPREPLY[*]}"`;
  const found = spawnSync("bash", ["-c", text, "bash", ...words], { ...surroundings(), encoding: "utf8" });
  expect([found.stdout.trim(), found.stderr]).toEqual([expected, ""]);
});

it("bash goes on when there is no sky, and when it fails", () => {
  for (const broken of ["exit 3\n", null]) {
    if (broken === null) {
      rmSync(join(home, "bin", "sky"));
    } else {
      script("sky", broken);
    }
    const text = `${completion("bash", program())}
COMP_WORDS=(sky logs lab ""); COMP_CWORD=3; _sky; echo "[\${COMPREPLY[*]}]"`;
    const found = spawnSync("bash", ["-c", text], { ...surroundings(), encoding: "utf8" });
    expect([found.stdout.trim(), found.stderr]).toEqual(["[]", ""]);
  }
});

/** Where all tests run, both are there (scripts/test installs them), and what is missing fails. */
function isMissing(shell: "zsh" | "fish"): boolean {
  return process.env["CI"] !== "true" && spawnSync(shell, ["-c", "true"]).status !== 0;
}

describe.skipIf(isMissing("fish"))("fish", () => {
  it.each([
    [["logs", "lab", ""], "12 train-lab"],
    [["api", "cancel", ""], "0f11aaaa"],
    [["policy", "get", ""], "nlp-training"],
    [["gpus", ""], "list"],
    [["logs", ""], "lab"],
    [["launch", "-c", ""], "lab"],
  ])("completes %j", (words, expected) => {
    const text = `${completion("fish", program())}\ncomplete -C "sky ${words.join(" ")}"`;
    const found = spawnSync("fish", ["--no-config", "-c", text], { ...surroundings(), encoding: "utf8" });
    const names = found.stdout.split("\n").map((line) => line.split("\t")[0]);
    expect(new Set(names.filter((name) => name !== ""))).toEqual(new Set(expected.split(" ")));
    expect(found.stderr).toBe("");
  });
});

describe.skipIf(isMissing("zsh"))("zsh", () => {
  it("takes the script, and asks sky for jobs of the cluster that is typed", () => {
    // Completion itself needs a terminal; compdef and compadd stand in for zsh's, and print what they are given.
    const text = `compdef() { : }; compadd() { print -r -- "\${(P)2}" }; _files() { : }
${completion("zsh", program())}
words=(logs lab ""); _sky_jobs; _sky_requests; _sky_policies; _sky_clusters`;
    const out = execFileSync("zsh", ["-f", "-c", text], { ...surroundings(), encoding: "utf8" });
    expect(out.trim().split("\n")).toEqual(["12 train-lab", "0f11aaaa", "nlp-training", "lab"]);
  });
});

it("a cluster is called as its file says, not as the file is", async () => {
  const person = await startPerson();
  try {
    const text = "cluster:\n  ips: [10.0.0.1]\n  name: lab\nauth:\n  ssh_user: alice\n  ssh_private_key: ~/.ssh/id\n";
    writeFileSync(join(person.home, ".sky", "local", "from-the-wiki.yml"), text);
    const { code, out, err } = await person.sky(["names", "clusters"]);
    expect([code, out, err]).toEqual([0, "lab\n", ""]);
  } finally {
    await person.close();
  }
});

it("descriptions cannot end the quotes of zsh and fish", () => {
  expect(completion("zsh", program())).toContain("'--cpus[its 4 or (more)]'");
  expect(completion("fish", program())).toContain("-l cpus -d 'its 4 or (more)'");
});
