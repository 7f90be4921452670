/**
 * What admins say about who may use how much and when, and what is remembered of people: quotas, windows of nodes, and a
 * person's groups and decayed use. Plain schemas of what the store holds; every field is checked again when it is read
 * back. It decides nothing. Used by the coordinator's core and store, the API for admins and the client.
 */
import * as z from "zod";
import { attemptIdSchema, jobIdSchema, nodeNameSchema, timeSchema, uidSchema, userNameSchema } from "./ids.ts";
import { acceleratorKindSchema } from "./job.ts";

/** A Unix group's name, as `getent group` gives it. */
export const groupNameSchema = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@ \\-]{0,62}\$?$/);

/**
 * Whom a quota is for: `user:NAME`, `group:NAME` (all members together), `each` (every user without a quota of their
 * own), written as one word in the store and on the command line.
 */
export const quotaSubjectSchema = z.union([
  z.literal("each"),
  z.templateLiteral(["user:", userNameSchema]),
  z.templateLiteral(["group:", groupNameSchema]),
]);
export type QuotaSubject = z.infer<typeof quotaSubjectSchema>;

/** Upper limits of what is held at one time; an absent one does not limit. `accelerators`: by kind; `*` is all kinds together. */
export const quotaSchema = z.strictObject({
  accelerators: z.record(z.union([z.literal("*"), acceleratorKindSchema]), z.number().min(0).max(1e6)).optional(),
  cpus: z.number().min(0).max(1e9).optional(),
  memoryGb: z.number().min(0).max(1e9).optional(),
  /** Jobs that have been started and have not ended. */
  running: z.int().min(0).max(1e6).optional(),
  /** Jobs that wait; checked when one is submitted. */
  waiting: z.int().min(0).max(1e6).optional(),
});
export type Quota = z.infer<typeof quotaSchema>;

/** Names a window of nodes: `w1`, `w2` … */
export const windowIdSchema = z.string().regex(/^w[1-9][0-9]{0,8}$/);

/**
 * A time for which nodes are set aside. `maintenance`: nothing may run. `reservation`: only the named users and members
 * of the named groups. A job that could still run when the window begins is not started there before it, unless it may
 * run in it. Times in ms since 1970.
 */
export const nodeWindowSchema = z.strictObject({
  id: windowIdSchema,
  kind: z.enum(["maintenance", "reservation"]),
  nodes: z.array(nodeNameSchema).min(1).max(10_000),
  from: timeSchema,
  to: timeSchema,
  users: z.array(userNameSchema).max(1_000),
  groups: z.array(groupNameSchema).max(1_000),
  /** What still runs there at `from` and may not run in it is ended (or started elsewhere, when it recovers). */
  endJobs: z.boolean(),
  reason: z.string().max(200).nullable(),
  by: z.string().max(64).nullable(),
});
export type NodeWindow = z.infer<typeof nodeWindowSchema>;

/** What is remembered of a user who has ever sent a job. */
export const personSchema = z.strictObject({
  uid: uidSchema,
  user: userNameSchema,
  /** Names of all Unix groups at the last submission, sorted. */
  groups: z.array(groupNameSchema).max(1_000),
  /** Accelerator-seconds charged so far, decayed to the time `useAt` (ms since 1970); running jobs not included. */
  use: z.number().min(0),
  useAt: timeSchema,
});
export type Person = z.infer<typeof personSchema>;

/**
 * One line of the usage history: what one rank held on its node, from its grant to the moment at which nothing of it was
 * left. `attempt` and `node` together name the rank: time that several of its lines speak of counts once.
 */
export const usageLineSchema = z.strictObject({
  attempt: attemptIdSchema,
  node: nodeNameSchema,
  uid: uidSchema,
  user: userNameSchema,
  /** Groups that the charge is shown under. */
  groups: z.array(groupNameSchema).max(1_000),
  jobId: jobIdSchema,
  /** Canonical kind; null: no accelerator. */
  kind: acceleratorKindSchema.nullable(),
  /** Devices held, fractions as such. */
  accelerators: z.number().min(0),
  cpus: z.number().min(0),
  memoryGb: z.number().min(0),
  from: timeSchema,
  to: timeSchema,
});
export type UsageLine = z.infer<typeof usageLineSchema>;

/** Names a line where it waits for the history. One of an attempt's end and one of the moment at which nothing was left are two. */
export function usageName(line: UsageLine): string {
  return `${line.attempt} ${line.node} ${line.from} ${line.to}`;
}

/** The part of the coordinator's config that orders waiting jobs. Seconds, unless the name says otherwise. */
export interface SchedulingConfig {
  fairShare: {
    /** After this time half of a use is forgotten. 0: use is not remembered. */
    halfLifeHours: number;
    userWeights: Readonly<Record<string, number>>;
    /** A user without a weight of their own has the largest of their groups'; else 1. */
    groupWeights: Readonly<Record<string, number>>;
    /** So many CPUs are charged like one accelerator. */
    cpusPerAccelerator: number;
  };
  /** Of jobs that give no `--time`; 0: none. */
  defaultTimeSeconds: number;
  /** Longest that a job may ask for; 0: any. A job without a limit gets this one. */
  maxTimeSeconds: number;
  /** How long before its end a job is warned. */
  warningSeconds: number;
  /** A job at the head of the order whose start cannot be foreseen holds back others after having waited this long. */
  reserveAfterSeconds: number;
  /** Highest priority that a job of an ordinary user may ask for. */
  maxPriority: number;
  preemption: boolean;
  /** From the warning until a preempted job is stopped. */
  preemptionWarningSeconds: number;
  /** Whose names reasons show to ordinary users: nobody's but their own, their groups' members', everybody's. */
  showHolders: "own" | "group" | "all";
}

export const defaultScheduling: SchedulingConfig = {
  fairShare: { halfLifeHours: 168, userWeights: {}, groupWeights: {}, cpusPerAccelerator: 16 },
  defaultTimeSeconds: 0,
  maxTimeSeconds: 0,
  warningSeconds: 120,
  reserveAfterSeconds: 1_800,
  maxPriority: 1_000,
  preemption: false,
  preemptionWarningSeconds: 60,
  showHolders: "own",
};
