/**
 * `sky admin deploy CLUSTER.yml`: turns the machines of a cluster file into a cluster, or brings one to another release,
 * by running the release's own playbooks over SSH, and writes the file that users register. The steps and their texts are
 * SkyPilot On-prem's. It must never keep a password, and never overwrite a registration that was filled in without
 * leaving a copy.
 */
import { lookup } from "node:dns/promises";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { stringify } from "yaml";
import { messageOf, SkyError } from "../../../shared/errors.ts";
import { inventoryOf } from "../../ansible/inventory.ts";
import { requireAnsible, runPlaybook, tasksOf } from "../../ansible/playbook.ts";
import { extractPlaybooks, findReleases } from "../../ansible/release.ts";
import type { PlaybookEvent } from "../../ansible/transcript.ts";
import { readRegistration, type RegisteredCluster, requireFilledIn } from "../../local/registered.ts";
import { wrap } from "../../output/table.ts";
import type { Context } from "../context.ts";

export interface DeployFlags {
  release: string[];
  /** Files of further variables for the playbook, as `ansible-playbook -e @FILE`. */
  vars: string[];
  askBecomePass?: boolean;
}

/** The plays of site.yml that are steps for the admin; the others belong to the step before them. Source: SkyPilot On-prem. */
const playbookSteps = [
  "Installing on-premise dependencies",
  "Auto-detecting cluster resources",
  "Launching sky runtime",
];
/** The task of the playbook in which each node says what it has. */
const inventoryTask = /(^|: )What the node has$/;
const lastStep = "Generating sanitized local yaml file";
const interruptedCode = 130;
const failuresShown = 10;

interface Failure {
  host: string;
  task: string;
  reason: string;
  unreachable: boolean;
}

/** What the events come to, and what the terminal shows meanwhile. */
class Deployment {
  readonly failures: Failure[] = [];
  /** What each node has, in the words of the playbook. */
  readonly found = new Map<string, string>();
  private readonly context: Context;
  private readonly total: number;
  private done = 0;
  private step = 0;
  private task = "";

  constructor(context: Context, total: number) {
    this.context = context;
    this.total = total;
  }

  take(event: PlaybookEvent): void {
    const { progress } = this.context.screen;
    switch (event.type) {
      case "play":
        this.enter(playbookSteps.indexOf(event.name) + 1);
        return;
      case "task":
        this.done += 1;
        this.task = event.name;
        progress.show(this.done, this.total, event.name);
        return;
      case "failed":
        this.failures.push({ ...event, task: this.task });
        return;
      case "said":
        if (inventoryTask.test(this.task)) {
          this.found.set(event.host, event.text);
        }
        return;
      case "ignored":
        this.failures.pop();
        return;
      case "recap":
        progress.clear();
    }
  }

  /** Says each step once, in order, those included in which there was nothing to do. */
  enter(step: number): void {
    const { screen } = this.context;
    while (this.step < step) {
      this.step += 1;
      screen.progress.clear();
      screen.print(stepText(this.step));
    }
  }
}

function stepText(step: number): string {
  const titles = [...playbookSteps, lastStep];
  return `[${step}/${titles.length}] ${titles[step - 1]}`;
}

/** Runs the command; resolves with its exit code. */
export async function deploy(context: Context, file: string, flags: DeployFlags): Promise<number> {
  const { screen } = context;
  const path = resolve(context.cwd, file);
  const cluster = readCluster(path, context);
  const target = join(context.home, ".sky", "local", `${cluster.name}.yml`);
  if (path === target) {
    const hint = `Move it, for example to ~/${cluster.name}-admin.yml, and deploy that.`;
    throw new SkyError("ValueError", `${path} is the place of the file for users, which deploy writes.`, hint);
  }
  const missing = flags.vars.map((one) => resolve(context.cwd, one)).find((one) => !existsSync(one));
  if (missing !== undefined) {
    throw new SkyError("ValueError", `The file of settings ${missing} does not exist.`);
  }
  const found = findReleases(flags.release, [context.cwd, dirname(path)], context.cwd);
  await requireAnsible(context.env);
  const folder = mkdtempSync(join(tmpdir(), "sky-deploy-"));
  const interruption = context.interrupted();
  try {
    const [archive] = Object.values(found.releases) as [string];
    const playbook = join(await extractPlaybooks(archive, folder), "site.yml");
    const inventory = join(folder, "inventory.json");
    writeFileSync(inventory, JSON.stringify(inventoryOf(cluster, found.releases), null, 2), { mode: 0o600 });
    const transcript = transcriptFile(context, cluster.name);
    const options = [
      ...flags.vars.flatMap((one) => ["-e", `@${resolve(context.cwd, one)}`]),
      ...(flags.askBecomePass === true ? ["--ask-become-pass"] : []),
    ];
    const run = { playbook, inventory, options, env: context.env };
    const deployment = new Deployment(context, await tasksOf(run));
    screen.note(`Deploying sky-onprem ${found.version} on ${cluster.hosts.length} machine(s) of '${cluster.name}'.`);
    const onEvent = (event: PlaybookEvent): void => deployment.take(event);
    const code = await runPlaybook({ ...run, transcript, onEvent, signal: interruption.signal });
    screen.progress.clear();
    if (code !== 0) {
      return report(context, deployment.failures, code, transcript);
    }
    for (const { host } of cluster.hosts) {
      const text = deployment.found.get(host);
      if (text !== undefined) {
        screen.note(wrap(`${host}: ${text}`, "      ", Math.min(screen.columns, 80)));
      }
    }
    deployment.enter(playbookSteps.length + 1);
    await writeForUsers(context, cluster, target);
    return 0;
  } finally {
    screen.progress.clear();
    interruption.done();
    rmSync(folder, { recursive: true, force: true });
  }
}

function readCluster(path: string, context: Context): RegisteredCluster {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new SkyError("ValueError", `The cluster file ${path} cannot be read: ${messageOf(error)}.`);
  }
  const cluster = readRegistration(text, path, context.home);
  requireFilledIn(cluster);
  const names = cluster.hosts.map((host) => host.host);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) {
    throw new SkyError("ValueError", `Invalid cluster YAML: ${path}: cluster.ips names '${twice}' twice.`);
  }
  return cluster;
}

/** What ansible said, kept for the admin; the newest run of a cluster replaces the one before. */
function transcriptFile(context: Context, name: string): string {
  const folder = join(context.home, ".sky", "onprem");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return join(folder, `deploy-${name}.log`);
}

function report(context: Context, failures: Failure[], code: number | null, transcript: string): number {
  const { screen } = context;
  const { red } = screen.noteColors;
  if (code === null) {
    screen.note(red("Stopped. Run the same command again to go on where it stopped."));
    return interruptedCode;
  }
  screen.note(red("Error: The cluster was not deployed."));
  for (const { host, task, reason, unreachable } of failures.slice(0, failuresShown)) {
    screen.note(unreachable ? `${host} cannot be reached:` : `${host}: ${task}:`);
    for (const line of reason.split("\n").slice(0, failuresShown)) {
      screen.note(wrap(line, "  ", Math.min(screen.columns, 100)));
    }
  }
  if (failures.length > failuresShown) {
    screen.note(`… and ${failures.length - failuresShown} more.`);
  }
  screen.note(`Everything that ansible said is in ${transcript}. Mend the cause and run the same command again.`);
  return 1;
}

/** Names as the head's own network knows them may mean nothing elsewhere, so users get addresses, as SkyPilot On-prem gave them. */
async function addressOf(host: string): Promise<string> {
  if (isIP(host) !== 0) {
    return host;
  }
  const found = await lookup(host).catch(() => null);
  const isOwn = found === null || found.address.startsWith("127.") || found.address === "::1";
  return isOwn ? host : found.address;
}

async function writeForUsers(context: Context, cluster: RegisteredCluster, target: string): Promise<void> {
  const { screen } = context;
  const [head, ...others] = cluster.hosts.map((host) => host.host);
  const ips = await Promise.all([head as string, ...others].map(addressOf));
  const auth = {
    ssh_user: "PLACEHOLDER",
    ssh_private_key: "PLACEHOLDER",
    ...(cluster.port === null ? {} : { port: cluster.port }),
    ...(cluster.jumpHost === null ? {} : { jump_host: cluster.jumpHost }),
    ...(cluster.hostKey === null ? {} : { host_key: cluster.hostKey }),
  };
  const text = `# Give this file to the users of the cluster: they put their name and key in.\n${stringify({
    cluster: { ips, name: cluster.name },
    auth,
  })}`;
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  if (existsSync(target) && readFileSync(target, "utf8") !== text) {
    copyFileSync(target, `${target}.bak`);
    screen.note(`What was in ${target} is kept as ${target}.bak.`);
  }
  writeFileSync(target, text, { mode: 0o644 });
  screen.print(`Saved in ~/.sky/local/${cluster.name}.yml`);
  screen.print(screen.colors.green(`Successfully deployed local cluster '${cluster.name}'`));
  screen.note(
    `Put your own name and key into it, then: sky launch -c ${cluster.name} ''\n` +
      "Who is in the group sky-admin on the head may also say: sky admin nodes",
  );
}
