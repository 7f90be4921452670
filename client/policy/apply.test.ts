/** What a policy server that a project's file names is told, and which places a config can name. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { policyPlace } from "../../shared/admin-policy/names.ts";
import { readTask } from "../../shared/task-file.ts";
import type { Context } from "../commands/context.ts";
import { applyClientPolicy } from "./apply.ts";

test("a policy server gets neither the values of secrets nor the keys of other servers", async () => {
  let seen = "";
  const server = createServer((incoming, outgoing) => {
    incoming.setEncoding("utf8").on("data", (chunk: string) => {
      seen += chunk;
    });
    incoming.on("end", () => {
      const { task, skypilot_config } = JSON.parse(JSON.parse(seen) as string) as Record<string, string>;
      outgoing.end(JSON.stringify(JSON.stringify({ task: `${task}name: seen\n`, skypilot_config })));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  try {
    const printed: string[] = [];
    const context = {
      screen: { print: (text: string) => printed.push(text), note: () => undefined },
      interrupted: () => ({ signal: new AbortController().signal, done: () => undefined }),
    } as unknown as Context;
    const config = {
      admin_policy: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
      api_server: { endpoint: "https://sky.example", service_account_token: "hush-token" },
      docker: { run_options: ["--init"] },
    };
    const task = readTask("run: a\nenvs: {A: told}\nsecrets: {B: hush-secret}\n", { file: "t" });
    const options = { cluster_name: "lab", idle_minutes_to_autostop: null, down: false, dryrun: false };
    const result = await applyClientPolicy(context, { name: "launch", task, config, options });
    expect(printed[0]).toContain(config.admin_policy);
    expect(seen).toContain("told");
    expect(seen).not.toContain("hush");
    expect(result.task).toMatchObject({ name: "seen", secrets: { B: "hush-secret" } });
    expect(result.config).toEqual({ docker: config.docker });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test.each(["http://a.example/\u001b[2Jx", "https://a.example/\u202Ex", "http://a.example/ b", "https://"])(
  "%j is no place of a policy",
  (text) => {
    expect(() => policyPlace(text)).toThrow("admin_policy is no URL that can be called.");
  },
);
