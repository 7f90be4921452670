/**
 * Which public keys prove that a caller is a node. The config names one; a node may have made another since, which counts
 * beside the present one until the node has connected with it, and alone from then on. A key is handed to the node for
 * use only after it is on disk here, because the node gives its old one up. Pure; called by nodes.ts, the start-up (to
 * bring what is stored in line with the config) and the listener for agents.
 */
import type { NodeName } from "../../shared/ids.ts";
import type { NodeAdmin, NodeKey } from "../../shared/node-admin.ts";
import type { Context } from "./jobs.ts";
import type { CoreConfig, NodeState, State } from "./state.ts";

/** The first wire protocol that knows of new keys and vitals. */
const adminProtocol = 2;

/** The node's present connection knows makeKey, useKey and vitals. */
export function knowsAdmin(node: NodeState): boolean {
  return node.connected && (node.protocol ?? 0) >= adminProtocol;
}

function configuredKey(config: CoreConfig, name: NodeName): string | null {
  return config.nodes.find((node) => node.name === name)?.key ?? null;
}

/** The key that counts while no other has been made or used. */
function presentKey(configured: string, change: NodeKey | null): string {
  return change === null ? configured : change.used ? change.key : change.replaces;
}

/** Keys by which this node may connect now: none for a node that is unknown or removed. */
export function keysOf(state: State, name: NodeName): string[] {
  const configured = configuredKey(state.config, name);
  const admin = state.nodes.get(name)?.admin;
  if (configured === null || admin === undefined || admin.state === "removed") {
    return [];
  }
  const present = presentKey(configured, admin.key);
  return admin.key === null || admin.key.used ? [present] : [present, admin.key.key];
}

function save(context: Context, node: NodeState, key: NodeKey): void {
  node.admin = { ...node.admin, key };
  context.effects.push({ type: "saveNodeAdmin", node: node.name, admin: node.admin });
}

export function onKeyMade(context: Context, name: NodeName, key: string): void {
  const { state } = context;
  const node = state.nodes.get(name);
  const configured = configuredKey(state.config, name);
  if (node !== undefined && configured !== null) {
    save(context, node, { configured, replaces: presentKey(configured, node.admin.key), key, used: false });
  }
}

/** The node has proved that it has this key: a new one that it has connected with is the only one from now on. */
export function noteKeyOfConnection(context: Context, node: NodeState, key: string | undefined): void {
  const change = node.admin.key;
  if (change !== null && !change.used && key === change.key) {
    save(context, node, { ...change, used: true });
    const fields = { node: node.name };
    const text = "The node uses its new key. The one before is refused from now on.";
    context.effects.push({ type: "log", level: "info", text, fields });
  }
}

/** Tells the node to use the key that it has made, if that is on disk and the node listens. Repeating it is fine. */
export function offerKey(context: Context, node: NodeState): void {
  const change = node.admin.key;
  if (change === null || change.used || change.key !== node.keyOnDisk || !node.heard || !knowsAdmin(node)) {
    return;
  }
  context.effects.push({ type: "tellNode", node: node.name, message: { type: "useKey", key: change.key } });
}

export function onNodeAdminSaved(context: Context, name: NodeName, admin: NodeAdmin): void {
  const node = context.state.nodes.get(name);
  if (node !== undefined) {
    node.keyOnDisk = admin.key?.key ?? null;
    offerKey(context, node);
  }
}

/**
 * What is stored, laid over the config's nodes: entries of nodes that are gone are dropped, and a changed key is when
 * the config has it too or has another one than was known then. `changed` is what the store must be told; null: drop it.
 */
export function layOver(
  nodes: CoreConfig["nodes"],
  stored: ReadonlyMap<NodeName, NodeAdmin>,
): { admins: Map<NodeName, NodeAdmin>; changed: Map<NodeName, NodeAdmin | null> } {
  const admins = new Map<NodeName, NodeAdmin>();
  const changed = new Map<NodeName, NodeAdmin | null>();
  for (const [name, admin] of stored) {
    const node = nodes.find((one) => one.name === name);
    if (node === undefined) {
      changed.set(name, null);
      continue;
    }
    const key = keyUnder(node.key ?? "", admin.key);
    const now = { ...admin, key };
    admins.set(name, now);
    if (JSON.stringify(key) !== JSON.stringify(admin.key)) {
      changed.set(name, now);
    }
  }
  return { admins, changed };
}

function keyUnder(configured: string, change: NodeKey | null): NodeKey | null {
  if (change === null || configured === change.key) {
    return null;
  }
  return configured === change.configured || configured === change.replaces ? { ...change, configured } : null;
}
