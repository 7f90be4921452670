/** `sky admin deploy` with real ansible: playbooks out of an archive, run on this machine by ansible's local connection. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createScreen } from "../../output/screen.ts";
import { runSky } from "../../program.ts";
import type { Context } from "../context.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "sky-deploy-test-"));
  writeFileSync(
    join(home, "lab.yml"),
    "cluster:\n  ips: [127.0.0.1, 127.0.0.2]\n  name: lab\nauth:\n  ssh_user: root\n  ssh_private_key: ~/key\n",
  );
  writeFileSync(join(home, "local.yml"), "ansible_connection: local\n");
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const plays = (third: string): string => `
- name: Installing on-premise dependencies
  hosts: all
  gather_facts: false
  tasks:
    - name: the machine is told its cluster
      ansible.builtin.copy: {content: "{{ sky_cluster }} {{ sky_releases | to_json }}", dest: "${home}/on-{{ inventory_hostname }}", mode: "0600"}
- name: Auto-detecting cluster resources
  hosts: sky_nodes
  gather_facts: false
  tasks:
    - {name: nothing to do, ansible.builtin.command: "true", changed_when: false}
- name: Launching sky runtime
  hosts: sky_head
  gather_facts: false
  tasks:
    - ${third}
- name: Starting the agents
  hosts: sky_nodes
  gather_facts: false
  tasks:
    - name: What the node has
      ansible.builtin.debug: {msg: "V100:4 (found by nvidia-smi), 16 CPUs"}
`;

function makeArchive(third: string): string {
  const root = "sky-onprem-9.9.9-linux-x64";
  mkdirSync(join(home, root, "ansible"), { recursive: true });
  writeFileSync(join(home, root, "ansible/site.yml"), plays(third));
  execFileSync("tar", ["-czf", `${root}.tar.gz`, root], { cwd: home });
  return join(home, `${root}.tar.gz`);
}

async function sky(
  words: string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; out: string; err: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const context: Context = {
    screen: createScreen({ stdin: new PassThrough(), stdout, stderr, env }),
    env: { ...env, HOME: home },
    home,
    cwd: home,
    commandLine: "",
    now: () => 0,
    connect: () => Promise.reject(new Error("deploy does not connect to the head")),
    interrupted: () => ({ signal: new AbortController().signal, done: () => undefined }),
  };
  const code = await runSky(words, context);
  return { code, out: String(stdout.read() ?? ""), err: String(stderr.read() ?? "") };
}

it("shows the four steps and writes the file for users", async () => {
  const archive = makeArchive('{name: all is well, ansible.builtin.command: "true", changed_when: false}');
  const { code, out, err } = await sky(["admin", "deploy", "lab.yml", "--vars", "local.yml"]);
  expect(err).toContain("Deploying sky-onprem 9.9.9 on 2 machine(s) of 'lab'.");
  expect(code).toBe(0);
  expect(err).toMatch(/^ +127\.0\.0\.1: V100:4 \(found by nvidia-smi\), 16 CPUs\n +127\.0\.0\.2: V100:4 /m);
  expect(out.split("\n").slice(0, 6)).toEqual([
    "[1/4] Installing on-premise dependencies",
    "[2/4] Auto-detecting cluster resources",
    "[3/4] Launching sky runtime",
    "[4/4] Generating sanitized local yaml file",
    "Saved in ~/.sky/local/lab.yml",
    "Successfully deployed local cluster 'lab'",
  ]);
  for (const host of ["127.0.0.1", "127.0.0.2"]) {
    expect(readFileSync(join(home, `on-${host}`), "utf8")).toBe(`lab {"x64": "${archive}"}`);
  }
  const written = readFileSync(join(home, ".sky/local/lab.yml"), "utf8");
  expect(written).toContain("ssh_user: PLACEHOLDER");
  expect(written).not.toContain("root");
  const status = await sky(["status"]);
  expect(status.out).toMatch(/^lab +- +- +- +-$/m);
});

it("keeps a copy of a registration that was filled in", async () => {
  makeArchive('{name: all is well, ansible.builtin.command: "true", changed_when: false}');
  mkdirSync(join(home, ".sky/local"), { recursive: true });
  writeFileSync(join(home, ".sky/local/lab.yml"), readFileSync(join(home, "lab.yml")));
  const { code, err } = await sky(["admin", "deploy", "lab.yml", "--vars", "local.yml"]);
  expect(code).toBe(0);
  expect(err).toContain("is kept as");
  expect(readFileSync(join(home, ".sky/local/lab.yml.bak"), "utf8")).toContain("ssh_user: root");
});

it("says which machine failed at what, writes no file, and ends with 1", async () => {
  makeArchive("{name: the coordinator answers, ansible.builtin.command: \"sh -c 'echo port is taken >&2; exit 3'\"}");
  const { code, out, err } = await sky(["admin", "deploy", "lab.yml", "--vars", "local.yml"]);
  expect(code).toBe(1);
  expect(out).toContain("[3/4]");
  expect(out).not.toContain("[4/4]");
  expect(err).toMatch(/127\.0\.0\.1: the coordinator answers:\n {2}non-zero return code\n {2}port is taken/);
  expect(err).toContain(`${home}/.sky/onprem/deploy-lab.log`);
  expect(readFileSync(join(home, ".sky/onprem/deploy-lab.log"), "utf8")).toContain("PLAY RECAP");
  expect(existsSync(join(home, ".sky/local/lab.yml"))).toBe(false);
});

it("says how to get ansible where there is none", async () => {
  makeArchive('{name: x, ansible.builtin.command: "true"}');
  const { code, err } = await sky(["admin", "deploy", "lab.yml"], { PATH: "/nonexistent" });
  expect(code).toBe(1);
  expect(err).toContain("ansible-playbook is not installed on this machine.");
  expect(err).toContain("sudo apt install ansible-core");
});

it("refuses a file that is not filled in, and the place of the users' file", async () => {
  writeFileSync(
    join(home, "raw.yml"),
    "cluster: {ips: [a], name: raw}\nauth: {ssh_user: PLACEHOLDER, ssh_private_key: x}\n",
  );
  expect((await sky(["admin", "deploy", "raw.yml"])).err).toContain("Please fill aforementioned fields");
  mkdirSync(join(home, ".sky/local"), { recursive: true });
  writeFileSync(join(home, ".sky/local/lab.yml"), readFileSync(join(home, "lab.yml")));
  const { code, err } = await sky(["admin", "deploy", ".sky/local/lab.yml"]);
  expect(code).toBe(1);
  expect(err).toContain("Move it, for example to ~/lab-admin.yml");
  expect((await sky(["admin", "deploy", "missing.yml"])).err).toContain(
    `The cluster file ${home}/missing.yml cannot be read`,
  );
  expect((await sky(["admin", "deploy", "lab.yml", "--vars", "no.yml"])).err).toContain(
    `The file of settings ${home}/no.yml does not exist.`,
  );
});
