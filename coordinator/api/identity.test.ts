/** Accounts behind uids, and who counts as an admin. That uids come from the kernel is tested with the server. */
import { describe, expect, it } from "vitest";
import { accountOf, isAdmin, requireJobUser } from "./identity.ts";
import { rootAccount } from "../../test/help/api-parts.ts";

const alice = { ...rootAccount, uid: 1000, gid: 1000, name: "alice", groups: ["alice", "lab"] };
const policy = { min_uid: 1000, allow: [], deny: [], deny_groups: ["students"] };

describe("accountOf", () => {
  it("gives the account of the uid, and refuses a uid without one", async () => {
    const accounts = { byUid: async (uid: number) => (uid === 1000 ? alice : null) };
    expect(await accountOf(1000, accounts)).toBe(alice);
    await expect(accountOf(1001, accounts)).rejects.toMatchObject({ type: "PermissionDeniedError" });
  });

  it("says that the name service is to blame when it is, and never lets the caller through", async () => {
    const hanging = {
      byUid: async (): Promise<never> => {
        throw new Error("getent took longer than 5 s");
      },
    };
    await expect(accountOf(1000, hanging)).rejects.toMatchObject({
      type: "ServerUnavailableError",
      message: expect.stringContaining("getent took longer"),
    });
    await expect(accountOf(1001, { byUid: async () => alice })).rejects.toMatchObject({
      type: "PermissionDeniedError",
    });
  });
});

it("lets the policy refuse", () => {
  expect(() => requireJobUser(alice, policy)).not.toThrow();
  expect(() => requireJobUser(rootAccount, policy)).toThrow("system account");
  expect(() => requireJobUser({ ...alice, groups: ["students"] }, policy)).toThrow("deny_groups");
});

it("knows admins by their group; root is one", () => {
  expect([isAdmin(alice, "sky-admin"), isAdmin(alice, "lab"), isAdmin(rootAccount, "sky-admin")]).toEqual([
    false,
    true,
    true,
  ]);
});
