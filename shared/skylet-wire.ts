/**
 * The protocol between the agent (root) and a user's skylet on the agent's unix socket: newline-delimited JSON frames,
 * strict on both sides. The skylet dials; the agent takes the uid from the kernel, never from a frame. A skylet is not
 * trusted: it can only speak about its own user's attempts. Agent and skylet are always of one version: a skylet of another
 * one is exchanged after its `ready`, so `hello`, `ready` and `retire` must never change. A connection's first frame says what it is: `control`, or
 * one stream (afterwards raw bytes, see LogFrame), one payload fetch (afterwards the payload's JSON, or a
 * payloadFault, then the end; an end before that means that it can be asked for again), or questions for files.
 * Used by agent/skylets.ts and agent/skylet/main.ts.
 */
import * as z from "zod";
import { givenPayloadMax, logRequestSchema, rankStateSchema, wantedAttemptSchema } from "./agent-wire.ts";
import { attemptIdSchema } from "./ids.ts";

/** Largest frame in bytes, newline included. */
export const skyletFrameBytesMax = 1024 * 1024;

/** There is no such payload and there will be none; for people. */
export const payloadFaultSchema = z.strictObject({ fault: z.string().min(1).max(500) });

const streamIdSchema = z.string().regex(/^[a-z0-9]{16}$/);

export const skyletHelloSchema = z.discriminatedUnion("role", [
  z.strictObject({
    type: z.literal("hello"),
    role: z.literal("control"),
    version: z.string().max(100),
    pid: z.int().positive(),
  }),
  z.strictObject({ type: z.literal("hello"), role: z.literal("stream"), id: streamIdSchema }),
  z.strictObject({ type: z.literal("hello"), role: z.literal("payload"), attempt: attemptIdSchema }),
  /** Questions and answers of shared/files.ts follow, about files of the attempt's own user. */
  z.strictObject({ type: z.literal("hello"), role: z.literal("files"), attempt: attemptIdSchema }),
]);

export const toSkyletSchema = z.discriminatedUnion("type", [
  /** The payload of the attempt that the next message starts, as JSON text. */
  z.strictObject({ type: z.literal("payload"), attempt: attemptIdSchema, text: z.string().max(givenPayloadMax) }),
  /**
   * Fetch the payload unless it has just come, write the attempt's files, start the runner blocked, answer `prepared` or
   * `failed`. Idempotent.
   */
  z.strictObject({ type: z.literal("start"), wanted: wantedAttemptSchema }),
  /** The pid was checked and recorded: let user code begin. */
  z.strictObject({ type: z.literal("go"), attempt: attemptIdSchema }),
  /** Every rank's setup is done: the run script may begin. */
  z.strictObject({ type: z.literal("mayRun"), attempt: attemptIdSchema }),
  /** TERM, grace, KILL, verify; answer `gone` when no process is left (also when there never was one). */
  z.strictObject({
    type: z.literal("stop"),
    attempt: attemptIdSchema,
    graceSeconds: z.int().min(0).max(3600),
  }),
  /** The attempt may run until the machine has been up this long (milliseconds, as /proc/uptime counts); never earlier than before. */
  z.strictObject({ type: z.literal("lease"), attempt: attemptIdSchema, untilUptimeMs: z.int().min(0) }),
  /** It will be ended soon: the warning signal, once, to those of its processes that catch it. Idempotent. */
  z.strictObject({ type: z.literal("warn"), attempt: attemptIdSchema }),
  /** It goes on after all: a later `warn` is a new one. */
  z.strictObject({ type: z.literal("unwarn"), attempt: attemptIdSchema }),
  /** The coordinator holds the end durably: remove the attempt's folder. */
  z.strictObject({ type: z.literal("forget"), attempt: attemptIdSchema }),
  /** Open a connection with role `stream` and this id, and send log frames. */
  z.strictObject({ type: z.literal("stream"), id: streamIdSchema, request: logRequestSchema }),
  /** End yourself; runners stay. */
  z.strictObject({ type: z.literal("retire") }),
]);
export type ToSkylet = z.infer<typeof toSkyletSchema>;

/** How an attempt stands on this node, as its folder and processes tell. `startTime` is field 22 of /proc/PID/stat. */
const skyletAttemptSchema = z.strictObject({
  attempt: attemptIdSchema,
  state: rankStateSchema,
  pid: z.int().positive().nullable(),
  startTime: z.string().max(32).nullable(),
  setupExit: z.int().min(0).max(255).nullable(),
  runExit: z.int().min(0).max(255).nullable(),
  logDir: z.string().max(300).nullable(),
  fault: z.string().max(1000).nullable(),
});
export type SkyletAttempt = z.infer<typeof skyletAttemptSchema>;

export const fromSkyletSchema = z.discriminatedUnion("type", [
  /** Sent once after `hello`: every attempt that has a folder. Nothing is ordered before it. */
  z.strictObject({ type: z.literal("ready"), attempts: z.array(skyletAttemptSchema).max(10_000) }),
  /** The runner exists and is blocked. */
  z.strictObject({
    type: z.literal("prepared"),
    attempt: attemptIdSchema,
    pid: z.int().positive(),
    startTime: z.string().max(32),
    logDir: z.string().max(300),
  }),
  /** The attempt could not be started; no user code ran. `error` is for people and names the cause and the way out. */
  z.strictObject({ type: z.literal("failed"), attempt: attemptIdSchema, error: z.string().max(1000) }),
  z.strictObject({ type: z.literal("changed"), attempt: skyletAttemptSchema }),
  z.strictObject({ type: z.literal("gone"), attempt: attemptIdSchema }),
  z.strictObject({ type: z.literal("streamFailed"), id: streamIdSchema, error: z.string().max(1000) }),
]);
export type FromSkylet = z.infer<typeof fromSkyletSchema>;

/**
 * Log streams are a sequence of frames: one byte kind, four bytes big-endian length (≤ 65536), payload.
 * `S` bytes of the setup log, `R` bytes of the run log, `P` the runner's pid as decimal text (before the first bytes),
 * `E` end (empty payload: complete; text: why it is not). Used by skylet/output.ts and coordinator/api/logs.
 */
export const logFrameKinds = { setup: 0x53, run: 0x52, pid: 0x50, end: 0x45 } as const;
export const logFramePayloadMax = 65_536;
