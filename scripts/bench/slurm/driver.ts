/**
 * The user's side of our half of the comparison with Slurm: one connection of the SDK, kept open, that does what it is
 * told by lines of JSON on standard input and answers each with one. Bundled and run as the user by ours.ts.
 */
import { createInterface } from "node:readline";
import { homedir } from "node:os";
import { join } from "node:path";
import { findCluster } from "../../../client/local/registered.ts";
import { type Calls, createCalls } from "../../../client/sdk/calls.ts";
import { Transport } from "../../../client/sdk/transport.ts";
import { connectHead } from "../../../client/ssh/connect.ts";

/** `submit`: that many, so many at once; `ended`: the statuses of these jobs. */
export type Order = { do: "submit"; count: number; atOnce: number; task: string } | { do: "statuses"; ids: number[] };
export interface Answer {
  /** Milliseconds since 1970 before the first submission and after the last acknowledgement. */
  from: number;
  to: number;
  ids: number[];
  statuses: Record<string, string | null>;
}

async function submit(calls: Calls, { count, atOnce, task }: Order & { do: "submit" }): Promise<number[]> {
  const ids: number[] = [];
  let left = count;
  const one = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const { job_id } = await calls.exec({ task });
      ids.push(job_id ?? 0);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  return ids;
}

const name = process.argv[2] ?? "";
const cluster = findCluster(join(homedir(), ".sky/local"), name);
if (cluster === null) {
  throw new Error(`no cluster ${name}`);
}
const transport = new Transport(name, () => connectHead(cluster, { ask: async () => null } as never));
const calls = createCalls(transport, (text) => process.stderr.write(`${text}\n`));
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as Order;
  const from = Date.now();
  const ids = order.do === "submit" ? await submit(calls, order) : [];
  const statuses = order.do === "statuses" ? await calls.jobStatus({ job_ids: order.ids }) : {};
  const answer: Answer = { from, to: Date.now(), ids, statuses };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
transport.close();
