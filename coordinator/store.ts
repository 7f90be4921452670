/**
 * Everything durable besides the queues: the state's identity and epoch, each user's last setup, what admins have decided
 * about nodes, and the payloads (scripts, environment values, secrets), which lie encrypted and once by content and user.
 * It must never write a payload in the clear, nor find one user's payload by another's reference. Called by the loop's effects, the API
 * (through parts.ts), and retention, which drops payloads that nothing refers to.
 */
import { randomInt } from "node:crypto";
import * as z from "zod";
import { messageOf, SkyError } from "../shared/errors.ts";
import { jobIdSchema, type NodeName, nodeNameSchema, stateIdSchema, type Uid, uidSchema } from "../shared/ids.ts";
import { imageNameSchema, jobRecordSchema, type Payload, payloadBytesMax, payloadSchema } from "../shared/job.ts";
import { type NodeAdmin, nodeAdminSchema, openNode } from "../shared/node-admin.ts";
import type { SetupState } from "./core/state.ts";
import type { Log } from "./log.ts";
import type { Store } from "./parts.ts";
import { PayloadCache } from "./payload-cache.ts";
import { failOnError } from "./queue-records.ts";
import { AdminStore } from "./store-admin.ts";
import { PolicyRecords } from "./store-policies.ts";
import { RequestRecords } from "./store-requests.ts";
import type { RedisLink } from "./redis.ts";
import type { Secrets } from "./secrets.ts";

const stateIdKey = "sky-state:id";
const epochKey = "sky-state:epoch";
const keyPrintKey = "sky-state:key";
/** uid → SetupState as JSON. */
const setupsKey = "sky-setups";
/** node → NodeAdmin as JSON. */
const nodesKey = "sky-nodes";
/** The sealed payload. */
const payloadKey = (uid: Uid, ref: string): string => `sky-payload:${uid}:${ref}`;
/** A user's payloads by the time (ms) at which each was last put. */
const payloadsKey = (uid: Uid): string => `sky-payloads:${uid}`;

const setupSchema = z.strictObject({
  uid: uidSchema,
  taskRef: jobRecordSchema.shape.taskRef,
  jobId: jobIdSchema,
  doneOn: z.array(nodeNameSchema).max(10_000),
  image: imageNameSchema.optional(),
});
const epochSchema = z.coerce.number().pipe(z.int().min(1));

/** Drops a payload only if it was not put again since: KEYS payloads, payload; ARGV reference, time. */
const dropScript = `
if redis.call("ZSCORE", KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call("ZREM", KEYS[1], ARGV[1])
return redis.call("DEL", KEYS[2])`;

export class RedisStore implements Store {
  readonly #link: RedisLink;
  readonly #secrets: Secrets;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #atHand = new PayloadCache();
  /** People, quotas, windows and usage. */
  readonly admin: AdminStore;
  /** Requests of the API that change something. */
  readonly requests: RequestRecords;
  /** What admins declare about workloads. */
  readonly policies: PolicyRecords;

  /** `now` gives milliseconds since 1970; it only decides which payloads are too young to be swept. */
  constructor(link: RedisLink, secrets: Secrets, log: Log, now: () => number = Date.now) {
    this.#link = link;
    this.#secrets = secrets;
    this.#log = log;
    this.#now = now;
    this.admin = new AdminStore(link, log);
    this.requests = new RequestRecords(link, secrets, log);
    this.policies = new PolicyRecords(link, secrets, log);
  }

  open(): Promise<{ stateId: string; epoch: number; setups: SetupState[] }> {
    return this.#link.run("opening the state", async () => {
      const { client } = this.#link;
      await client.setnx(keyPrintKey, this.#secrets.fingerprint);
      if ((await client.get(keyPrintKey)) !== this.#secrets.fingerprint) {
        throw new SkyError(
          "InternalError",
          "The file secrets.key in state_dir is not the one with which this Redis state was written.",
          "Restore the key file that belongs to the state, or start with an empty Redis folder.",
        );
      }
      await client.setnx(stateIdKey, newStateId());
      const stateId = stateIdSchema.safeParse(await client.get(stateIdKey));
      const epoch = epochSchema.safeParse(await client.incr(epochKey));
      if (!stateId.success || !epoch.success) {
        throw new SkyError(
          "InternalError",
          `The identity of the state in Redis is damaged (${stateIdKey}, ${epochKey}).`,
          "Restore the Redis folder from a backup.",
        );
      }
      return { stateId: stateId.data, epoch: epoch.data, setups: await this.#setups() };
    });
  }

  async saveEpoch(epoch: number): Promise<void> {
    await this.#link.run("storing the epoch", () => this.#link.client.set(epochKey, String(epoch)));
  }

  async saveSetup(uid: Uid, setup: SetupState | null): Promise<void> {
    await this.#link.run(`storing the setup of uid ${uid}`, () =>
      setup === null
        ? this.#link.client.hdel(setupsKey, String(uid))
        : this.#link.client.hset(setupsKey, String(uid), JSON.stringify(setup)),
    );
  }

  nodeAdmins(): Promise<Map<NodeName, NodeAdmin>> {
    return this.#link.run("reading what admins have said of nodes", async () => {
      const admins = new Map<NodeName, NodeAdmin>();
      for (const [node, text] of Object.entries(await this.#link.client.hgetall(nodesKey))) {
        try {
          admins.set(nodeNameSchema.parse(node), nodeAdminSchema.parse(JSON.parse(text)));
        } catch (error) {
          // Whether it takes jobs is not known, so it takes none until an admin says so; its configured key counts.
          this.#log.error(
            { node, cause: messageOf(error).slice(0, 300) },
            "a damaged entry of a node; it takes no jobs",
          );
          admins.set(node, { ...openNode, state: "draining", reason: "what was stored of it is damaged" });
        }
      }
      return admins;
    });
  }

  async saveNodeAdmin(node: NodeName, admin: NodeAdmin | null): Promise<void> {
    await this.#link.run(`storing what admins have said of node ${node}`, () =>
      admin === null || (admin.state === "open" && admin.key === null)
        ? this.#link.client.hdel(nodesKey, node)
        : this.#link.client.hset(nodesKey, node, JSON.stringify(nodeAdminSchema.parse(admin))),
    );
  }

  async putPayload(uid: Uid, payload: Payload): Promise<string> {
    // In the schema's order, so that equal payloads have one name.
    const text = JSON.stringify(payloadSchema.parse(payload));
    const bytes = Buffer.byteLength(text);
    if (bytes > payloadBytesMax) {
      const megabytes = (size: number): string => (size / 1024 / 1024).toFixed(1);
      throw new SkyError(
        "InvalidTaskError",
        `The task's scripts and environment variables are ${megabytes(bytes)} MB together; at most ${megabytes(payloadBytesMax)} MB are allowed.`,
        "Put large data into files and let the script read them.",
      );
    }
    const ref = this.#secrets.nameOf(uid, text);
    await this.#link.run("storing a task", async () => {
      const sealed = this.#secrets.seal(text, context(uid, ref));
      const transaction = this.#link.client.multi();
      transaction.set(payloadKey(uid, ref), sealed, "NX");
      transaction.zadd(payloadsKey(uid), this.#now(), ref);
      failOnError(await transaction.exec());
    });
    this.#atHand.put(uid, ref, payloadSchema.parse(JSON.parse(text)), text);
    return ref;
  }

  async getPayload(uid: Uid, ref: string): Promise<Payload | null> {
    const sealed = await this.#link.run("reading a task", () => this.#link.client.getBuffer(payloadKey(uid, ref)));
    if (sealed === null) {
      return null;
    }
    try {
      const text = this.#secrets.open(sealed, context(uid, ref));
      const payload = payloadSchema.parse(JSON.parse(text));
      this.#atHand.put(uid, ref, payload, text);
      return payload;
    } catch {
      // The cause could quote the content.
      this.#log.error({ uid, ref }, "a stored task is damaged");
      return null;
    }
  }

  payloadAtHand(uid: Uid, ref: string): Payload | null {
    return this.#atHand.get(uid, ref);
  }

  /**
   * Drops the user's payloads that are not in `referenced` and were last put before `before` (ms since 1970), so that one
   * which a submission has just put and not yet referred to stays. Returns how many were dropped.
   */
  async sweepPayloads(uid: Uid, referenced: ReadonlySet<string>, before: number): Promise<number> {
    const kept = new Set(referenced);
    for (const setup of await this.#link.run("reading setups", () => this.#setups())) {
      kept.add(setup.taskRef);
    }
    let dropped = 0;
    const old = await this.#link.run("reading payloads", () =>
      this.#link.client.zrangebyscore(payloadsKey(uid), "-inf", `(${before}`, "WITHSCORES"),
    );
    for (let index = 0; index + 1 < old.length; index += 2) {
      const [ref = "", score = ""] = old.slice(index, index + 2);
      if (!kept.has(ref)) {
        const keys = [payloadsKey(uid), payloadKey(uid, ref)] as const;
        const gone = await this.#link.run("dropping a payload", () =>
          this.#link.client.eval(dropScript, 2, ...keys, ref, score),
        );
        this.#atHand.drop(uid, ref);
        dropped += Number(gone);
      }
    }
    return dropped;
  }

  async close(): Promise<void> {
    this.#link.close();
  }

  async #setups(): Promise<SetupState[]> {
    const setups: SetupState[] = [];
    for (const [uid, text] of Object.entries(await this.#link.client.hgetall(setupsKey))) {
      try {
        const setup = setupSchema.parse(JSON.parse(text));
        if (String(setup.uid) !== uid) {
          throw new Error(`it names uid ${setup.uid}`);
        }
        setups.push(setup);
      } catch (error) {
        this.#log.error({ uid, cause: messageOf(error).slice(0, 300) }, "a damaged setup entry is skipped");
      }
    }
    return setups;
  }
}

function context(uid: Uid, ref: string): string {
  return `payload ${uid} ${ref}`;
}

function newStateId(): string {
  const characters = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: 16 }, () => characters[randomInt(characters.length)]).join("");
}
