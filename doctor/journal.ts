/**
 * Answers `journal` of an inspection: the lines of this machine's agent that name one of the attempts, the newest of
 * them. Lines are read as a stream and dropped when they do not match, so a large journal costs time and not memory. What
 * is asked for is checked by a schema before; nothing of it becomes an option of journalctl. Called by main.ts.
 */
import { spawn } from "node:child_process";
import type { InspectRequest } from "../shared/agent-wire.ts";
import { type DoctorLine, oneLine } from "../shared/doctor.ts";
import { journalArguments, type JournalEntry, parseJournalRow } from "../shared/journal.ts";

const readLimitMs = 20_000;
const rowBytesMax = 256 * 1024;

/** Reads the unit's journal and gives the last `lines` entries that `wanted` accepts, and what is missing. */
async function readJournal(
  argv: string[],
  lines: number,
  wanted: (entry: JournalEntry) => boolean,
): Promise<{ entries: JournalEntry[]; notes: string[] }> {
  const entries: JournalEntry[] = [];
  const notes: string[] = [];
  let left = 0;
  await new Promise<void>((resolve) => {
    const env = { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" };
    const child = spawn("journalctl", argv, { env, cwd: "/", stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => {
      notes.push(`The journal was not read to its end within ${readLimitMs / 1000} s.`);
      child.kill("SIGKILL");
    }, readLimitMs);
    let held = "";
    let complaint = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      const rows = (held + text).split("\n");
      held = rows.pop() ?? "";
      if (held.length > rowBytesMax) {
        held = "";
      }
      for (const row of rows) {
        const entry = parseJournalRow(row);
        if (entry !== null && wanted(entry)) {
          entries.push(entry);
          if (entries.length > lines) {
            entries.shift();
            left += 1;
          }
        }
      }
    });
    child.stderr.on("data", (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(0, 500);
    });
    child.once("error", () =>
      notes.push("journalctl is not installed on this machine: the agent's lines are where its output goes."),
    );
    child.once("close", (code) => {
      clearTimeout(timer);
      if (code !== null && code !== 0) {
        notes.push(`journalctl failed (exit code ${code}): ${oneLine(complaint, 300)}`);
      }
      resolve();
    });
  });
  if (left > 0) {
    notes.push(`${left} older lines were left out (limit ${lines}).`);
  }
  return { entries, notes };
}

export async function journalLines(request: Extract<InspectRequest, { kind: "journal" }>): Promise<DoctorLine[]> {
  const attempts = new Set<unknown>(request.attempts);
  const argv = journalArguments("sky-agent.service", request.since);
  const { entries, notes } = await readJournal(argv, request.lines, ({ entry }) => attempts.has(entry["attempt"]));
  return [
    ...notes.map((text): DoctorLine => ({ type: "note", text: oneLine(text, 600) })),
    ...entries.map(({ timeUs, entry }): DoctorLine => ({ type: "journal", timeUs, entry })),
  ];
}
