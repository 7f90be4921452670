/**
 * One user of a soak, as a program of its own on the head machine: submits small jobs one after the other, cancels some,
 * and prints one JSON line for every answer that the cluster gave. It sends a lost call again with the same request id,
 * as `sky` does, until it is answered. It ends when its standard input does. Bundled and started by run.ts.
 */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { cancelResultSchema, submitResultSchema } from "../../../shared/api.ts";
import { messageOf } from "../../../shared/errors.ts";
import { submit } from "../../../client/sdk/requests.ts";
import { Transport } from "../../../client/sdk/transport.ts";
import { type Random, randomFrom } from "./random.ts";

const { values } = parseArgs({
  options: {
    socket: { type: "string", default: "/run/sky-coordinator/api.sock" },
    cluster: { type: "string", default: "lab" },
    seed: { type: "string", default: "1" },
    name: { type: "string", default: "user" },
    "pause-ms": { type: "string", default: "800" },
  },
});

/** Longer than any fault lasts: a call that was given up would be neither known nor unknown. */
const patience = { limitMs: 600_000, say: () => undefined, afterGivingUp: null };

function say(fact: object): void {
  process.stdout.write(`${JSON.stringify(fact)}\n`);
}

/** A task whose every rank writes who it is before, during and after a short sleep. */
function taskOf(random: Random, key: string, recovers: boolean): string {
  const nodes = random.chance(0.15) ? 2 : 1;
  const accelerators = random.chance(0.6) ? "\n  accelerators: V100:1" : "\n  cpus: 0.5";
  const beats = Math.round(random.between(1, recovers ? 40 : 15));
  return `name: soak
num_nodes: ${nodes}
resources:${accelerators}${recovers ? "\n  job_recovery: FAILOVER" : ""}
run: |
  note() { echo "$1 ${key} $SKYPILOT_NODE_RANK $SKY_ONPREM_ATTEMPT $(date +%s%N)" >>/var/tmp/soak-$(id -un); }
  note start
  for i in $(seq ${beats}); do sleep 0.2; note beat; done
  note end
`;
}

async function main(): Promise<void> {
  const random = randomFrom(Number(values.seed), values.name);
  const open = async (): Promise<ReturnType<typeof connect>> => connect(values.socket);
  const transport = new Transport(values.cluster, async () => ({ openStream: open, close: () => undefined }));
  const cluster_name = values.cluster;
  const stop = new AbortController();
  process.stdin.on("end", () => stop.abort()).resume();
  const ids: number[] = [];
  for (let number = 1; !stop.signal.aborted; number += 1) {
    const key = `${values.name}-${number}`;
    const recovers = random.chance(0.25);
    const task = taskOf(random, key, recovers);
    const cancels = random.chance(0.1);
    const pauseMs = random.between(0.3, 1.7) * Number(values["pause-ms"]);
    try {
      const result = await submit(transport, "/exec", { task, cluster_name }, submitResultSchema, patience);
      say({ acknowledged: result.job_id, key, recovers });
      ids.push(result.job_id ?? 0);
      if (cancels) {
        const job_ids = [random.pick(ids)];
        say({ cancelled: await submit(transport, "/cancel", { cluster_name, job_ids }, cancelResultSchema, patience) });
      }
    } catch (error) {
      say({ refused: messageOf(error), key });
    }
    await delay(pauseMs);
  }
  transport.close();
}

await main();
