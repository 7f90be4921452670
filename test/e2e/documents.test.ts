/**
 * Every command that a document shows is run. Commands in fenced blocks are either typed here, in their order, by an
 * ordinary user on a real cluster, or belong to a test that is named with the words by which it types them; commands
 * inside sentences and tables must exist. A command that is in neither list fails, so a document cannot drift away.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout, dist } from "../../scripts/cluster/layout.ts";
import { type Site, startSite } from "../help/site.ts";
import { runAs } from "../help/sky.ts";
import type { TestUser } from "../help/users.ts";

const documents = [
  ...["README.md", "CONTRIBUTING.md", "docs/users.md", "docs/admins.md", "docs/architecture.md"],
  ...["docs/admin/install.md", "docs/admin/config.md", "ansible/README.md"],
];

/** Typed below, in this order; the job ids are those that the order gives. Exit codes other than 0 are named. */
const typed: [command: string, code: number][] = [
  ["sky status", 0],
  ["sky launch -c my-cluster ''", 0],
  ["sky launch -c my-cluster examples/minimal.yaml", 0],
  ["sky exec my-cluster --gpus V100:1 -- 'echo I have device $CUDA_VISIBLE_DEVICES'", 0],
  ["sky queue my-cluster", 0],
  ["sky logs my-cluster 1", 0],
  ["sky cancel my-cluster 2", 0],
];

/** Commands that other tests and scripts type: the file, and the words by which it does. */
const elsewhere: Record<string, [file: string, words: string]> = {
  "./scripts/quickstart": ["test/e2e/quickstart.test.ts", "scripts/quickstart"],
  "./scripts/test": [".ci/run", "scripts/test"],
  "./scripts/check": [".ci/run", "scripts/check"],
  "npm ci": ["scripts/requirements.sh", "npm ci"],
  "./scripts/dev-cluster start --dir /var/tmp/sky-dev --nodes 3 --accelerators 'V100:4,V100:4,-'": [
    "test/help/cluster.ts",
    '"start", "--dir"',
  ],
  "./scripts/dev-cluster stop --dir /var/tmp/sky-dev": ["test/help/cluster.ts", '"stop", "--dir"'],
  "node dist/agent.mjs accept-state STATE_ID --config agent.yaml": ["test/e2e/agent-main.test.ts", "accept-state"],
  "ansible-playbook site.yml --check --diff": ["test/hosts/ansible.test.ts", '"site.yml", ["--check", "--diff"]'],
  "ansible-playbook site.yml": ["test/hosts/ansible.test.ts", 'played("site.yml")'],
};

const programs = /^(sky|\.\/scripts\/|npm|npx|node|ansible-playbook) ?/;

function textOf(path: string): string {
  return readFileSync(join(checkout, path), "utf8");
}

/** The lines of a document's fenced blocks, other languages left out, that are commands. */
function fencedCommands(text: string): string[] {
  const commands: string[] = [];
  let language: string | null = null;
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    if (line.startsWith("```")) {
      language = language === null ? line.slice(3) : null;
    } else if ((language === "" || language === "sh") && programs.test(line)) {
      commands.push(line);
    }
  }
  return commands;
}

let site: Site;
let user: TestUser;

beforeAll(async () => {
  site = await startSite({ initialized: false, clusterName: "my-cluster" });
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

test("every fenced command is typed by a test", () => {
  const known = new Set([...typed.map(([command]) => command), ...Object.keys(elsewhere)]);
  const shown = documents.flatMap((path) => fencedCommands(textOf(path)).map((command) => `${path}: ${command}`));
  expect(shown.length).toBeGreaterThan(10);
  expect(shown.filter((line) => !known.has(line.slice(line.indexOf(": ") + 2)))).toEqual([]);
  for (const [command, [file, words]] of Object.entries(elsewhere)) {
    expect(textOf(file), `${command} in ${file}`).toContain(words);
  }
});

test("the first job of the README, typed by a newcomer in the checkout", async () => {
  const env = { PATH: `${dist}:${process.env["PATH"] ?? ""}` };
  for (const [command, code] of typed) {
    // On a terminal, as a person has one: some commands ask.
    const argv = ["script", "--quiet", "--return", "--command", command, "/dev/null"];
    const result = await runAs(user, argv, { cwd: checkout, env, input: "y\n" });
    expect([command, result.code, result.code === code ? "" : result.stdout + result.stderr]).toEqual([
      command,
      code,
      "",
    ]);
  }
});

test("every sky command in a sentence or a table exists", async () => {
  const spans = documents.flatMap((path) =>
    [...textOf(path).matchAll(/`sky ([a-z]+)[^`]*`/g)].map((match) => match[1]),
  );
  const names = [...new Set(spans)].filter((name) => name !== undefined);
  expect(names).toContain("launch");
  for (const name of names) {
    const result = await runAs(user, [join(dist, "sky"), name, "--help"]);
    expect([name, result.code]).toEqual([name, 0]);
    expect(result.stdout).toContain(`sky ${name}`);
  }
});
