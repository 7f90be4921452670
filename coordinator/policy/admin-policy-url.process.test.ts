/**
 * Policy servers: one that answers as FastAPI does, ones that fail in every way that a server can, and our own `serve`
 * asked by our own runner. Whatever is no changed request refuses, with SkyPilot's words and without credentials.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { policyPlace } from "../../shared/admin-policy/names.ts";
import { SkyError } from "../../shared/errors.ts";
import { openPolicyProcess } from "../../client/policy/apply.ts";
import { servePolicy } from "../../client/policy/serve.ts";
import { buildPolicyPrograms, type PolicyPrograms } from "../../test/help/policy-programs.ts";
import { coordinatorConfigSchema } from "../config.ts";
import { openLog } from "../log.ts";
import { openAdminPolicy } from "./admin-policy.ts";
import type { AdminPolicyRequest } from "./parts.ts";

let programs: PolicyPrograms;
const servers: Server[] = [];

beforeAll(async () => {
  programs = await buildPolicyPrograms();
}, 120_000);
afterAll(() => programs?.remove());
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function listening(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}

const request: AdminPolicyRequest = {
  name: "launch",
  account: { uid: 1001, gid: 1001, name: "alice", home: "/home/alice", shell: "/bin/sh", groups: ["alice"] },
  taskText: "run: echo hello\n",
  config: { docker: { run_options: ["--init"] } },
  options: { clusterName: "lab", dryrun: false, down: false, idleMinutesToAutostop: null },
  clientApiVersion: 56,
  clientVersion: "0.13.0",
  holdings: () => [],
  signal: AbortSignal.timeout(60_000),
};

async function runnerOf(url: string, seconds = 30) {
  const config = coordinatorConfigSchema.parse({
    cluster: "lab",
    host_key: "/nonexistent",
    redis: { socket: "/nonexistent" },
    state_dir: programs.folder(),
    nodes: [{ name: "one", key: "ssh-ed25519 AAAA" }],
    admin_policy: url,
    policies: { admin_policy_seconds: seconds },
  });
  return openAdminPolicy(config, openLog("error"));
}

async function refusal(url: string, seconds?: number): Promise<string> {
  const runner = await runnerOf(url, seconds);
  const error: unknown = await runner.apply(request).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SkyError);
  expect((error as SkyError).type).toBe("UserRequestRejectedByPolicy");
  return (error as SkyError).message;
}

/** Answers as `JSONResponse(content=mutated_request.encode())` does. */
const likeFastApi: RequestListener = (incoming, outgoing) => {
  void bodyOf(incoming).then((body) => {
    const asked = JSON.parse(JSON.parse(body) as string) as { task: string; skypilot_config: string; user: string };
    if (asked.task.includes("forbidden")) {
      outgoing.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify("Not on this cluster."));
      return;
    }
    const reply = { task: `${asked.task}name: ${/name: (\w+)/.exec(asked.user)?.[1]}\n`, skypilot_config: "{}\n" };
    outgoing.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(JSON.stringify(reply)));
  });
};

describe("a server in Python", () => {
  test("changes a request", async () => {
    const url = `${await listening(likeFastApi)}/policy`;
    const runner = await runnerOf(url);
    expect(runner.name).toBe(`RestfulAdminPolicy(policy_url=${url})`);
    expect(await runner.apply(request)).toEqual({ taskText: "run: echo hello\nname: alice\n", config: {} });
  });

  test("refuses one: its body is shown as it came", async () => {
    const url = await listening(likeFastApi);
    const runner = await runnerOf(url);
    await expect(runner.apply({ ...request, taskText: "run: forbidden\n" })).rejects.toThrow(
      `User request is rejected by admin policy ${url}: "Not on this cluster."`,
    );
  });

  test("may add a slash to the address, and credentials of the URL are sent and not shown", async () => {
    const url = await listening((incoming, outgoing) => {
      if (incoming.url === "/policy") {
        outgoing.writeHead(307, { location: "/policy/" }).end();
      } else if (incoming.headers.authorization === `Basic ${Buffer.from("me:secret").toString("base64")}`) {
        likeFastApi(incoming, outgoing);
      } else {
        outgoing.writeHead(401).end("who are you");
      }
    });
    const runner = await runnerOf(`${url.replace("//", "//me:secret@")}/policy`);
    expect((await runner.apply(request)).taskText).toContain("name: alice");
    expect(runner.name).toBe(`RestfulAdminPolicy(policy_url=${url}/policy)`);
    const wrong = await refusal(`${url.replace("//", "//me:other@")}/policy`);
    expect(wrong).toContain("it answered with status 401: who are you");
    expect(wrong).not.toContain("other");
  });
});

describe("everything else refuses", () => {
  const failed = (url: string, words: string): string =>
    `User request rejected by policy RestfulAdminPolicy(policy_url=${url}): [sky.exceptions.RestfulPolicyError] ` +
    `Failed to call admin policy URL ${url}: ${words}`;

  test.each([500, 404, 403, 204, 302])("status %i", async (status) => {
    const url = await listening((_, outgoing) => {
      outgoing.writeHead(status, { location: "/" }).end(status === 204 ? undefined : "no");
    });
    expect(await refusal(url)).toBe(failed(url, `it answered with status ${status}: ${status === 204 ? "" : "no"}`));
  });

  test("a redirect to another address", async () => {
    const other = await listening(likeFastApi);
    const url = await listening((_, outgoing) => outgoing.writeHead(307, { location: other }).end());
    expect(await refusal(url)).toBe(failed(url, "307: it points to another address, which is not followed"));
  });

  test("nobody there", async () => {
    const url = await listening(likeFastApi);
    servers.splice(0).forEach((server) => server.close());
    expect(await refusal(url)).toMatch(/Failed to call admin policy URL .*: connect ECONNREFUSED/);
  });

  test("a connection that is cut", async () => {
    const url = await listening((incoming) => incoming.socket.destroy());
    expect(await refusal(url)).toContain(`Failed to call admin policy URL ${url}: `);
  });

  test.each([
    ["no answer", () => undefined],
    [
      "an answer that never ends",
      (_: IncomingMessage, outgoing: Parameters<RequestListener>[1]) => void outgoing.write('"'),
    ],
  ])("%s in time", async (_, listener) => {
    const url = await listening(listener);
    expect(await refusal(url, 1)).toBe(failed(url, "it did not answer within 1 s (read timeout)"));
  });

  test("an answer that is too large", async () => {
    const url = await listening((_, outgoing) => outgoing.end("x".repeat(21 * 1024 * 1024)));
    expect(await refusal(url)).toBe(failed(url, "its answer is over 20 MB"));
  });

  test.each([
    ["<html>", "[ValueError] it is no JSON"],
    ['"hello"', "[ValueError] it is no JSON"],
    ["{}", "[ValidationError] task: "],
    ['{"task":"- a","skypilot_config":"{}"}', "[ValueError] task must be a mapping of keys to values."],
  ])("the answer %s", async (body, words) => {
    const url = await listening((_, outgoing) => outgoing.end(body));
    expect(await refusal(url)).toContain(
      `[sky.exceptions.RestfulPolicyError] Failed to decode response from admin policy URL ${url}: ${words}`,
    );
  });
});

describe("sky policy serve", () => {
  const code = `import * as sky from "sky-onprem";
    export class P extends sky.AdminPolicy {
      static override validateAndMutate({ task, skypilotConfig, user }: sky.UserRequest): sky.MutatedUserRequest {
        if (task.name === "bad") throw new sky.RuntimeError("not this one");
        if (task.name === "exit") process.exit(1);
        return new sky.MutatedUserRequest(task.updateEnvs({ WHO: user?.name ?? "nobody" }), skypilotConfig);
      }
    }`;

  async function served(use: (url: string) => Promise<void>): Promise<void> {
    const place = policyPlace("p.P") as ReturnType<typeof policyPlace> & { kind: "module" };
    const packages = programs.packages({ "p.ts": code });
    const context = { cwd: packages, env: {} };
    const worker = openPolicyProcess(place, packages, context, () => undefined, programs.worker);
    const server = await servePolicy(worker, "127.0.0.1", 0);
    try {
      await use(`http://127.0.0.1:${server.port}/`);
    } finally {
      await server.close();
      worker.close();
    }
  }

  test("answers our own runner as any other server", async () => {
    await served(async (url) => {
      const runner = await runnerOf(url);
      expect((await runner.apply(request)).taskText).toContain("WHO: alice");
      await expect(runner.apply({ ...request, taskText: "name: bad\n" })).rejects.toThrow(
        `User request is rejected by admin policy ${url}: "not this one"`,
      );
      await expect(runner.apply({ ...request, taskText: "name: exit\n" })).rejects.toThrow(
        /Failed to call admin policy URL .*: it answered with status 500: .*its process ended with exit code 1/,
      );
      expect((await runner.apply(request)).taskText).toContain("WHO: alice");
    });
  });

  test("refuses what is no request", async () => {
    await served(async (url) => {
      expect((await fetch(url)).status).toBe(405);
      expect((await fetch(url, { method: "POST", body: "hello" })).status).toBe(422);
      const page = { Origin: "https://page.example" };
      expect((await fetch(url, { method: "POST", body: "hello", headers: page })).status).toBe(403);
      expect((await fetch(url, { method: "POST", body: "x".repeat(21 * 1024 * 1024) })).status).toBe(413);
    });
  });
});
