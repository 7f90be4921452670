/**
 * When a job's first line ran: bash writes its own clock into a file, without starting a process. Used by both sides of
 * the comparison with Slurm.
 */
import { readFileSync } from "node:fs";
import { until } from "../../../test/help/until.ts";

/** A line of bash that writes seconds since 1970 with microseconds. */
export function stampScript(file: string): string {
  return `echo $EPOCHREALTIME >${file}`;
}

/** Milliseconds since 1970, once the file is complete. */
export async function readStart(file: string): Promise<number> {
  return await until(
    () => {
      try {
        const text = readFileSync(file, "utf8");
        return text.endsWith("\n") ? Number(text.replace(",", ".")) * 1000 : undefined;
      } catch {
        return undefined;
      }
    },
    `${file}, which the job writes`,
    60_000,
  );
}
