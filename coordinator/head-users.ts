/**
 * Accounts of the head as a whole: those whose jobs may run (for the doctor to compare with other machines), a uid for a
 * name, and who is in a group. Asked through getent with a time limit; a directory that does not list its accounts gives
 * only those that are known from jobs. Called by the API's routes for admins.
 */
import { SkyError } from "../shared/errors.ts";
import { type Uid, uidSchema, userNameSchema } from "../shared/ids.ts";
import { refusalOf, type UsersPolicy } from "../shared/users-policy.ts";
import { type RunChild, runChild } from "./accounts.ts";

const usersMax = 1_000;

interface Row {
  name: string;
  uid: Uid;
  shell: string;
}

function rowsOf(text: string): Row[] {
  return text.split("\n").flatMap((line) => {
    const [name, , uidText = "", , , , shell = ""] = line.split(":");
    const parsedName = userNameSchema.safeParse(name);
    const uid = /^[0-9]+$/.test(uidText) ? uidSchema.safeParse(Number(uidText)) : null;
    return parsedName.success && uid?.success === true ? [{ name: parsedName.data, uid: uid.data, shell }] : [];
  });
}

/**
 * Users whose jobs may run, those of `first` (they have jobs now) before the others; at most 1,000. Accounts without a
 * login shell cannot reach the coordinator and are left out.
 */
export async function headUsers(
  policy: UsersPolicy,
  first: readonly { name: string; uid: Uid }[],
  run: RunChild = runChild,
): Promise<{ name: string; uid: Uid }[]> {
  const listed = await run("getent", ["passwd"]).catch(() => ({ code: 1, stdout: "" }));
  const rows = rowsOf(listed.stdout).filter((row) => !/\/(nologin|false)$/.test(row.shell));
  const users = new Map<string, Uid>();
  for (const { name, uid } of [...first, ...rows]) {
    const refusal = refusalOf({ uid, gid: 0, name, home: "", shell: "", groups: [] }, policy);
    if (refusal === null && users.size < usersMax && !users.has(name)) {
      users.set(name, uid);
    }
  }
  return [...users].map(([name, uid]) => ({ name, uid }));
}

/** The uid of a name, or of a uid in digits. Throws SkyError when there is no such account. */
export async function uidOf(name: string, run: RunChild = runChild): Promise<Uid> {
  const found = await run("getent", ["passwd", "--", name]);
  const row = rowsOf(found.stdout).find((each) => each.name === name);
  if (row !== undefined) {
    return row.uid;
  }
  // Somebody whose account is gone is still known by the number.
  const uid = /^[0-9]{1,10}$/.test(name) ? uidSchema.safeParse(Number(name)) : null;
  if (uid?.success === true) {
    return uid.data;
  }
  throw new SkyError("ValueError", `There is no user '${name}' on the head machine.`, "A uid works too, e.g. 1001/3.");
}

/** Members of a group by its own row (not those who have it as their primary group); null: there is no such group. */
export async function membersOf(group: string, run: RunChild = runChild): Promise<string[] | null> {
  const found = await run("getent", ["group", "--", group]);
  const row = found.stdout.split("\n").find((line) => line.split(":")[0] === group);
  return row === undefined ? null : (row.split(":")[3] ?? "").split(",").filter((name) => name !== "");
}
