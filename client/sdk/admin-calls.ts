/**
 * The API's routes for admins as typed functions. Every result is checked by its schema in shared/admin-api.ts; changes
 * carry a request id, so a call that was cut is sent again and taken once. It must never print and never read files.
 */
import type * as z from "zod";
import {
  adminChangeResultSchema,
  type AdminNodeRow,
  type AdminNodesResult,
  adminNodesResultSchema,
  type drainBodySchema,
  type removeBodySchema,
  type RotateKeyResult,
  rotateKeyResultSchema,
  type UnknownResult,
  unknownResultSchema,
} from "../../shared/admin-api.ts";
import {
  type DoctorResult,
  doctorResultSchema,
  type jobLogsBodySchema,
  type JobLogsResult,
  jobLogsResultSchema,
} from "../../shared/inspect-api.ts";
import { type Patience, read, submit } from "./requests.ts";
import type { Transport } from "./transport.ts";

/** The calls to one cluster. Every function rejects with a SkyError whose text is meant for the person. */
export interface AdminCalls {
  nodes(): Promise<AdminNodesResult>;
  drain(body: z.input<typeof drainBodySchema>): Promise<AdminNodeRow[]>;
  resume(nodes: string[]): Promise<AdminNodeRow[]>;
  remove(body: z.input<typeof removeBodySchema>): Promise<AdminNodeRow[]>;
  rotateKey(node: string): Promise<RotateKeyResult>;
  unknown(): Promise<UnknownResult>;
  /** The attempts that are being ended now: one. */
  endUnknown(attempt: string): Promise<UnknownResult["attempts"]>;
  /** Null: all nodes. Takes up to a minute. */
  doctor(nodes: string[] | null): Promise<DoctorResult>;
  /** What coordinator and agents wrote about one job. */
  jobLogs(body: z.input<typeof jobLogsBodySchema>): Promise<JobLogsResult>;
  /** Ends the connection. */
  close(): void;
}

/** How long calls that change something are tried again, and those that only read. */
const changeLimitMs = 30_000;
const readLimitMs = 10_000;

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createAdminCalls(transport: Transport, say: (text: string) => void): AdminCalls {
  const change: Patience = {
    limitMs: changeLimitMs,
    say,
    afterGivingUp: "It may or may not have been done: `sky admin nodes` shows it once the cluster answers.",
    changes: true,
  };
  const reading: Patience = { limitMs: readLimitMs, say, afterGivingUp: null };
  const unknownRows = unknownResultSchema.shape.attempts;
  return {
    nodes: () => read(transport, "/onprem/admin/nodes", adminNodesResultSchema, reading),
    drain: (body) => submit(transport, "/onprem/admin/drain", body, adminChangeResultSchema, change),
    resume: (nodes) => submit(transport, "/onprem/admin/resume", { nodes }, adminChangeResultSchema, change),
    remove: (body) => submit(transport, "/onprem/admin/remove", body, adminChangeResultSchema, change),
    rotateKey: (node) => submit(transport, "/onprem/admin/rotate-key", { node }, rotateKeyResultSchema, change),
    unknown: () => read(transport, "/onprem/admin/unknown", unknownResultSchema, reading),
    endUnknown: (attempt) => submit(transport, "/onprem/admin/unknown/end", { attempt }, unknownRows, change),
    doctor: (nodes) => submit(transport, "/onprem/admin/doctor", { nodes }, doctorResultSchema, reading),
    jobLogs: (body) => submit(transport, "/onprem/admin/job_logs", body, jobLogsResultSchema, reading),
    close: () => transport.close(),
  };
}
