/** What a user's session says of itself, on answers that were recorded: well, printing, hanging, hostile. */
import { describe, expect, test } from "vitest";
import { recorded, type Recording, siteOf } from "../../test/help/recorded-probes.ts";
import { usersPolicySchema } from "../../shared/users-policy.ts";
import type { Probes } from "../probes.ts";
import { logins, parseSession } from "./logins.ts";

const passwd = "alice:x:1001:1001::/home/alice:/bin/bash\n";
const session = (changes: Record<string, string> = {}, before = "", bashrc = ""): string => {
  const facts = {
    uid: "1001",
    umask: "0022",
    groups: "1",
    private: "yes",
    home: "yes",
    write: "yes",
    free: "9999999",
    inodes: "99999",
    ...changes,
  };
  const lines = Object.entries(facts).map(([key, value]) => `${key}=${value}`);
  return `${before}SKY-BEGIN\n${lines.join("\n")}\nSKY-BASHRC\n${bashrc}\nSKY-END\n`;
};

async function said(answer: NonNullable<Recording["tools"]>[string], row = passwd): Promise<string[]> {
  const tools = { "getent passwd": row, "sudo -n -H su --login alice": answer };
  const findings = await logins.run(recorded({ tools }), siteOf({ users: [{ name: "alice", uid: 1001 }] }));
  return findings.filter(({ level }) => level !== "ok").map(({ level, check, seen }) => `${level} ${check}: ${seen}`);
}

describe("logins", () => {
  test.each([
    ["a good one", session(), []],
    ["prints in .bashrc", session({}, "hi\n", "hi"), [/^warn login-output: ~\/\.bashrc of 'alice' prints .*"hi"/]],
    ["prints in .profile", session({}, "Welcome!\n"), [/^warn login-output: The login of 'alice' prints: "Welcome!"/]],
    ["no home", session({ home: "", write: "" }), [/^error home: 'alice' has no home here: \/home\/alice/]],
    ["a home that is read-only", session({ write: "" }), [/^error home: 'alice' cannot write into their home/]],
    ["a home that is full", session({ write: "", free: "0" }), [/its disk is full/]],
    [
      "a home that is nearly full",
      session({ free: "500" }),
      [/^warn home: The disk with the home of 'alice' is nearly full/],
    ],
    ["files that nobody may use", session({ umask: "0777" }), [/^error umask: .*cannot use files/]],
    ["files open to all", session({ umask: "0000" }), [/^error umask: .*everybody may change/]],
    ["files open to a shared group", session({ umask: "0002", private: "" }), [/^warn umask: .*whole group/]],
    ["files open to the user's own group", session({ umask: "0002" }), []],
    ["an odd umask", session({ umask: "u=rwx; rm -rf /" }), []],
  ])("%s", async (_name, answer, expected) => {
    expect(await said(answer)).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });

  test("one that hangs, one that ends early, one that is slow", async () => {
    expect(await said("slow")).toEqual([expect.stringMatching(/^error login: .*does not end within 10 s/)]);
    expect(await said({ code: 1, stdout: "This account is currently not available.\n" })).toEqual([
      expect.stringMatching(
        /^error login: The login of 'alice' ends before a command is run\. It printed: "This account/,
      ),
    ]);
    expect(await said({ stdout: session(), ms: 5_000 })).toEqual([
      expect.stringMatching(/^warn login: .*takes 5\.0 s/),
    ]);
  });

  test("no login shell", async () => {
    expect(await said("", "alice:x:1001:1001::/home/alice:/usr/sbin/nologin\n")).toEqual([
      expect.stringMatching(/^warn login-shell: No login is possible for: alice \(\/usr\/sbin\/nologin\)/),
    ]);
  });

  test("what a user prints is text: no control character, no long line, no command of theirs", async () => {
    const tools = {
      "getent passwd": passwd,
      "sudo -n -H su --login alice": session({}, `\u001b[2J\u202e${"A".repeat(5_000)}'; reboot\n`),
    };
    const findings = await logins.run(recorded({ tools }), siteOf({ users: [{ name: "alice", uid: 1001 }] }));
    const output = findings.find(({ check }) => check === "login-output");
    expect(output?.seen).not.toMatch(/[\u0000-\u001f\u202e]/);
    expect(output?.seen.length).toBeLessThan(300);
    expect(output?.mend).not.toContain("reboot");
  });

  test("a name that a shell would read is never logged in", async () => {
    const row = "a;reboot:x:1001:1001::/home/a:/bin/bash\n";
    const findings = await logins.run(recorded({ tools: { "getent passwd": row } }), siteOf());
    expect(findings.every(({ level }) => level === "ok")).toBe(true);
  });

  test("nobody is logged in as whom this machine's own config denies, whatever the head says", async () => {
    const rows = `${passwd}bob:x:1002:1002::/home/bob:/bin/bash\ncarol:x:1003:1003::/home/carol:/bin/bash\n`;
    const tools = {
      "getent passwd": rows,
      "id -Gnz -- alice": "alice\0staff\0",
      "id -Gnz -- bob": "bob\0sudo\0",
      "sudo -n -H su --login": session(),
    };
    const probes = recorded({ tools });
    const sessions: string[] = [];
    const watched: Probes = {
      ...probes,
      tool(argv, limitMs) {
        sessions.push(...(argv[0] === "sudo" ? [argv[5] ?? ""] : []));
        return probes.tool(argv, limitMs);
      },
    };
    const users = ["alice", "bob", "carol"].map((name, at) => ({ name, uid: 1001 + at }));
    const policy = usersPolicySchema.parse({ deny_groups: ["sudo"] });
    await logins.run(watched, siteOf({ users, policy }));
    // What groups carol has nobody can say.
    expect(sessions).toEqual(["alice"]);
    await logins.run(watched, siteOf({ users, policy: null }));
    expect(sessions).toEqual(["alice"]);
  });

  test("a session that forges marks speaks for itself only", () => {
    const forged = parseSession(`SKY-BEGIN\numask=0022\nSKY-END\n${session({ umask: "0077" })}`);
    expect(forged.isComplete).toBe(true);
  });
});
