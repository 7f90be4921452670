/**
 * What coordinator and agents wrote about one job, gathered and put into the order of time. The coordinator's own lines
 * say which attempts there were and where; the agents are asked for those attempts and nothing else. Lines of machines
 * are data: they were checked in coordinator/inspection.ts and are passed on. Called by routes-inspect.ts.
 */
import { hostname } from "node:os";
import type { z } from "zod";
import { SkyError } from "../../shared/errors.ts";
import { type AttemptId, attemptIdSchema, type NodeName, nodeNameSchema } from "../../shared/ids.ts";
import type { JobLine, jobLogsBodySchema, JobLogsResult } from "../../shared/inspect-api.ts";
import type { JobRecord } from "../../shared/job.ts";
import { journalArguments, type JournalEntry } from "../../shared/journal.ts";
import { type JournalReading, readJournal } from "../../system/journal.ts";
import { knowsAdmin } from "../core/node-keys.ts";
import { uidOf } from "../head-users.ts";
import { type Answer, askNode } from "../inspection.ts";
import { liveParts } from "./job-watch.ts";
import type { RouteCall } from "./route.ts";

type Body = z.infer<typeof jobLogsBodySchema>;

const journalMs = 30_000;
const attemptsMax = 100;
const nodesMax = 1_000;
/** A job's first lines can be a little older than its record. */
const beforeMs = 10_000;
/** How far back lines of a job are looked for of which nothing else is known. */
const unknownSinceMs = 7 * 86_400_000;
const skewShownMs = 2_000;

/** Attempts in the order in which they are first named, and nodes, of these lines and of the record. */
function namedIn(
  entries: readonly JournalEntry[],
  record: JobRecord | null,
): { attempts: AttemptId[]; nodes: NodeName[] } {
  const attempts = new Set<AttemptId>();
  const nodes = new Set<NodeName>();
  for (const { entry } of entries) {
    const attempt = attemptIdSchema.safeParse(entry["attempt"]);
    if (attempt.success) {
      attempts.add(attempt.data);
    }
    const listed: unknown[] = Array.isArray(entry["nodes"]) ? entry["nodes"] : [entry["node"]];
    for (const value of listed.slice(0, nodesMax)) {
      const node = nodeNameSchema.safeParse(value);
      if (node.success) {
        nodes.add(node.data);
      }
    }
  }
  if (record?.attempt) {
    attempts.add(record.attempt.id);
    for (const rank of record.attempt.ranks) {
      nodes.add(rank.grant.node);
    }
  }
  return { attempts: [...attempts], nodes: [...nodes] };
}

function ownLines(uid: number, body: Body, record: JobRecord | null, sinceMs: number): Promise<JournalReading> {
  const argv = journalArguments("sky-coordinator.service", sinceMs);
  return readJournal(argv, body.lines, ({ entry }) => {
    const isJob = entry["uid"] === uid && (entry["job"] === body.job_id || entry["id"] === body.job_id);
    return isJob || (record?.attempt?.id !== undefined && entry["attempt"] === record.attempt.id);
  });
}

/** The attempts that are asked for: all, or the one of this number. */
function pick(body: Body, attempts: readonly AttemptId[], record: JobRecord | null): AttemptId[] {
  const wanted = body.attempt;
  if (wanted === null) {
    return attempts.slice(-attemptsMax);
  }
  const last = record?.attempt ?? null;
  const picked = attempts.filter((id, at) => (last?.id === id ? last.number : at + 1) === wanted);
  if (picked.length === 0) {
    const text = `Job ${body.job_id} of '${body.user}' has no attempt ${wanted} that is known.`;
    throw new SkyError("ValueError", text, `Its attempts: ${attempts.slice(0, 10).join(", ") || "none"}.`);
  }
  return picked;
}

function linesOf(answer: Answer): JobLine[] {
  return answer.lines.flatMap((line) =>
    line.type === "journal"
      ? [{ time: line.timeUs / 1e6, machine: answer.node, program: "agent" as const, entry: line.entry }]
      : [],
  );
}

function notesOf(answer: Answer): string[] {
  const notes = answer.lines.flatMap((line) => (line.type === "note" ? [`${answer.node}: ${line.text}`] : []));
  if (answer.fault !== null) {
    notes.push(answer.fault.message);
  }
  if (answer.skewMs !== null && Math.abs(answer.skewMs) > skewShownMs) {
    const seconds = (answer.skewMs / 1000).toFixed(1);
    notes.push(`The clock of ${answer.node} is ${seconds} s apart; its lines stand where that clock puts them.`);
  }
  return notes;
}

/** Throws SkyError when there is no such user, job or attempt. */
export async function gatherJobLogs(
  call: RouteCall<Body>,
  each: (nodes: NodeName[], ask: (node: NodeName) => Promise<Answer | null>) => Promise<(Answer | null)[]>,
): Promise<JobLogsResult> {
  const { context, body } = call;
  const { loop, queue, fleet } = liveParts(context.parts);
  const uid = await uidOf(body.user);
  const record = await queue.read(uid, body.job_id);
  const begun = record === null ? Date.now() - unknownSinceMs : record.submittedAt - beforeMs;
  const since = Math.max(0, Math.floor(body.since === null ? begun : body.since * 1000));
  const own = await ownLines(uid, body, record, since);
  if (record === null && own.entries.length === 0) {
    const hint = ["Jobs that ended long ago are no longer kept; --since asks for older lines.", ...own.notes].join(" ");
    throw new SkyError("JobNotFoundError", `User '${body.user}' has no job ${body.job_id}.`, hint);
  }
  const named = namedIn(own.entries, record);
  const attempts = pick(body, named.attempts, record);
  const notes = own.notes.map((note) => `coordinator: ${note}`);
  const nodes = attempts.length === 0 ? [] : named.nodes.filter((name) => loop.state.nodes.has(name));
  const request = { kind: "journal" as const, attempts, since, lines: body.lines };
  const answers = await each(nodes, async (name) => {
    const node = loop.state.nodes.get(name);
    if (node !== undefined && knowsAdmin(node)) {
      return askNode(fleet, name, request, { lines: body.lines + 100, ms: journalMs });
    }
    const why = node?.connected === true ? "has an agent too old to be asked" : "is not connected";
    notes.push(`Node '${name}' ${why}: its lines are missing.`);
    return null;
  });
  const asked = answers.filter((answer) => answer !== null);
  const ofHead = own.entries
    .filter(({ entry }) => body.attempt === null || attempts.some((id) => id === entry["attempt"]))
    .map(({ timeUs, entry }) => ({ time: timeUs / 1e6, machine: hostname(), program: "coordinator" as const, entry }));
  const lines = [...ofHead, ...asked.flatMap(linesOf)].sort((a, b) => a.time - b.time);
  notes.push(...asked.flatMap(notesOf));
  if (lines.length > body.lines) {
    notes.push(`${lines.length - body.lines} older lines were left out (at most ${body.lines}).`);
  }
  const user = record?.user ?? body.user;
  return { user, uid, job_id: body.job_id, attempts, lines: lines.slice(-body.lines), notes };
}
