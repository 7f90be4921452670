/**
 * The cluster as SkyPilot's clients want to see it: the record of `status` and the handle. Required fields that mean
 * nothing on machines one owns have fixed values. Pure; it must never hold an address with credentials. Called by the
 * routes of submissions and of the cluster.
 */
import type { NodeRow } from "../../shared/api.ts";

/** A handle in the form that SkyPilot's client reads from JSON; without addresses it writes no SSH config. */
export function handleOf(clusterName: string, nodes: number): { cluster_name: string } & Record<string, unknown> {
  return {
    cluster_name: clusterName,
    cluster_name_on_cloud: clusterName,
    cluster_yaml: null,
    launched_nodes: nodes,
    launched_resources: { infra: `ssh/${clusterName}` },
    stable_internal_external_ips: null,
    stable_ssh_ports: null,
    docker_user: null,
    ssh_user: null,
    is_grpc_enabled: false,
  };
}

function nodeText(node: NodeRow): string {
  const accelerators = Object.entries(node.accelerators).map(([kind, count]) => `${kind}:${count}`);
  const gpus = accelerators.length === 0 ? "" : `gpus=${accelerators.join("+")}, `;
  return node.state === "NEVER_SEEN"
    ? "(not seen yet)"
    : `(${gpus}cpus=${node.cpus}, mem=${Math.floor(node.memory_gb)})`;
}

/** `2x(gpus=V100:4, cpus=32, mem=128), 1x(cpus=8, mem=32)`: equal nodes are counted together. */
export function resourcesStr(nodes: readonly NodeRow[]): string {
  const counts = new Map<string, number>();
  for (const node of nodes) {
    const text = nodeText(node);
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([text, count]) => `${count}x${text}`).join(", ");
}

export interface ClusterRecordFacts {
  clusterName: string;
  stateId: string;
  /** Seconds since 1970 at which this API began to serve. */
  launchedAt: number;
  user: { hash: string; name: string };
  nodes: readonly NodeRow[];
  /** Default: true. */
  withHandle?: boolean;
}

function sum(nodes: readonly NodeRow[], of: (node: NodeRow) => number): number {
  return nodes.reduce((all, node) => all + of(node), 0);
}

/** `{'V100': 4}`, as Python writes it; null when there are none. */
function acceleratorsText(nodes: readonly NodeRow[]): string | null {
  const kinds = new Map<string, number>();
  for (const [kind, count] of nodes.flatMap((node) => Object.entries(node.accelerators))) {
    kinds.set(kind, (kinds.get(kind) ?? 0) + count);
  }
  const text = [...kinds].map(([kind, count]) => `'${kind}': ${count}`).join(", ");
  return text === "" ? null : `{${text}}`;
}

/** One record of `status`. UP as soon as one node is. */
export function clusterRecord(facts: ClusterRecordFacts): Record<string, unknown> {
  const resources = resourcesStr(facts.nodes);
  return {
    name: facts.clusterName,
    launched_at: facts.launchedAt,
    status: facts.nodes.some((node) => node.state === "UP") ? "UP" : "INIT",
    autostop: -1,
    to_down: false,
    cluster_hash: facts.stateId,
    cluster_ever_up: true,
    user_hash: facts.user.hash,
    user_name: facts.user.name,
    workspace: "default",
    is_managed: false,
    nodes: facts.nodes.length,
    ...(facts.withHandle === false ? {} : { handle: handleOf(facts.clusterName, facts.nodes.length) }),
    last_use: "",
    status_updated_at: facts.launchedAt,
    owner: null,
    metadata: null,
    last_event: null,
    credentials: null,
    resources_str: resources,
    resources_str_full: resources,
    infra: `Local (${facts.clusterName})`,
    cloud: "Local",
    region: facts.clusterName,
    cpus: String(sum(facts.nodes, (node) => node.cpus)),
    memory: String(Math.floor(sum(facts.nodes, (node) => node.memory_gb))),
    accelerators: acceleratorsText(facts.nodes),
    labels: {},
    node_names: facts.nodes.map((node) => node.name),
  };
}
