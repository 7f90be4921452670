/**
 * Lookups of accounts: the real machine's root and nobody-at-all, and name services that hang or answer oddly, by a
 * stand-in for the children only.
 */
import { expect, test } from "vitest";
import { type RunChild, SystemAccounts } from "./accounts.ts";
import { accountOf, requireAdminNow } from "./api/identity.ts";

const alice = "alice:x:1001:1001:Alice,,,:/home/alice:/bin/bash\n";

function scripted(answers: Record<string, { code: number; stdout: string } | Error>): {
  run: RunChild;
  calls: string[];
} {
  const calls: string[] = [];
  const run: RunChild = async (program, args) => {
    calls.push([program, ...args].join(" "));
    const answer = answers[program] ?? new Error("not scripted");
    if (answer instanceof Error) {
      throw answer;
    }
    return answer;
  };
  return { run, calls };
}

test("root of this machine, and a uid that has no account", async () => {
  const accounts = new SystemAccounts();
  const root = await accounts.byUid(0);
  expect(root).toMatchObject({ uid: 0, gid: 0, name: "root" });
  expect(root?.groups).toContain("root");
  expect(await accounts.byUid(3_999_999_999)).toBeNull();
});

test("somebody who is taken out of the admins' group is refused at once, and asking costs only admins a lookup", async () => {
  const groups = { code: 0, stdout: "alice\0sky-admin\0" };
  const { run, calls } = scripted({ getent: { code: 0, stdout: alice }, id: groups });
  const accounts = new SystemAccounts(run, () => 0);
  const account = (): ReturnType<typeof accountOf> => accountOf(1001, accounts);
  await requireAdminNow(await account(), "sky-admin", accounts);
  groups.stdout = "alice\0";
  // For what any user may do the answer is still a kept one.
  await expect(requireAdminNow(await account(), "sky-admin", accounts)).rejects.toMatchObject({
    type: "PermissionDeniedError",
  });
  const before = calls.length;
  for (let round = 0; round < 20; round += 1) {
    await expect(requireAdminNow(await account(), "sky-admin", accounts)).rejects.toThrow("sky-admin");
  }
  expect(calls).toHaveLength(before);
});

test("answers are kept for a while, absence only shortly", async () => {
  let now = 0;
  const { run, calls } = scripted({
    getent: { code: 0, stdout: alice },
    id: { code: 0, stdout: "alice\0domain users\0" },
  });
  const accounts = new SystemAccounts(run, () => now);
  expect(await accounts.byUid(1001)).toEqual({
    uid: 1001,
    gid: 1001,
    name: "alice",
    home: "/home/alice",
    shell: "/bin/bash",
    groups: ["alice", "domain users"],
  });
  await Promise.all([accounts.byUid(1001), accounts.byUid(1001)]);
  expect(calls).toEqual(["getent passwd 1001", "id -Gnz -- alice"]);
  now = 31_000;
  await accounts.byUid(1001);
  expect(calls).toHaveLength(4);

  const none = scripted({ getent: { code: 2, stdout: "" } });
  const empty = new SystemAccounts(none.run, () => now);
  expect(await empty.byUid(5)).toBeNull();
  expect(await empty.byUid(5)).toBeNull();
  expect(none.calls).toHaveLength(1);
  now += 4_000;
  await empty.byUid(5);
  expect(none.calls).toHaveLength(2);
});

test.each([
  ["hangs", { getent: new Error("getent took longer than 5 s") }],
  ["fails", { getent: { code: 1, stdout: "" } }],
  ["answers for another uid", { getent: { code: 0, stdout: alice.replace("1001", "0") } }],
  ["knows no groups", { getent: { code: 0, stdout: alice }, id: { code: 1, stdout: "" } }],
])("a name service that %s is an error, not an absent user, and is asked again", async (_, answers) => {
  const { run, calls } = scripted(answers);
  const accounts = new SystemAccounts(run);
  await expect(accounts.byUid(1001)).rejects.toMatchObject({ type: "ServerUnavailableError" });
  const before = calls.length;
  await expect(accounts.byUid(1001)).rejects.toThrow(/uid 1001/);
  expect(calls.length).toBeGreaterThan(before);
});

test("a name that could be an option or a path is refused", async () => {
  const { run } = scripted({ getent: { code: 0, stdout: alice.replace("alice", "-r/../x") } });
  await expect(new SystemAccounts(run).byUid(1001)).rejects.toMatchObject({ type: "PermissionDeniedError" });
});

test("many callers share a few children", async () => {
  let running = 0;
  let most = 0;
  const run: RunChild = async (program, args) => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    const stdout = program === "id" ? "users\0" : `u${args[1]}:x:${args[1]}:100::/home/u:/bin/sh\n`;
    return { code: 0, stdout };
  };
  const accounts = new SystemAccounts(run);
  const all = await Promise.all(Array.from({ length: 100 }, (_, index) => accounts.byUid(2000 + index)));
  expect(all.map((account) => account?.name)).toEqual(Array.from({ length: 100 }, (_, index) => `u${2000 + index}`));
  expect(most).toBe(8);
});
