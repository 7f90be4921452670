/**
 * One at a time among all test processes of this computer: a file lock of the system, given back when its holder ends,
 * however it ends. Used for what is made once and kept.
 */
import { launch } from "../help/run.ts";
import { until } from "../help/until.ts";

const waitLimitMs = 900_000;

/** Calls `make` while holding the lock. */
export async function locked<T>(file: string, make: () => Promise<T>): Promise<T> {
  const holder = launch(["flock", file, "sh", "-c", "echo held; read -r _ || true"], {
    openInput: true,
    limitMs: 2 * waitLimitMs,
  });
  try {
    const held = (): boolean => holder.stdout().includes("held") || holder.child.exitCode !== null;
    await until(held, `the lock ${file}`, waitLimitMs);
    if (!holder.stdout().includes("held")) {
      throw new Error(`the lock ${file} cannot be had: ${holder.stderr()}`);
    }
    return await make();
  } finally {
    holder.child.stdin?.end();
  }
}
