/**
 * Reads one of our units' journal through journalctl as a stream: lines that do not match are dropped at once, so a large
 * journal costs time and not memory. Its arguments are made in shared/journal.ts of checked values only; it must never be
 * given a text of a user. Used by the doctor (the agent's lines) and by the coordinator (its own).
 */
import { spawn } from "node:child_process";
import { oneLine } from "../shared/doctor.ts";
import { type JournalEntry, parseJournalRow } from "../shared/journal.ts";

const readLimitMs = 20_000;
const rowBytesMax = 256 * 1024;

export interface JournalReading {
  /** Oldest first; the newest `lines` of those that match. */
  entries: JournalEntry[];
  /** What is missing, for people. */
  notes: string[];
}

/** Entries that `wanted` accepts. Never rejects: without a journal there is a note that says so. */
export function readJournal(
  argv: readonly string[],
  lines: number,
  wanted: (entry: JournalEntry) => boolean,
): Promise<JournalReading> {
  const entries: JournalEntry[] = [];
  const notes: string[] = [];
  let left = 0;
  let held = "";
  let complaint = "";
  const take = (row: string): void => {
    const entry = parseJournalRow(row);
    if (entry !== null && wanted(entry)) {
      entries.push(entry);
      if (entries.length > lines) {
        entries.shift();
        left += 1;
      }
    }
  };
  return new Promise((resolve) => {
    const env = { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C.UTF-8" };
    const child = spawn("journalctl", argv, { env, cwd: "/", stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => {
      notes.push(`The journal was not read to its end within ${readLimitMs / 1000} s.`);
      child.kill("SIGKILL");
    }, readLimitMs);
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      const rows = (held + text).split("\n");
      held = rows.pop() ?? "";
      held = held.length > rowBytesMax ? "" : held;
      for (const row of rows) {
        take(row);
      }
    });
    child.stderr.on("data", (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(0, 500);
    });
    child.once("error", () =>
      notes.push("There is no journalctl on this machine; its daemons' lines are wherever their output goes."),
    );
    child.once("close", (code) => {
      clearTimeout(timer);
      if (code !== null && code > 0) {
        notes.push(`The journal cannot be read (journalctl: ${oneLine(complaint, 300)}).`);
      } else if (/insufficient permissions|not seeing messages/i.test(complaint)) {
        notes.push("The journal may not be read: the account needs the group systemd-journal.");
      }
      if (left > 0) {
        notes.push(`${left} older lines were left out (at most ${lines}).`);
      }
      resolve({ entries, notes });
    });
  });
}
