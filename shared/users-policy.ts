/**
 * Who may run jobs: the `users` block that stands in the coordinator's and in every agent's config, and the judgement
 * itself. Pure. The coordinator asks it before it queues a job; the agent asks it again with its own root-owned config,
 * because the coordinator's account could otherwise act as any user.
 */
import * as z from "zod";

export const usersPolicySchema = z.strictObject({
  /** Accounts below this uid are system accounts and are refused, unless named in `allow`. Root is such an account. */
  min_uid: z.int().min(0).default(1000),
  allow: z.array(z.string()).default([]),
  deny: z.array(z.string()).default([]),
  /** Members of these groups are refused. */
  deny_groups: z.array(z.string()).default([]),
});
export type UsersPolicy = z.infer<typeof usersPolicySchema>;

/** An account as the name service gives it. */
export interface Account {
  uid: number;
  gid: number;
  name: string;
  home: string;
  shell: string;
  groups: string[];
}

/** Why this account may not run jobs, as a sentence for the user; null when it may. `nobody` (65534) is always refused. */
export function refusalOf(account: Account, policy: UsersPolicy): string | null {
  if (policy.deny.includes(account.name)) {
    return `Jobs of user '${account.name}' are not allowed here (users.deny in the config).`;
  }
  const denied = account.groups.find((group) => policy.deny_groups.includes(group));
  if (denied !== undefined) {
    return `Jobs of members of group '${denied}' are not allowed here (users.deny_groups in the config).`;
  }
  if (account.uid === 65534) {
    return `Jobs of '${account.name}' are never run: it is the account of nobody.`;
  }
  if (account.uid < policy.min_uid && !policy.allow.includes(account.name)) {
    return `Jobs of '${account.name}' (uid ${account.uid}) are not allowed here: it is a system account. An admin can name it in users.allow.`;
  }
  return null;
}
