/**
 * What admins have decided about a node, as it is stored and as the coordinator's core holds it. It is laid over the
 * config's list of nodes: the config says which nodes exist, this says which of them take jobs and whose key has been
 * changed since. It must never hold a private key. Used by the coordinator's store, core and API.
 */
import * as z from "zod";
import { timeSchema } from "./ids.ts";

/** A public key as `ssh-ed25519 BASE64`, without a comment, so that equal keys are equal texts. */
const keySchema = z.string().regex(/^ssh-ed25519 [A-Za-z0-9+/]{68}={0,2}$/);

/** Longest text that an admin may give as a reason, in characters. */
export const adminReasonMax = 300;

export const nodeAdminSchema = z.strictObject({
  /** `draining`: nothing new starts there. `removed`: its key is refused too. */
  state: z.enum(["open", "draining", "removed"]),
  /** The admin's words, for users; null: none were given. */
  reason: z.string().max(adminReasonMax).nullable(),
  /** Name of the admin's account. */
  by: z.string().max(64).nullable(),
  since: timeSchema.nullable(),
  /** Draining only: what still runs then is ended. */
  deadline: timeSchema.nullable(),
  /** A key that the node has made in place of the one in the config; null: the config's key is the only one. */
  key: z
    .strictObject({
      /** The config's key when this was written; another one in the config makes this entry void. */
      configured: keySchema,
      /** The key that counted before. */
      replaces: keySchema,
      key: keySchema,
      /** The node has connected with `key`: from then on `replaces` is refused. */
      used: z.boolean(),
    })
    .nullable(),
});
export type NodeAdmin = z.infer<typeof nodeAdminSchema>;
export type NodeKey = NonNullable<NodeAdmin["key"]>;

/** A node about which no admin has said anything. */
export const openNode: NodeAdmin = { state: "open", reason: null, by: null, since: null, deadline: null, key: null };
