/**
 * A cluster file of the old form as an inventory for the playbook: the first machine is the head, all of them are nodes.
 * Pure. It must never hold a password; keys are named by path only. Called by commands/admin/deploy.ts.
 */
import { SkyError } from "../../shared/errors.ts";
import type { RegisteredCluster, RegisteredHost } from "../local/registered.ts";

/** Ansible's inventory in the form that it reads from a .json or .yml file. */
export interface Inventory {
  all: {
    vars: Record<string, unknown>;
    children: Record<string, { hosts: Record<string, Record<string, unknown>> }>;
  };
}

/** Archives by machine architecture, e.g. `x64` → path. */
export type Releases = Record<string, string>;

/**
 * The path as ansible may have it. Ansible takes braces in any variable for a template, which it runs on the machine of
 * the admin: a cluster file that somebody else wrote would run commands there. Throws SkyError for such a path.
 */
function literal(path: string, what: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/\{[{%#]|[\u0000-\u001f]/.test(path)) {
    const text = `The path of ${what} holds characters that ansible would act on: ${JSON.stringify(path.slice(0, 200))}.`;
    throw new SkyError("ValueError", text, "Give the file or its folder another name.");
  }
  return path;
}

function hostVariables(cluster: RegisteredCluster, host: RegisteredHost): Record<string, unknown> {
  const user = host.user ?? cluster.user;
  const port = host.port ?? cluster.port;
  return {
    ansible_host: host.host,
    ansible_user: user,
    ...(user === "root" ? {} : { ansible_become: true }),
    ...(port === null ? {} : { ansible_port: port }),
  };
}

/**
 * Keys that are new are taken over, as a first `ssh` would after "yes"; a key that has changed stops everything. The
 * jump host's characters are checked when the file is read.
 */
function sshArguments(cluster: RegisteredCluster): string {
  const jump = cluster.jumpHost === null ? "" : ` -o ProxyJump=${cluster.jumpHost}`;
  return `-o StrictHostKeyChecking=accept-new${jump}`;
}

/** The inventory; `releases` are absolute paths on this machine. Throws SkyError for a path that ansible would act on. */
export function inventoryOf(cluster: RegisteredCluster, releases: Releases): Inventory {
  const hosts = Object.fromEntries(cluster.hosts.map((host) => [host.host, hostVariables(cluster, host)]));
  const head = cluster.hosts[0] as RegisteredHost;
  return {
    all: {
      vars: {
        sky_cluster: cluster.name,
        sky_releases: Object.fromEntries(
          Object.entries(releases).map(([architecture, path]) => [architecture, literal(path, "the release")]),
        ),
        // The file for users is written by the command itself.
        sky_registration: "",
        ...(cluster.privateKey === null
          ? {}
          : { ansible_ssh_private_key_file: literal(cluster.privateKey, "the key") }),
        ansible_ssh_common_args: sshArguments(cluster),
      },
      children: {
        sky_head: { hosts: { [head.host]: hosts[head.host] ?? {} } },
        sky_nodes: { hosts },
      },
    },
  };
}
