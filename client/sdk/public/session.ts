/**
 * What the functions for programs share inside one process: who and where the caller is, and the connections to clusters.
 * A connection is kept while it is used and a moment longer, so that calls in a row share it and a program ends by itself
 * when it is done. It must never print and never ask: a program has no person at its side.
 */
import { homedir } from "node:os";
import { basename } from "node:path";
import pc from "picocolors";
import { SkyError } from "../../../shared/errors.ts";
import { clusterNameSchema } from "../../../shared/ids.ts";
import { findLocal, type LocalCluster, requireInitialized } from "../../commands/clusters.ts";
import type { Context } from "../../commands/context.ts";
import type { Screen } from "../../output/screen.ts";
import type { RegisteredCluster } from "../../local/registered.ts";
import { connectHead } from "../../ssh/connect.ts";
import { type Calls, createCalls } from "../calls.ts";
import { Transport } from "../transport.ts";
import { InvalidClusterNameError, ValueError } from "./exceptions.ts";
import { shownValue } from "./fields.ts";

/** Milliseconds for which an unused connection is kept. */
const idleMs = 300;
/** Streams that share a connection: each holds one of its four places while it lasts. */
const streamsPerConnection = 4;

const nothing = (): void => undefined;
const noColors = pc.createColors(false);

/** A terminal that shows nothing and answers nothing. */
const silence: Screen = {
  print: nothing,
  note: nothing,
  write: async () => undefined,
  colors: noColors,
  noteColors: noColors,
  columns: Number.POSITIVE_INFINITY,
  confirm: async () => {
    throw new SkyError("ValueError", "A program cannot be asked.");
  },
  ask: async () => null,
  progress: { show: nothing, wait: nothing, clear: nothing, endWait: nothing },
  interactive: false,
};

async function connect(cluster: RegisteredCluster): ReturnType<Context["connect"]> {
  return connectHead(cluster, {
    interactive: false,
    confirmHostKey: async () => false,
    passphrase: async () => null,
  });
}

/** The program as the commands' own code sees it: without a terminal, with the process's home, folder and variables. */
export function programContext(): Context {
  const home = process.env["HOME"] ?? "";
  const script = process.argv[1];
  return {
    screen: silence,
    env: process.env,
    home: home === "" ? homedir() : home,
    cwd: process.cwd(),
    commandLine: script === undefined ? "a program" : `node ${basename(script)}`,
    now: () => Date.now() / 1000,
    connect,
    interrupted: () => ({ signal: new AbortController().signal, done: nothing }),
  };
}

/** Throws for what cannot be the name of a cluster. */
function checkName(name: unknown): asserts name is string {
  if (typeof name !== "string" || name === "") {
    throw new ValueError(`The name of a cluster is missing: found ${shownValue(name)}.`, {
      hint: "`sky status` lists the clusters that are registered in ~/.sky/local.",
    });
  }
  if (!clusterNameSchema.safeParse(name).success) {
    throw new InvalidClusterNameError(`${shownValue(name)} cannot be the name of a cluster.`, {
      hint: "Names are letters, digits, '.', '_' and '-', with a letter or digit at both ends.",
    });
  }
}

/** A registered cluster. Throws InvalidClusterNameError, or SkyError("ClusterDoesNotExist"). */
export function registeredCluster(name: unknown): LocalCluster {
  checkName(name);
  return findLocal(programContext(), name);
}

/** A cluster that was launched on from this machine. Throws as `registeredCluster`, and SkyError("ClusterNotUpError"). */
export function initializedCluster(name: unknown): LocalCluster {
  checkName(name);
  return requireInitialized(programContext(), name);
}

interface Pooled {
  transport: Transport;
  users: number;
  idle: NodeJS.Timeout | null;
}

/** Connections by what they are for; a changed registration is another cluster. */
const pool = new Map<string, Pooled[]>();

function take(key: string, cluster: LocalCluster, usersMax: number): Pooled {
  const found = pool.get(key) ?? [];
  pool.set(key, found);
  let pooled = found.find((one) => one.users < usersMax);
  if (pooled === undefined) {
    const transport = new Transport(cluster.name, () => connect(cluster.registered));
    pooled = { transport, users: 0, idle: null };
    found.push(pooled);
  }
  clearTimeout(pooled.idle ?? undefined);
  pooled.idle = null;
  pooled.users += 1;
  return pooled;
}

function giveBack(key: string, pooled: Pooled): void {
  pooled.users -= 1;
  if (pooled.users > 0) {
    return;
  }
  pooled.idle = setTimeout(() => {
    pooled.transport.close();
    const left = (pool.get(key) ?? []).filter((one) => one !== pooled);
    if (left.length === 0) {
      pool.delete(key);
    } else {
      pool.set(key, left);
    }
  }, idleMs);
}

async function lent<T>(
  kind: "calls" | "streams",
  cluster: LocalCluster,
  work: (transport: Transport) => Promise<T>,
): Promise<T> {
  const key = `${kind} ${JSON.stringify(cluster.registered)}`;
  const pooled = take(key, cluster, kind === "calls" ? Number.POSITIVE_INFINITY : streamsPerConnection);
  try {
    return await work(pooled.transport);
  } finally {
    giveBack(key, pooled);
  }
}

/** Does something over the connection to this cluster that all calls share. */
export async function withTransport<T>(cluster: LocalCluster, work: (transport: Transport) => Promise<T>): Promise<T> {
  return lent("calls", cluster, work);
}

/** The same with the calls of the API. */
export async function withCalls<T>(cluster: LocalCluster, work: (calls: Calls) => Promise<T>): Promise<T> {
  return lent("calls", cluster, (transport) => work(createCalls(transport, nothing)));
}

/** The same for what takes as long as a job: a few of them share a connection of their own, so that they hold up no call. */
export async function withStream<T>(cluster: LocalCluster, work: (calls: Calls) => Promise<T>): Promise<T> {
  return lent("streams", cluster, (transport) => work(createCalls(transport, nothing)));
}
