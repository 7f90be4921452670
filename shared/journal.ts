/**
 * Lines of our daemons in the systemd journal, as `journalctl --output=json` prints them: each message is one JSON object
 * that names the attempt it is about. Pure: it is given the text and says which entries belong to a job. Messages come
 * from daemons that were told things by users, so nothing is trusted but its form. Used by doctor/ and coordinator/.
 */
import * as z from "zod";

/** What journalctl gives for one entry; messages with bytes that are no text come as arrays and are left out. */
const rowSchema = z.object({
  __REALTIME_TIMESTAMP: z.string().regex(/^\d{1,17}$/),
  MESSAGE: z.string().max(64 * 1024),
});
const entrySchema = z.record(z.string().max(64), z.json());

export interface JournalEntry {
  /** Microseconds since 1970, by the machine's own clock. */
  timeUs: number;
  entry: Record<string, z.core.util.JSONType>;
}

/** One line of journalctl's output; null when it holds no JSON object of ours. */
export function parseJournalRow(line: string): JournalEntry | null {
  try {
    const row = rowSchema.safeParse(JSON.parse(line));
    if (!row.success || !row.data.MESSAGE.startsWith("{")) {
      return null;
    }
    const entry = entrySchema.safeParse(JSON.parse(row.data.MESSAGE));
    return entry.success ? { timeUs: Number(row.data.__REALTIME_TIMESTAMP), entry: entry.data } : null;
  } catch {
    return null;
  }
}

/** Arguments of journalctl for one of our units. `sinceMs`: milliseconds since 1970. */
export function journalArguments(unit: "sky-agent.service" | "sky-coordinator.service", sinceMs: number): string[] {
  const since = `--since=@${Math.max(0, Math.floor(sinceMs / 1000))}`;
  return [`--unit=${unit}`, since, "--output=json", "--output-fields=MESSAGE", "--no-pager", "--quiet", "--all"];
}
