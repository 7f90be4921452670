/**
 * Writing a record, and the usual way of a start in one command: the record is written and the job goes from the waiting
 * list to the active one under its token, as BullMQ's own scripts would leave it. Nothing else is done here: whatever is
 * not as usual is left to BullMQ (queue.ts), and so are ends, which also trim the history. Called by
 * coordinator/queue.ts only.
 */
import type { RedisLink } from "./redis.ts";

/**
 * Keys: job, wait, active, lock. Arguments: record, id, token, milliseconds until the lock would end, time of day.
 * Answers 1: done; 0: the record is written, but the job does not wait; -1: there is no such job.
 */
const startScript = `
if redis.call("EXISTS", KEYS[1]) == 0 then return -1 end
redis.call("HSET", KEYS[1], "data", ARGV[1])
if redis.call("LREM", KEYS[2], -1, ARGV[2]) == 0 then return 0 end
redis.call("LPUSH", KEYS[3], ARGV[2])
redis.call("SET", KEYS[4], ARGV[3], "PX", ARGV[4])
redis.call("HSET", KEYS[1], "processedOn", ARGV[5])
redis.call("HINCRBY", KEYS[1], "ats", 1)
return 1`;

const writeScript = `
if redis.call("EXISTS", KEYS[1]) == 0 then return -1 end
redis.call("HSET", KEYS[1], "data", ARGV[1])
return 1`;

/** Writes the record of a job; false: there is no such job. */
export async function writeRecord(link: RedisLink, key: string, data: string): Promise<boolean> {
  return (await link.client.eval(writeScript, 1, key, data)) === 1;
}

/** True: it is taken; false: it has to be taken by BullMQ's own means. `keyOf` names this user's keys. */
export async function startWaiting(
  link: RedisLink,
  keyOf: (type: string) => string,
  start: { id: string; data: string; token: string; lockMs: number },
): Promise<boolean> {
  const { id, data, token, lockMs } = start;
  const keys = [keyOf(id), keyOf("wait"), keyOf("active"), `${keyOf(id)}:lock`];
  return (await link.client.eval(startScript, keys.length, ...keys, data, id, token, lockMs, Date.now())) === 1;
}
