/**
 * Answers `journal` of an inspection: the lines of this machine's agent that name one of the attempts. What is asked for
 * was checked by a schema; nothing of it but a number becomes an option of journalctl. Called by main.ts.
 */
import type { InspectRequest } from "../shared/agent-wire.ts";
import type { DoctorLine } from "../shared/doctor.ts";
import { journalArguments } from "../shared/journal.ts";
import { readJournal } from "../system/journal.ts";

export async function journalLines(request: Extract<InspectRequest, { kind: "journal" }>): Promise<DoctorLine[]> {
  const attempts = new Set<unknown>(request.attempts);
  const argv = journalArguments("sky-agent.service", request.since);
  const { entries, notes } = await readJournal(argv, request.lines, ({ entry }) => attempts.has(entry["attempt"]));
  return [
    ...notes.map((text): DoctorLine => ({ type: "note", text })),
    ...entries.map(({ timeUs, entry }): DoctorLine => ({ type: "journal", timeUs, entry })),
  ];
}
