/**
 * Every command that a document shows is run. Commands in fenced blocks are either typed here, in their order, by an
 * ordinary user on a real cluster, or belong to a test that is named with the words by which it types them; commands
 * inside sentences and tables must exist. A command that is in neither list fails, so a document cannot drift away.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkout, dist } from "../../scripts/cluster/layout.ts";
import { type Site, startSite } from "../help/site.ts";
import { runAs } from "../help/sky.ts";
import type { TestUser } from "../help/users.ts";

/** Every page, those of folders included. */
const documents = readdirSync(checkout, { recursive: true, withFileTypes: true })
  .map((entry) => relative(checkout, join(entry.parentPath, entry.name)))
  .filter((path) => path.endsWith(".md") && !/(^|\/)(node_modules|dist[^/]*|releases|\.[^/]*)\//.test(path))
  .sort();

/** Typed below, in this order; the job ids are those that the order gives. Exit codes other than 0 are named. */
const typed: [command: string, code: number][] = [
  ["sky status", 0],
  ["sky launch -c my-cluster ''", 0],
  ["sky launch -c my-cluster examples/minimal.yaml", 0],
  ["sky exec my-cluster --gpus V100:1 -- 'echo I have device $CUDA_VISIBLE_DEVICES'", 0],
  ["sky queue my-cluster", 0],
  ["sky logs my-cluster 1", 0],
  ["sky cancel my-cluster 2", 0],
  // docs/requests.md
  ["sky exec my-cluster --gpus V100:0.5 -- 'echo I share device $CUDA_VISIBLE_DEVICES'", 0],
  ["sky exec my-cluster --gpus 16GB+:2 -- 'echo I have devices $CUDA_VISIBLE_DEVICES'", 0],
  ["sky exec my-cluster --label node=n3 --cpus 2 -- 'echo I am on a node without accelerators'", 0],
  ["sky exec my-cluster --num-nodes 2 --exclusive -- 'echo rank $SKYPILOT_NODE_RANK has a node of its own'", 0],
  ["sky launch -c my-cluster examples/choice.yaml", 0],
  ["sky exec my-cluster --time 10m --priority -5 -- 'echo I may wait, and take ten minutes at most'", 0],
  // docs/limits.md
  ["sky launch -c my-cluster examples/checkpoint.yaml", 0],
  // docs/config.md
  ["sky config show my-cluster --origin", 0],
  // docs/users.md and docs/admin/scheduling.md
  ["sky usage", 0],
  ["sky usage my-cluster --last 30d --by kind", 0],
  ["sky usage my-cluster --from 2026-11-01 --to 2026-12-01 --by job -o csv", 0],
  ["sky usage --idle", 0],
  ["sky usage --last 30d --by user,kind", 0],
  ["sky usage --by group -o json", 0],
  ["sky usage --from 2026-11-01 --to 2026-12-01 -o csv", 0],
];

const playbooks = "test/hosts/ansible.test.ts";
const moving = "test/hosts/moving.test.ts";
const packaging = "test/e2e/package.test.ts";
const doctoring = "test/hosts/doctor.test.ts";
const filing = "test/e2e/files.test.ts";
const limiting = "test/e2e/admin-scheduling.test.ts";
const ruling = "test/e2e/policy-commands.test.ts";

/** Commands that other tests and scripts type: the file, and the words by which it does. Without blanks before a comment. */
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
  "./scripts/package --out releases": [packaging, '"scripts/package"), "--out", out'],
  // docs/admin/install.md
  "sudo apt install ansible-core": ["scripts/test", "ansible-playbook:ansible-core:"],
  "tar -xzf sky-onprem-0.2.0-linux-x64.tar.gz sky-onprem-0.2.0-linux-x64/ansible --strip-components=1": [
    packaging,
    "tar -xzf",
  ],
  "cd ansible": [packaging, "cd ansible"],
  "cp inventory.example.yml inventory.yml": [packaging, "cp inventory.example.yml inventory.yml"],
  "ansible-playbook site.yml --check --diff": [playbooks, '"site.yml", ["--check", "--diff"]'],
  "ansible-playbook site.yml": [playbooks, 'played("site.yml")'],
  "sky admin nodes": ["test/e2e/admin-nodes.test.ts", '["admin", "nodes"]'],
  "sky admin doctor": [doctoring, '["sky", "admin", "doctor"]'],
  "sky admin deploy lab.yml": ["test/hosts/deploy.test.ts", 'deploy("lab.yml")'],
  // docs/admin/scheduling.md
  "sky admin quota set user:alice H100=8 running=20": [limiting, '["admin", "quota", "set", `group:${labGroup}`'],
  "sky admin quota set group:students gpus=4 cpus=32": [limiting, '"gpus=4", "cpus=32"'],
  "sky admin quota set each waiting=1000": [limiting, '"set", "each", "running=0", "waiting=1"'],
  "sky admin quota": [limiting, '["admin", "quota"]'],
  "sky admin quota unset user:alice": [limiting, '["admin", "quota", "unset"'],
  "sky admin maintenance n1 n2 --from 2026-12-01T08:00 --for 4h -r 'new disks'": [limiting, '"--for", "4h"'],
  "sky admin reserve n1 --group course --from +2h --to 2026-12-01T18:00": [limiting, '"reserve", "n1", "--group"'],
  "sky admin windows": [limiting, '["admin", "windows", "-o", "json"]'],
  "sky admin windows remove w1": [limiting, '["admin", "windows", "remove", "w1"]'],
  // docs/admin/admin-policies.md
  "sky policy serve our-policies.EightAtMost --packages /etc/sky-onprem/policies --port 8080": [
    "test/e2e/admin-policies.test.ts",
    '["policy", "serve", "example_policy.RejectAllPolicy", "--packages"',
  ],
  // docs/policies.md
  "sky policy apply -f first.yaml --dry-run": [ruling, '"apply", "-f", "first.yaml", "--dry-run"'],
  "sky policy apply -f first.yaml": [ruling, '["policy", "apply", "-f", "first.yaml"]'],
  "sky policy list": [ruling, '["list"]'],
  "sky policy get first --grades": [ruling, '"get", "first", "--grades"'],
  "sky policy diff -f first.yaml": [ruling, '["diff", "-f", "first.yaml"]'],
  "sky policy log --outcome 'would have been rejected'": [ruling, '["policy", "log", "--outcome"'],
  "sky policy log": [ruling, '["log"]'],
  "sky policy check -f first.yaml --task train.yaml": [ruling, '"check", "-f", "first.yaml", "--task", "train.yaml"'],
  "sky policy test examples/policies-declared": [ruling, '"test", "examples/policies-declared"'],
  "sky policy history first": [ruling, '["history", "first"]'],
  "sky policy rollback first 1": [ruling, '"rollback", "first", "1"'],
  "sky policy delete first -y": [ruling, '"delete", "first", "-y"'],
  "sky policy exception add first --for user:alice --until +14d -r 'paper deadline'": [
    ruling,
    '"+14d", "-r", "paper deadline"',
  ],
  "sky policy exception remove e1": [ruling, '"exception", "remove", "e1"'],
  "sky policy asset set -f datasets.yaml": [ruling, '"asset", "set", "-f", "datasets.yaml"'],
  "sky policy secret set my-secret password --file ./password --project nlp": [
    ruling,
    '"my-secret", "password", "--file", "./password", "--project", "nlp"',
  ],
  "sky policy explain training.compute.gpuDevicesRequest": [ruling, '"explain", "training.compute.gpuDevicesRequest"'],
  "sky policy explain trainingpolicy.spec.ports.rules": [
    "client/program-policy-offline.test.ts",
    '"trainingpolicy.spec.ports.rules"',
  ],
  // docs/files.md
  "sky launch -c lab --workdir proj -- ./run.sh": [filing, '"--workdir", folder, "--", command'],
  "sky logs lab 3 4 --sync-down": [filing, '"first", "sec*", "--sync-down"'],
  "sky cp lab:results/ ./results": [filing, '["cp", "lab:moved/out/", "back"]'],
  "sky cp data.csv lab:data/": [filing, '["cp", "out", "lab:moved/"]'],
  // docs/python.md
  "sky tunnel -c lab": ["test/e2e/python-client.test.ts", '["tunnel", "-c", clusterName]'],
  // docs/admin/config.md
  "/opt/sky-onprem/current/bin/sky-coordinator --config /etc/sky-onprem/coordinator.yaml --check": [
    playbooks,
    '/sky-coordinator`, "--config", config, "--check"]',
  ],
  "/opt/sky-onprem/current/bin/sky-agent --config /etc/sky-onprem/agent.yaml --check": [
    playbooks,
    '/sky-agent`, "--config", "/etc/sky-onprem/agent.yaml", "--check"]',
  ],
  // docs/admin/upgrade.md
  "tar -xzf sky-onprem-0.3.0-linux-x64.tar.gz sky-onprem-0.3.0-linux-x64/ansible --strip-components=1": [
    packaging,
    "tar -xzf",
  ],
  "ansible-playbook upgrade.yml --check --diff": [playbooks, '"upgrade.yml", ["--check", "--diff"'],
  "ansible-playbook upgrade.yml": [playbooks, 'played("upgrade.yml", words)'],
  "ansible-playbook upgrade.yml -e sky_version=0.2.0-1a2b3c4": [playbooks, "`sky_version=${release.name}`"],
  "tar -xzf sky-onprem-0.2.0-linux-x64.tar.gz": [packaging, '["tar", "-xzf"'],
  "sky-onprem-0.2.0-linux-x64/install.sh": [packaging, 'join(folder, "install.sh")'],
  "/opt/sky-onprem/current/install.sh --list": [packaging, '"--list"'],
  "/opt/sky-onprem/current/install.sh --rollback": [packaging, '"--rollback"'],
  // docs/admin/operations.md
  "sudo sky admin backup /var/backups/sky-$(date +%F)": [moving, "sky admin backup /var/backups/sky-$(date +%F)"],
  "/usr/local/bin/sky admin backup /var/backups/sky-$(date +%F) && find /var/backups -name 'sky-*' -mtime +14 -delete":
    [moving, "&& find /var/backups -name 'sky-*' -mtime +14 -delete"],
  "sudo systemctl stop sky-coordinator": [moving, "systemctl stop sky-coordinator"],
  "sudo systemctl start sky-coordinator": [moving, "systemctl start sky-coordinator"],
  "sudo sky admin restore /var/backups/sky-2026-01-31 --replace": [
    moving,
    "sky admin restore /var/backups/sky-1 --replace",
  ],
  "sky admin release": ["test/e2e/restore.test.ts", '["admin", "release"]'],
  "sky admin release alice/7,9 bob": ["coordinator/api/routes-held.test.ts", "jobs: [5, 1]"],
  "sky admin release --all": ["test/e2e/restore.test.ts", '["admin", "release", "--all"]'],
  "sky admin release --all --cancel": [moving, '"release", `alice/${waits}`, "--cancel"'],
  "sudo sky admin backup /root/sky-move --move": [moving, "sky admin backup /root/sky-move --move"],
  "scp /root/sky-move NEW-HEAD:/root/": [moving, "base64 -d >/root/sky-move"],
  "sudo mkdir -p /etc/sky-onprem": [moving, "mkdir -p /etc/sky-onprem"],
  "sudo tar -xOf /root/sky-move coordinator.yaml | sudo tee /etc/sky-onprem/coordinator.yaml >/dev/null": [
    moving,
    "tar -xOf /root/sky-move coordinator.yaml",
  ],
  "ansible-playbook site.yml --limit NEW-HEAD": [moving, '"site.yml", inventory, ["--limit", "laptop"]'],
  "sudo sky admin restore /root/sky-move": [moving, "sky admin restore /root/sky-move"],
  "SKY_POWER_ROUNDS=50 npx vitest run --project hosts test/hosts/power-loss.test.ts": [
    "test/hosts/power-loss.test.ts",
    "SKY_POWER_ROUNDS",
  ],
  "npx vitest run --project e2e test/e2e/durability.test.ts": ["test/e2e/durability.test.ts", "test("],
  "sudo /opt/sky-onprem/current/bin/sky-agent accept-state STATE_ID --config /etc/sky-onprem/agent.yaml": [
    "test/e2e/states.test.ts",
    '"accept-state"',
  ],
  "sudo systemctl reload sky-agent": ["test/hosts/agent-units.test.ts", '["systemctl", "reload", "sky-agent"]'],
  "sky admin doctor n1 n2 -o json": [doctoring, '["admin", "doctor", "n1", "-o", "json"]'],
  "sudo sky admin doctor --local": [doctoring, '["sky", "admin", "doctor", "--local"]'],
  "sky admin doctor --fail-on warn": [doctoring, '"--fail-on", "warn"'],
  "journalctl -u sky-coordinator -o cat": ["test/hosts/machine.ts", '"journalctl", "--no-pager", "--output=cat"'],
  "journalctl -u sky-agent -o cat": ["test/hosts/machine.ts", '"journalctl", "--no-pager", "--output=cat"'],
  "$ sky admin nodes": ["test/e2e/admin-nodes.test.ts", '["admin", "nodes"]'],
  "$ sky admin logs alice/3": [doctoring, '["sky", "admin", "logs", `alice/${id}`]'],
};

/** For people who look into test machines by hand, while a test waits for them. */
const byHand = /^(pgrep -af world\.sh|nsenter -t PID|tail -f FOLDER|journalctl -D \/proc\/PID)/;

/** What a command of a block without a language begins with; what is shown below it is output. */
const shown = /^(\$ |sky |\.\/scripts\/|npm |npx |ansible-playbook )/;

function textOf(path: string): string {
  return readFileSync(join(checkout, path), "utf8");
}

/** The commands of a document's fenced blocks: every line of a shell's, and what is typed in those without a language. */
function fencedCommands(text: string): string[] {
  const commands: string[] = [];
  let language: string | null = null;
  for (const line of text.split("\n").map((raw) => raw.trim().replace(/ +# .*$/, ""))) {
    if (line.startsWith("```")) {
      language = language === null ? line.slice(3) : null;
    } else if (language === "sh" ? line !== "" && !line.startsWith("#") : language === "" && shown.test(line)) {
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
  const all = documents.flatMap((path) => fencedCommands(textOf(path)).map((command) => ({ path, command })));
  expect(all.length).toBeGreaterThan(60);
  expect(all.filter(({ command }) => !known.has(command) && !byHand.test(command))).toEqual([]);
  const typedNowhere = [...known].filter((command) => all.every((one) => one.command !== command));
  expect(typedNowhere).toEqual([]);
  for (const [command, [file, words]] of Object.entries(elsewhere)) {
    expect([command, file, textOf(file).includes(words)]).toEqual([command, file, true]);
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
    [...textOf(path).matchAll(/`(?:sudo )?sky ((?:admin )?[a-z][a-z-]*)[^`]*`/g)].map((match) => match[1]),
  );
  const names = [...new Set(spans)].filter((name) => name !== undefined);
  expect(names).toEqual(expect.arrayContaining(["launch", "admin drain"]));
  for (const name of names) {
    const result = await runAs(user, [join(dist, "sky"), ...name.split(" "), "--help"]);
    expect([name, result.code]).toEqual([name, 0]);
    expect(result.stdout).toContain(`sky ${name}`);
  }
});

test("every playbook in a sentence or a table exists and is typed by a test", () => {
  const spans = documents.flatMap((path) => [...textOf(path).matchAll(/`ansible-playbook ([a-z-]+\.yml)/g)]);
  const names = [...new Set(spans.map((match) => match[1] ?? ""))].sort();
  expect(names).toEqual(["remove-node.yml", "site.yml", "uninstall.yml", "upgrade.yml"]);
  for (const name of names) {
    expect([name, existsSync(join(checkout, "ansible", name))]).toEqual([name, true]);
    expect(textOf(playbooks)).toContain(`played("${name}"`);
  }
});

/** What a link to a heading is called. */
function anchors(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map((match) => match[1] ?? "");
  return headings.map((one) =>
    one
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test("every link between documents leads somewhere, and lines fit", () => {
  const dead: string[] = [];
  const wide: string[] = [];
  for (const path of documents) {
    const text = textOf(path);
    for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      const [file = "", heading] = target.split("#");
      const full = file === "" ? path : join(dirname(path), file);
      const isThere = /^https?:/.test(target) || existsSync(join(checkout, full));
      if (!isThere || (heading !== undefined && !anchors(textOf(full)).includes(heading))) {
        dead.push(`${path}: ${target}`);
      }
    }
    wide.push(
      ...text
        .split("\n")
        .filter((line) => line.length > 120 && !line.startsWith("|"))
        .map((line) => `${path}: ${line}`),
    );
  }
  expect(dead).toEqual([]);
  expect(wide).toEqual([]);
});
