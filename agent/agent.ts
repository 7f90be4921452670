/**
 * Puts the agent together: folders, ledger, core, loop, users' socket and the connection to the coordinator, in the
 * order in which they need each other. After a start nothing is assumed: the ledger says what was promised, and the
 * skylets that come back say what is there. Called by agent/main.ts, and by tests with a config of their own.
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import type { FromAgent, Inventory } from "../shared/agent-wire.ts";
import { SkyError } from "../shared/errors.ts";
import type { Uid } from "../shared/ids.ts";
import { Cgroups } from "./cgroup.ts";
import { Clearing } from "./clearing.ts";
import type { AgentConfig } from "./config.ts";
import { initialAgentState } from "./core/reduce.ts";
import type { AgentState, LedgerEntry } from "./core/state.ts";
import { checkSocketPath, secureFolder, socketPathOf, unreadablePart } from "./folders.ts";
import { Inspections } from "./inspections.ts";
import { type Found, readInventory } from "./inventory.ts";
import { Ledger, type LedgerContents } from "./ledger.ts";
import { Linger } from "./linger.ts";
import { Link, readLinkKeys } from "./link.ts";
import { AgentLoop } from "./loop.ts";
import { userMechanisms } from "./mechanisms.ts";
import { Orders } from "./orders.ts";
import { Payloads } from "./payloads.ts";
import { uptimeMs } from "./processes.ts";
import { type Installed, SkyletStarts } from "./skylet-starts.ts";
import { SkyletStreams } from "./skylet-streams.ts";
import { Skylets } from "./skylets.ts";
import { startReporter } from "./spawn.ts";
import { RealMachine } from "./tools.ts";
import { Units } from "./units.ts";
import { UserLog } from "./user-log.ts";
import { Watch, withSeen } from "./watch.ts";

const warningsMax = 50;

export interface Agent {
  readonly state: AgentState;
  /** Reads the ledger's identity again and connects anew; what an admin confirmed is taken over then. */
  reconnect(): void;
  /** Lets go of socket and connection; running jobs and skylets are not touched. */
  stop(): Promise<void>;
}

/** The config with both folders checked, made and without symbolic links. Throws a SkyError when one is not safe. */
export async function prepareFolders(config: AgentConfig): Promise<AgentConfig> {
  const uid = process.getuid?.() ?? -1;
  if (!config.single_user && uid !== 0) {
    const hint = "Start it as root, or set single_user: true to run your own jobs only.";
    throw new SkyError("PermissionDeniedError", "The agent must be root to start jobs as their users.", hint);
  }
  if (config.single_user && uid === 0) {
    const hint = "Start it as that user, or remove single_user and name root in users.allow.";
    throw new SkyError(
      "PermissionDeniedError",
      "single_user is for an agent that an ordinary user starts, not root.",
      hint,
    );
  }
  checkSocketPath(config.runtime_dir);
  const stateDir = await secureFolder(config.state_dir, uid, 0o700);
  const runtimeDir = await secureFolder(config.runtime_dir, uid, 0o755);
  checkSocketPath(runtimeDir);
  return { ...config, state_dir: stateDir, runtime_dir: runtimeDir };
}

/** What ordinary users need to reach and cannot, one text each. */
async function unreachable(config: AgentConfig, installed: Installed): Promise<string[]> {
  if (config.single_user) {
    return [];
  }
  const texts: string[] = [];
  for (const path of [installed.node, installed.script, installed.bundle, config.runtime_dir]) {
    const part = await unreadablePart(path);
    if (part !== null) {
      texts.push(`Users cannot reach ${path}, which their jobs need: ${part} is closed to them.`.slice(0, 500));
    }
  }
  return texts;
}

/** The attempts' cgroups; those that are empty and in nobody's ledger are removed. */
async function openCgroups(
  config: AgentConfig,
  units: Units | null,
  entries: LedgerEntry[],
  log: Logger,
): Promise<Cgroups> {
  const holder = units === null ? null : await Units.holderGroup();
  const cgroups = config.single_user ? Cgroups.none() : await Cgroups.open(config.node, holder);
  const known = new Set<string>(entries.map((entry) => entry.wanted.attempt));
  await cgroups.sweep((attempt) => known.has(attempt));
  log.info({ cgroups: cgroups.folder }, cgroups.folder === null ? "no cgroups of version 2 to use" : "using cgroups");
  return cgroups;
}

/** The inventory with what jobs can be held to here. */
async function withMechanisms(
  inventory: Inventory,
  config: AgentConfig,
  units: Units | null,
  cgroups: Cgroups,
): Promise<Inventory> {
  const mode = config.single_user ? "own" : units === null ? "plain" : "session";
  const mechanisms = [...(await cgroups.mechanisms()), ...(await userMechanisms(mode))];
  return mechanisms.length === 0 ? inventory : { ...inventory, mechanisms };
}

async function readBootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

/** The whole inventory: what is declared, read once, and the first look at the accelerators. */
async function readMachine(
  config: AgentConfig,
  installed: Installed,
  bootId: string,
  entries: readonly LedgerEntry[],
  log: Logger,
): Promise<Found & { watch: Watch }> {
  const logs = join(config.state_dir, "tool-logs");
  await mkdir(logs, { recursive: true, mode: 0o700 });
  const machine = new RealMachine(config.tool_folders, logs);
  const watch = await Watch.open(config, machine, bootId, log);
  const found = await readInventory(config, installed.hardware ?? null);
  if (config.accelerators !== undefined) {
    return { ...found, watch };
  }
  const seen = await watch.look((index) => entries.some((entry) => entry.wanted.grant.devices.includes(index)));
  return { watch, inventory: withSeen(found.inventory, seen), warnings: [...found.warnings, ...seen.warnings] };
}

/** What the ledger says was promised, in this boot of the machine. */
function openState(
  config: AgentConfig,
  bootId: string,
  contents: LedgerContents,
  inventory: Inventory,
  warnings: string[],
): AgentState {
  const { stateId, epoch } = contents.identity;
  return initialAgentState({
    node: config.node,
    bootId,
    inventory,
    warnings: warnings.slice(0, warningsMax),
    identity: stateId === null ? null : { stateId, epoch },
    entries: contents.entries,
  });
}

/** `link`: the connection to the coordinator, once it is made. */
function openStreams(state: AgentState, link: () => Link, userLog: UserLog): SkyletStreams {
  return new SkyletStreams(
    {
      entry: (attempt) => state.attempts.get(attempt)?.entry,
      openStream: (id) => link().openStream(id),
      openPayload: (attempt) => link().openPayload(attempt),
      openFiles: (attempt) => link().openFiles(attempt),
      streamFailed: (id, error) => link().send({ type: "streamFailed", id, error }),
    },
    userLog,
  );
}

function openInspections(
  config: AgentConfig,
  installed: Installed,
  asUnit: boolean,
  link: () => Link,
  log: Logger,
): Inspections {
  return new Inspections({
    doctor: config.single_user ? null : (installed.doctor ?? null),
    launch: (words, question, id) => startReporter(words, question, asUnit ? `sky-doctor-${id}` : null),
    openStream: (id) => link().openStream(id),
    failed: (id, error) => link().send({ type: "streamFailed", id, error }),
    log,
  });
}

function tellStart(log: Logger, units: Units | null, { mechanisms = [] }: Inventory, warnings: string[]): void {
  log.info({ systemd: units !== null }, `users' sessions are ${units === null ? "opened plainly" : "systemd's units"}`);
  log.info({ mechanisms }, "what jobs can be held to here");
  warnings.forEach((warning) => log.warn(warning));
}

/** Starts the agent; resolves when users' skylets can connect and the coordinator is being dialled. */
export async function startAgent(given: AgentConfig, installed: Installed, log: Logger): Promise<Agent> {
  const config = await prepareFolders(given);
  const keys = await readLinkKeys(config);
  await keys.node.tidy(log);
  const ledger = new Ledger(config.state_dir);
  const contents = await ledger.read();
  const [bootId, units] = await Promise.all([readBootId(), Units.find(config)]);
  const { watch, inventory, warnings } = await readMachine(config, installed, bootId, contents.entries, log);
  const cgroups = await openCgroups(config, units, contents.entries, log);
  const others = [...contents.warnings, ...(await unreachable(config, installed))];
  const able = await withMechanisms(inventory, config, units, cgroups);
  const state = openState(config, bootId, contents, able, [...others, ...warnings]);
  tellStart(log, units, able, [...others, ...warnings]);
  const userLog = new UserLog(log);
  const hasAttempts = (uid: Uid): boolean =>
    [...state.attempts.values()].some((attempt) => attempt.entry.wanted.uid === uid);
  const linger = units?.isInstalled === true ? new Linger(config.state_dir, log, hasAttempts) : null;
  await linger?.start(contents.entries.map((entry) => entry.wanted.uid));
  const sendCoordinator = (message: FromAgent): void => link.send(message);
  const loop: AgentLoop = new AgentLoop(state, {
    ledger,
    ensureSkylet: (uid, user) => skylets.ensure(uid, user),
    sendSkylet: (uid, message) => skylets.send(uid, message),
    clearAttempt: (uid, attempt) => clearing.overdue(uid, attempt),
    uptimeMs,
    sendCoordinator,
    log,
    userLog,
  });
  const clearing = new Clearing(cgroups, log, (event) => loop.settle(event));
  const payloads = new Payloads();
  const skylets = new Skylets({
    socketPath: socketPathOf(config.runtime_dir),
    starts: new SkyletStarts(config, installed, units),
    streams: openStreams(state, () => link, userLog),
    cgroups,
    clearing,
    log,
    userLog,
    dispatch: (event) => loop.dispatch(event),
    settle: (event) => loop.settle(event),
    entry: (attempt) => state.attempts.get(attempt)?.entry,
    payload: (attempt) => payloads.take(attempt),
    hasAttempts,
    onJob: (uid) => linger?.hold(uid),
  });
  const redial = (): void => link.redial();
  const inspections = openInspections(config, installed, units !== null, () => link, log);
  const orders: Orders = new Orders({
    ...{ sendCoordinator, config, ledger, loop, skylets, payloads, log, redial, installed, inspections },
    key: keys.node,
    use: () => watch.use(),
  });
  const link: Link = new Link(config, keys, orders, log);
  await skylets.listen();
  loop.dispatch({ type: "resumed" });
  link.start();
  watch.start(state, others, (event) => loop.dispatch(event));
  return {
    state,
    reconnect: redial,
    stop: async () => {
      watch.stop();
      orders.stop();
      link.stop();
      await skylets.close();
      await loop.idle();
    },
  };
}
