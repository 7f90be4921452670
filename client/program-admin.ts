/**
 * The definitions of `sky admin …`: what those who look after a cluster do. Each verb's code lies in
 * client/commands/admin/ and is loaded when it is called. It must never decide who is an admin: the coordinator does, by
 * the Unix group that its config names. Called by client/program.ts.
 */
import type { Register } from "./program-parts.ts";

/** Verbs of `sky admin`; each adds its own command to the group. */
const verbs: Register[] = [];

export const registerAdmin: Register = (program, context, outcome) => {
  const group = program.command("admin").description("look after a cluster (members of its admin group)");
  for (const register of verbs) {
    register(group, context, outcome);
  }
};
