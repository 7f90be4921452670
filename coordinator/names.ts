/**
 * Whether the head's name service knows an account or a group of a name. It must never use a shell, and never take a
 * service that does not answer for "no such name". Called by the API's routes for admins, when a name is first written.
 */
import { runChild } from "./accounts.ts";

/** Null: the name service did not say. `name` must have been checked; it is never an id. */
export async function isKnownName(database: "passwd" | "group", name: string): Promise<boolean | null> {
  try {
    const { code, stdout } = await runChild("getent", [database, "--", name]);
    // 2 is getent's "not found". A name of digits is looked up as an id, and then the entry has another name.
    return code === 0 ? stdout.startsWith(`${name}:`) : code === 2 ? false : null;
  } catch {
    return null;
  }
}
