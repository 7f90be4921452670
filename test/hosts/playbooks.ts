/**
 * The product's playbooks as an admin types them, against machines of a test: an inventory in the world's folder, a run,
 * and what ansible said about each machine. Nothing is checked here. Used by the tests of the playbooks.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { World } from "./machines.ts";
import { checkout } from "./release.ts";

/** How a machine came out of a run. */
export interface Recap {
  ok: number;
  changed: number;
  unreachable: number;
  failed: number;
}

export interface PlaybookResult {
  code: number | null;
  text: string;
  /** By the machine's name in the inventory; machines that no play reached are missing. */
  machines: Record<string, Recap>;
  seconds: number;
}

export interface Inventory {
  vars: Record<string, unknown>;
  head: string;
  /** With variables of their own. */
  nodes: Record<string, Record<string, unknown>>;
  clients?: string[];
}

const limitMs = 400_000;

/** Runs a playbook; `words` are further arguments, e.g. `["--limit", "n1"]`. */
export async function runPlaybook(
  world: World,
  name: string,
  { vars, head, nodes, clients = [] }: Inventory,
  words: readonly string[] = [],
): Promise<PlaybookResult> {
  const named = (one: string, own: object = {}): object => ({ ansible_host: world.machine(one).address, ...own });
  const inventory = {
    all: { vars: { ansible_user: "root", ansible_ssh_common_args: `-F ${world.sshConfig}`, ...vars } },
    sky_head: { hosts: { [head]: named(head) } },
    sky_nodes: { hosts: Object.fromEntries(Object.entries(nodes).map(([one, own]) => [one, named(one, own)])) },
    sky_clients: { hosts: Object.fromEntries(clients.map((one) => [one, named(one)])) },
  };
  const file = join(world.folder, "inventory.yml");
  writeFileSync(file, stringify(inventory));
  const argv = ["ansible-playbook", "-i", file, name, ...words];
  const cwd = join(checkout, "ansible");
  const begun = performance.now();
  const result = await world.run(argv, { cwd, limitMs });
  const text = `${result.stdout}\n${result.stderr}`;
  const rows = text.matchAll(/^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)/gm);
  const machines = [...rows].map(([, one = "", ok, changed, unreachable, failed]) => [
    one,
    { ok: Number(ok), changed: Number(changed), unreachable: Number(unreachable), failed: Number(failed) },
  ]);
  return {
    code: result.code,
    text,
    machines: Object.fromEntries(machines) as Record<string, Recap>,
    seconds: Math.round((performance.now() - begun) / 1000),
  };
}
