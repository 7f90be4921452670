/**
 * The machine's own limit: the same `bash -i SCRIPT` by the same user, started by xargs, which does nothing but fork, exec
 * and wait. Used by scripts/bench/slurm.ts.
 */
import { runAs } from "../../../test/help/sky.ts";
import { type TestUser, writeHomeFile } from "../../../test/help/users.ts";

/** Scripts run per second, so many at once. */
export async function scriptsPerSecond(user: TestUser, count: number, atOnce: number): Promise<number> {
  const script = writeHomeFile(user, "noop.sh", "true\n");
  const start = performance.now();
  const command = `seq ${count} | xargs -P ${atOnce} -n 1 /bin/bash -i ${script} >/dev/null 2>&1`;
  const result = await runAs(user, ["bash", "-c", command], { limitMs: 300_000 });
  if (result.code !== 0) {
    throw new Error(`bash -i ended with ${result.code}: ${result.stderr}`);
  }
  return count / ((performance.now() - start) / 1000);
}
