/**
 * What the worker of admin policies and its keeper say to each other: JSON lines over a pipe of their own, so that nothing
 * that a policy prints is taken for an answer. Both sides bound what they read. Used by system/policy and by the
 * worker's program (client/policy/worker.ts).
 */
import * as z from "zod";

/** The file descriptor of the pipe in the worker. */
export const workerPipe = 3;

/** The keeper's first line: what is to be loaded. `folder`: as people call it. */
export const loadSchema = z.strictObject({
  file: z.string(),
  module: z.string(),
  className: z.string(),
  folder: z.string(),
});
export type WorkerLoad = z.infer<typeof loadSchema>;

/** Every further line of the keeper's. `question` is the inner text of the wire format; `holdings` null: not known. */
export const taskSchema = z.strictObject({ id: z.int(), question: z.string(), holdings: z.unknown() });

/** The worker's lines. */
export const workerLineSchema = z.union([
  z.strictObject({ ready: z.literal(true) }),
  z.strictObject({ unusable: z.string().max(20_000) }),
  z.strictObject({ id: z.int(), answer: z.string() }),
  z.strictObject({ id: z.int(), raised: z.strictObject({ type: z.string().max(200), text: z.string().max(20_000) }) }),
]);
export type WorkerLine = z.infer<typeof workerLineSchema>;
