/**
 * The coordinator's log: JSON lines on stderr, one call a line. Lines are written before the call returns, so the last
 * words of a crash are never lost. It must never be given a payload, an environment value or a key. Made once by main
 * and handed down.
 */
import { destination, type Logger, pino } from "pino";

export type Log = Logger;

/** A log that writes lines of this level and above to stderr. */
export function openLog(level: "debug" | "info" | "warn" | "error"): Log {
  const lines = destination({ fd: 2, sync: true });
  // Whoever reads the log may end before the coordinator does; lost lines are no reason to end too.
  lines.on("error", () => {});
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    lines,
  );
}
