/**
 * One life of the coordinator's state in memory: connections to Redis, everything read and repaired, the loop, the
 * agents. It ends with its first failure and is never mended: whoever holds it closes it and starts another, exactly as
 * after a crash. It must never outlive its connections. Called by coordinator/supervisor.ts.
 */
import { randomInt } from "node:crypto";
import type { NodeName } from "../shared/ids.ts";
import type { NodeAdmin } from "../shared/node-admin.ts";
import { commit, version } from "../shared/version.ts";
import { settleMarks } from "./backup/marks.ts";
import { type CoordinatorConfig, schedulingOf } from "./config.ts";
import { initialState, type Recovered } from "./core/initial.ts";
import { isCounted } from "./core/counted.ts";
import { keysOf, layOver } from "./core/node-keys.ts";
import type { CoreConfig, State } from "./core/state.ts";
import { manifestsInUse } from "./files/in-use.ts";
import { startFileRetention } from "./files/retention.ts";
import type { DiskFileStore } from "./files/store.ts";
import { startFleet } from "./fleet.ts";
import { configuredKeys } from "./fleet-listen.ts";
import type { Log } from "./log.ts";
import { CoreLoop } from "./loop.ts";
import type { Fleet, JobQueue, Loop, Store } from "./parts.ts";
import { filesFor, payloadAtHand, payloadFor } from "./payloads.ts";
import { UserQueues } from "./queue.ts";
import { checkServer, openFence, openPart, type RedisLink } from "./redis.ts";
import { startRetention } from "./retention.ts";
import { openSecrets } from "./secrets.ts";
import { RedisStore } from "./store.ts";
import { startUsageHistory } from "./usage-history.ts";

export interface Generation {
  readonly parts: { loop: Loop; queue: JobQueue; store: Store; fleet: Fleet };
  /** Resolves with the cause when it is of no more use. */
  readonly failed: Promise<Error>;
  /** Ends it; touches no job. */
  close(): Promise<void>;
}

/** Opens, reads, repairs and starts everything. Rejects with a cause for people; nothing is left open then. */
export async function startGeneration(config: CoordinatorConfig, log: Log, files: DiskFileStore): Promise<Generation> {
  const closing: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).reverse()) {
      await step();
    }
  };
  const opened = (link: RedisLink): RedisLink => {
    closing.push(() => link.close());
    return link;
  };
  try {
    const { socket } = config.redis;
    const fence = opened(await openFence(socket));
    await checkServer(fence, socket);
    await settleMarks(config, fence);
    const storeLink = opened(await openPart(socket, "store"));
    const queueLink = opened(await openPart(socket, "queue"));

    const store = new RedisStore(storeLink, openSecrets(config.state_dir), log);
    const queue = new UserQueues(queueLink, {
      finishedKeptSeconds: config.limits.finished_jobs_kept_seconds,
      finishedKeptPerUser: config.limits.finished_jobs_kept_per_user,
      log,
    });
    const state = await readState(config, store, queue, log);
    let fleet: Fleet | null = null;
    const tell: Fleet["tell"] = (node, message) => fleet?.tell(node, message);
    const cut: Fleet["cut"] = (node, reason) => fleet?.cut(node, reason);
    const loop = new CoreLoop({ state, queue, store, log, tell, cut, now: Date.now, uptime: () => performance.now() });
    fleet = await startFleet(
      config,
      {
        dispatch: (event) => loop.note(event),
        keysOf: (node) => keysOf(loop.state, node),
        payloadFor: (node, attempt) => payloadFor(loop.state, store, node, attempt),
        payloadAtHand: (node, attempt) => payloadAtHand(loop.state, store, node, attempt),
        filesFor: (node, attempt) => filesFor(loop.state, store, node, attempt),
        files,
      },
      log,
    );
    // In reverse order at the end: first no more decisions, then no more agents, then no more Redis.
    const stopHistory = startUsageHistory(store.admin, config.state_dir, (line) => isCounted(state, line), log);
    closing.push(startFileRetention(files, manifestsInUse(loop.state, store)));
    closing.push(fleet.close.bind(fleet), startRetention(queue, store, log), stopHistory, () => loop.stop());
    loop.note({ type: "ticked" });
    log.info({ jobs: state.jobs.size, nodes: state.nodes.size }, "coordinator ready");
    const failed = Promise.race([loop.failed, fence.lost, storeLink.lost, queueLink.lost]);
    void failed.then(() => loop.stop());
    return { parts: { loop, queue, store, fleet }, failed, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The state as everything that is stored gives it. */
async function readState(config: CoordinatorConfig, store: Store, queue: UserQueues, log: Log): Promise<State> {
  const { stateId, epoch, setups } = await store.open();
  log.info({ version, commit, state: stateId, epoch, cluster: config.cluster }, "coordinator state opened");
  const jobs: Recovered["jobs"] = [];
  for await (const job of queue.recover()) {
    jobs.push(job);
  }

  const { nodes, admins } = await openNodes(config, store, log);
  const shares = await readShares(store);
  return initialState(
    {
      nodes,
      graceSeconds: config.grace_seconds,
      lostNodeSeconds: config.lost_node_seconds,
      leaseSeconds: config.lease_seconds,
      version,
      scheduling: schedulingOf(config),
    },
    {
      stateId,
      epoch,
      nonce: newNonce(),
      jobs,
      setups,
      admins,
      ...shares,
      uptime: performance.now(),
      now: Date.now(),
    },
  );
}

/** What is remembered of people, and what admins allow them. */
async function readShares({ admin }: Store): Promise<Pick<Recovered, "people" | "quotas" | "windows">> {
  return { people: await admin.people(), quotas: await admin.quotas(), windows: await admin.windows() };
}

/** The configured nodes, with what admins have said of them; what the config says otherwise is brought in line with it. */
async function openNodes(
  config: CoordinatorConfig,
  store: Store,
  log: Log,
): Promise<{ nodes: CoreConfig["nodes"]; admins: Map<NodeName, NodeAdmin> }> {
  const keys = configuredKeys(config);
  const nodes = config.nodes.map(({ name, address, labels }) => ({
    name,
    address: address ?? null,
    key: keys.get(name) ?? "",
    labels,
  }));
  const { admins, changed } = layOver(nodes, await store.nodeAdmins());
  for (const [node, admin] of changed) {
    log.info({ node, dropped: admin === null }, "the config says otherwise than what was stored of a node; it wins");
    await store.saveNodeAdmin(node, admin);
  }
  return { nodes, admins };
}

/** First part of this start's attempt ids: eight of [a-z0-9], so that no other start uses the same. */
function newNonce(): string {
  const characters = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: 8 }, () => characters[randomInt(characters.length)]).join("");
}
