/**
 * What a person is told when the head cannot be used, by each transport: the machine, the cause and the way out, with
 * exit code 1, at once where waiting helps nobody, and without a stack.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { register, sky } from "../help/sky.ts";
import { clusterName, jobLines, plain, type Site, startSite } from "../help/site.ts";
import { freePort, startSshd } from "../help/sshd.ts";
import type { TestUser } from "../help/users.ts";

let site: Site;
let user: TestUser;
beforeAll(async () => {
  site = await startSite({ accelerators: "-" });
  user = site.users[0] as TestUser;
});
afterAll(async () => await site?.stop());

interface Choices {
  port?: number;
  hostKey?: string;
  /** coordinator.gate and coordinator.socket. */
  gate?: string;
  socket?: string;
}

describe.each(["ssh2", "openssh"] as const)("by %s", (transport) => {
  function choose(choices: Choices = {}): void {
    const port = choices.port ?? site.sshd.port;
    const file = register(user, site.cluster, { port, hostKey: choices.hostKey ?? site.sshd.hostKey });
    const text = readFileSync(file, "utf8")
      .replace(/( {2}gate: ).*/, (all, key: string) => (choices.gate === undefined ? all : `${key}${choices.gate}`))
      .replace(/( {2}socket: ).*/, (all, key: string) =>
        choices.socket === undefined ? all : `${key}${choices.socket}`,
      );
    writeFileSync(file, `transport: ${transport}\n${text}`);
  }

  async function failure(choices: Choices): Promise<string> {
    choose(choices);
    const result = await sky(user, ["queue", clusterName]);
    const text = plain(result.stderr);
    expect(result.code, result.stdout).toBe(1);
    expect(result.stdout).toBe("");
    expect(text).toContain("127.0.0.1");
    expect(text).not.toMatch(/^\s+at |fault in sky/m);
    // The cause, then the way out on a line of its own.
    expect(text.trim().split("\n").length).toBeGreaterThanOrEqual(2);
    return text;
  }

  test("nothing listens there", async () => {
    const text = await failure({ port: await freePort() });
    expect(text).toMatch(/connection refused/i);
    expect(text).toContain("auth.port");
    expect(text).not.toContain("trying again");
  });

  test("sshd forbids forwarding, and the gate is used", async () => {
    const strict = await startSshd(["DisableForwarding yes"]);
    try {
      choose(strict);
      const result = await sky(user, ["exec", clusterName, "--", "echo through the gate"]);
      expect(jobLines(result.stdout), result.stderr).toEqual(["through the gate"]);
    } finally {
      await strict.stop();
    }
  });

  test("sshd forbids forwarding, and there is no gate", async () => {
    const strict = await startSshd(["DisableForwarding yes"]);
    try {
      const text = await failure({ ...strict, gate: "/no/such/sky" });
      expect(text).toContain("/no/such/sky");
      expect(text).toContain("coordinator.gate");
      expect(text).not.toContain("trying again");
    } finally {
      await strict.stop();
    }
  });

  test("no coordinator at that socket", async () => {
    const text = await failure({ socket: `${site.cluster.dir}/run/none.sock` });
    expect(text).toContain(`no coordinator answers at ${site.cluster.dir}/run/none.sock`);
    expect(text).toContain("coordinator.socket");
  });

  test("the account's shell ends every login", async () => {
    const closed = await startSshd(["ForceCommand echo This account is closed.; exit 1", "DisableForwarding yes"]);
    try {
      const text = await failure(closed);
      expect(text).toMatch(/sky.* (cannot be run|failed)/);
      expect(text).not.toContain("trying again");
    } finally {
      await closed.stop();
    }
  });

  test("a login shell that prints before the gate does no harm", async () => {
    const chatty = await startSshd([
      "DisableForwarding yes",
      'ForceCommand echo Welcome; sh -c "$SSH_ORIGINAL_COMMAND"',
    ]);
    try {
      choose(chatty);
      const result = await sky(user, ["exec", clusterName, "--", "echo all the same"]);
      expect(jobLines(result.stdout), result.stderr).toEqual(["all the same"]);
    } finally {
      await chatty.stop();
    }
  });
});
