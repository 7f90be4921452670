/**
 * Which wire protocols this version speaks with its neighbours across a node's connection, and the only place that knows
 * what a peer of the protocol before may be sent. A release speaks its own protocol and the one before, so that
 * coordinator and agents may be one version apart in either direction. Nothing else may leave out a field for an old
 * peer's sake. Called by agent/link.ts and coordinator/fleet-session.ts, for what they send and for what they receive.
 */
import {
  type Accelerator,
  agentProtocol,
  type Desired,
  type FromAgent,
  type Inventory,
  type Report,
  type ToAgent,
  type WantedAttempt,
} from "./agent-wire.ts";

declare const __SKY_NEWEST_PROTOCOL__: number | undefined;

export type Protocol = 1 | 2;

/** The newest that is offered; a development build may be limited to an older one (`scripts/build --newest-protocol 1`). */
const newest: Protocol =
  typeof __SKY_NEWEST_PROTOCOL__ === "number" && __SKY_NEWEST_PROTOCOL__ === 1 ? 1 : agentProtocol;

/** Subsystem of the control channel; by its name a peer says and learns which protocol the session has. */
const subsystems: Record<Protocol, string> = { 1: "sky-agent", 2: "sky-agent-2" };

/** Newest first: the agent asks for one after the other until the coordinator accepts one. */
export const offeredProtocols: readonly Protocol[] = ([2, 1] as const).filter((protocol) => protocol <= newest);

export function subsystemOf(protocol: Protocol): string {
  return subsystems[protocol];
}

/** The protocol of a session whose control channel has this subsystem; null when it is not served. */
export function protocolOf(subsystem: string): Protocol | null {
  return offeredProtocols.find((protocol) => subsystems[protocol] === subsystem) ?? null;
}

/**
 * The message as a session of this protocol carries it; null when that protocol does not know it. Gives back the same
 * object when nothing had to be changed.
 */
export function toAgentIn(protocol: Protocol, message: ToAgent): ToAgent | null {
  if (message.type === "welcome") {
    return message.protocol === protocol ? message : { ...message, protocol };
  }
  if (protocol === agentProtocol) {
    return message;
  }
  switch (message.type) {
    case "desired":
      return withoutNews(message);
    case "openStream":
    case "retireSkylet":
      return message;
    case "payloads":
    case "renewed":
    case "inspect":
    case "makeKey":
    case "useKey":
      return null;
  }
}

/**
 * Protocol 1 knows neither leases nor limits. An attempt that needs one and has not begun is not ordered at all: it would
 * run without an end that the coordinator could count on, or with more than it may have. One that has begun is ordered as
 * any other. It knows no warnings either: such a job is ended without one.
 */
function withoutNews(message: Desired): Desired {
  const needsNothing = (one: WantedAttempt): boolean => one.leaseSeconds === undefined && one.limits === undefined;
  const wanted = message.wanted.filter((one) => one.started || needsNothing(one)).map(withoutNewFields);
  const isSame = wanted.length === message.wanted.length && wanted.every((one, at) => one === message.wanted[at]);
  return isSame ? message : { ...message, wanted };
}

function withoutNewFields(wanted: WantedAttempt): WantedAttempt {
  const { leaseSeconds, visibleDevices, warned, limits, grant, ...rest } = wanted;
  const { exclusive, ...oldGrant } = grant;
  const isSame = [leaseSeconds, visibleDevices, warned, limits, exclusive].every((one) => one === undefined);
  return isSame ? wanted : { ...rest, grant: oldGrant };
}

/**
 * Protocol 1 knows neither faults nor devices that an index does not name: it would grant the one and misname the other,
 * so it is not told of them. What else is known of a device is left out.
 */
function oldInventory(inventory: Inventory): Inventory {
  const { driver, os, cpuModel, disks, containers, mechanisms, ...rest } = inventory;
  const isNew = (one: Accelerator): boolean =>
    [one.name, one.vendor, one.uuid, one.pci, one.visible, one.fault].some((field) => field !== undefined);
  const news = [driver, os, cpuModel, disks, containers, mechanisms];
  if (news.every((field) => field === undefined) && !inventory.accelerators.some(isNew)) {
    return inventory;
  }
  const accelerators = inventory.accelerators
    .filter((one) => one.fault === undefined && one.visible === undefined)
    .map(({ index, kind, memoryMb }) => ({ index, kind, memoryMb }));
  return { ...rest, accelerators };
}

/** Also grants of jobs that a newer coordinator started before it was rolled back. */
function oldReport(report: Report): Report {
  const inventory = oldInventory(report.inventory);
  const attempts = report.attempts.map((one) => {
    const { limits, ...old } = one;
    const { exclusive, ...grant } = one.grant;
    return exclusive === undefined && limits === undefined ? one : { ...old, grant };
  });
  const isSame = inventory === report.inventory && attempts.every((one, at) => one === report.attempts[at]);
  return isSame ? report : { ...report, inventory, attempts };
}

/** As `toAgentIn`, for what an agent sends. */
export function fromAgentIn(protocol: Protocol, message: FromAgent): FromAgent | null {
  if (message.type === "hello") {
    return message.protocol === protocol ? message : { ...message, protocol };
  }
  if (protocol === agentProtocol) {
    return message;
  }
  switch (message.type) {
    case "report":
      return oldReport(message);
    case "refused":
    case "streamFailed":
      return message;
    case "renew":
    case "vitals":
    case "newKey":
      return null;
  }
}
