/**
 * What is on this head before a restore: whether a coordinator works, whether Redis runs and who may stop it, whether
 * there are jobs. While Redis runs it holds the mark that keeps every coordinator out. It must never stop a server that
 * systemd does not run as sky-redis.service. Called by put-back.ts.
 */
import { existsSync, realpathSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { CoordinatorConfig } from "../config.ts";
import { openFence, type RedisLink } from "../redis.ts";
import { redisFolder } from "./marks.ts";
import type { Owner } from "./owner.ts";
import { controlUnit, isUnitProcess } from "./processes.ts";

const stopTries = 200;
const stopWaitMs = 50;

export interface Present {
  /** There are jobs, or nobody can say that there are none. */
  readonly hasJobs: boolean;
  readonly known: boolean;
  /** sky-redis.service was stopped by stop() and is to be started again. */
  readonly stopped: boolean;
  /** Redis does not run when this returns. */
  stop(): Promise<void>;
  /** Gives up the mark that keeps coordinators out. */
  release(): void;
}

/** Throws SkyError when a coordinator works here, or Redis runs and cannot be stopped from here. */
export async function present(config: CoordinatorConfig, owner: Owner): Promise<Present> {
  if (await answers(config.socket)) {
    throw coordinatorRuns(config, "");
  }
  if (!(await answers(config.redis.socket))) {
    const hasData = ["appendonlydir", "appendonly.aof"].some((name) => existsSync(join(redisFolder(config), name)));
    return { hasJobs: hasData, known: false, stopped: false, stop: async () => {}, release: () => {} };
  }
  let link: RedisLink;
  try {
    link = await openFence(config.redis.socket);
  } catch (error) {
    throw coordinatorRuns(config, ` (${messageOf(error)})`);
  }
  try {
    return await withRedis(config, link, owner);
  } catch (error) {
    link.close();
    throw error;
  }
}

async function withRedis(config: CoordinatorConfig, link: RedisLink, owner: Owner): Promise<Present> {
  const users = await link.run("looking for jobs", () => link.client.scard("sky-users"));
  const found: unknown = await link.run("CONFIG GET", () => link.client.config("GET", "dir"));
  const folder = Array.isArray(found) ? String(found[1]) : "";
  if (realpathSync(folder) !== realpathSync(redisFolder(config))) {
    throw new SkyError(
      "ValueError",
      `The Redis server at ${config.redis.socket} keeps its data in ${folder}, not beside its socket.`,
      "Such a server is not restored by this command; docs/admin/operations.md says how.",
    );
  }
  const info = await link.run("INFO", () => link.client.info("server"));
  const pid = Number(/^process_id:(\d+)/m.exec(info)?.[1] ?? 0);
  if (!owner.outside(() => isUnitProcess(pid))) {
    throw new SkyError(
      "ValueError",
      `Redis runs here (process ${pid}), and it is not sky-redis.service, which this command could stop.`,
      "Nothing was changed. Stop Redis, run the restore again (with --replace if there are jobs), and start it afterwards.",
    );
  }
  let stopped = false;
  return {
    hasJobs: users > 0,
    known: true,
    get stopped() {
      return stopped;
    },
    async stop() {
      stopped = true;
      owner.outside(() => controlUnit("stop"));
      for (let round = 0; await answers(config.redis.socket); round += 1) {
        if (round >= stopTries) {
          throw new SkyError("InternalError", "Redis still answers after sky-redis.service was stopped.");
        }
        await delay(stopWaitMs);
      }
    },
    release: () => link.close(),
  };
}

function coordinatorRuns(config: CoordinatorConfig, detail: string): SkyError {
  return new SkyError(
    "ValueError",
    `A coordinator of cluster '${config.cluster}' works here${detail}.`,
    "Nothing was changed. Stop it first (jobs run on): systemctl stop sky-coordinator.service",
  );
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
