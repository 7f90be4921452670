/**
 * The coordinator's log: JSON lines on stderr, one call a line. Lines are written before the call returns, so the last
 * words of a crash are never lost. It must never be given a payload, an environment value or a key. Made once by main
 * and handed down; tests pass a collecting one.
 */
import { destination, pino } from "pino";

export type LogFields = Record<string, string | number | boolean | null | undefined>;

export interface Log {
  debug(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  error(text: string, fields?: LogFields): void;
}

/** A log that writes lines of this level and above to stderr. */
export function openLog(level: "debug" | "info" | "warn" | "error"): Log {
  const logger = pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ fd: 2, sync: true }),
  );
  return {
    debug: (text, fields = {}) => logger.debug(fields, text),
    info: (text, fields = {}) => logger.info(fields, text),
    warn: (text, fields = {}) => logger.warn(fields, text),
    error: (text, fields = {}) => logger.error(fields, text),
  };
}
