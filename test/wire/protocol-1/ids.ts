/**
 * Identifiers that cross a boundary: who, which job, which attempt, which node. Every schema here is what a frame, a
 * record or a config may contain, so lengths and characters are bounded before anything is logged or used in a path.
 * It must never create an identifier: cores derive them from their state, adapters draw them from the system.
 * Used by every part.
 */
import * as z from "zod";

/** A Unix user id as the kernel gives it. 4294967295 is "no user" and never valid. */
export const uidSchema = z.int().min(0).max(4294967294);
export type Uid = z.infer<typeof uidSchema>;

/** A Unix account name; what useradd accepts plus dots, `@` and upper case as directory services use. */
export const userNameSchema = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/);

/** A machine's name within one cluster, as the admin wrote it in the coordinator's config. */
export const nodeNameSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);
export type NodeName = z.infer<typeof nodeNameSchema>;

/** A cluster's name as users write it on the command line. */
export const clusterNameSchema = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/);

/** A job's number in its user's own queue: 1, 2, 3 … (BullMQ's id of that queue). */
export const jobIdSchema = z
  .int()
  .min(1)
  .max(2 ** 31);
export type JobId = z.infer<typeof jobIdSchema>;

/** One start of a job, unique for ever: `<nonce of the coordinator's start>-<counter>`. Safe as a file name. */
export const attemptIdSchema = z.string().regex(/^[a-z0-9]{8}-[0-9]{1,9}$/);
export type AttemptId = z.infer<typeof attemptIdSchema>;

/** Identity of the coordinator's state; made when the state is first created, changes when it is lost. */
export const stateIdSchema = z.string().regex(/^[a-z0-9]{16}$/);

/** A request id of the API (uuid4). */
export const requestIdSchema = z.uuid();
export type RequestId = z.infer<typeof requestIdSchema>;

/** A task's or job's name. Source of the form: SkyPilot's task YAML. */
export const jobNameSchema = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/);

/** Milliseconds since 1970 on the coordinator's clock. */
export const timeSchema = z.int().min(0);
