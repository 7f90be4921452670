/**
 * Admin policies of the server in their real process: what they see, what they may change, and that nothing that one does
 * (loops, memory, odd errors, exits, garbage) does more than refuse the request that it was asked about.
 */
import { chmodSync, existsSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ConfigTree } from "../../shared/config-layers.ts";
import { SkyError } from "../../shared/errors.ts";
import { buildPolicyPrograms, type PolicyPrograms } from "../../test/help/policy-programs.ts";
import { until } from "../../test/help/until.ts";
import { coordinatorConfigSchema } from "../config.ts";
import { openLog } from "../log.ts";
import { openAdminPolicy } from "./admin-policy.ts";
import type { AdminPolicyRequest, AdminPolicyRunner } from "./parts.ts";

let programs: PolicyPrograms;
const open: AdminPolicyRunner[] = [];

beforeAll(async () => {
  programs = await buildPolicyPrograms();
}, 120_000);
afterAll(async () => {
  await Promise.all(open.map(async (runner) => runner.close()));
  programs?.remove();
});

interface Opened {
  runner: AdminPolicyRunner;
  state: string;
}

async function runnerOf(admin_policy: string, packages: string, policies: object = {}): Promise<Opened> {
  const state = programs.folder();
  const config = coordinatorConfigSchema.parse({
    cluster: "lab",
    host_key: "/nonexistent",
    redis: { socket: "/nonexistent" },
    state_dir: state,
    nodes: [{ name: "one", key: "ssh-ed25519 AAAA" }],
    admin_policy,
    policies: { packages, ...policies },
  });
  const runner = await openAdminPolicy(config, openLog("error"), { program: programs.worker });
  open.push(runner);
  return { runner, state };
}

/** A policy whose body these lines are; `task` and `config` are what it was asked about. */
function policy(body: string, name = "P"): string {
  return `import * as sky from "sky-onprem";
import * as fs from "node:fs";
export class ${name} extends sky.AdminPolicy {
  static override async validateAndMutate(request: sky.UserRequest): Promise<sky.MutatedUserRequest> {
    const { task, skypilotConfig: config } = request;
    ${body}
    return new sky.MutatedUserRequest(task, config);
  }
}
`;
}

async function withBody(body: string, policies: object = {}): Promise<Opened> {
  return runnerOf("p.P", programs.packages({ "p.ts": policy(body) }), policies);
}

function requestOf(changes: Partial<AdminPolicyRequest> = {}): AdminPolicyRequest {
  return {
    name: "launch",
    account: { uid: 1001, gid: 1001, name: "alice", home: "/home/alice", shell: "/bin/sh", groups: ["alice"] },
    taskText: "run: echo hello\n",
    config: {},
    options: { clusterName: "lab", dryrun: false, down: false, idleMinutesToAutostop: null },
    clientApiVersion: 56,
    clientVersion: "0.2.0",
    holdings: () => [],
    signal: AbortSignal.timeout(60_000),
    ...changes,
  };
}

async function refusal(runner: AdminPolicyRunner, changes: Partial<AdminPolicyRequest> = {}): Promise<string> {
  const error: unknown = await runner.apply(requestOf(changes)).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SkyError);
  expect((error as SkyError).type).toBe("UserRequestRejectedByPolicy");
  return (error as SkyError).message;
}

describe("a policy of the admin's", () => {
  test("sees the request, changes task and config, and is named by its class", async () => {
    const seen = `{ name: request.requestName, user: request.user, options: request.requestOptions,
      client: [request.clientApiVersion, request.clientVersion], side: request.atClientSide, holdings: request.holdings,
      config: { ...config }, run: task.run, env: process.env, argv: process.execArgv }`;
    const { runner, state } = await withBody(`
      task.updateEnvs({ SEEN: JSON.stringify(${seen}) });
      config.setNested(["docker", "run_options"], ["--shm-size=8g"]);`);
    expect(runner.name).toBe("P");
    const holdings = [{ user: "bob", accelerators: { V100: 2 }, cpus: 1, memoryGb: 0, jobs: [] }];
    const config: ConfigTree = { docker: { run_options: ["-v", "/a:/a"] } };
    const result = await runner.apply(requestOf({ holdings: () => holdings, config }));
    expect(result.config).toEqual({ docker: { run_options: ["--shm-size=8g"] } });
    const seenThere = JSON.parse(/SEEN: '?(.*?)'?\n/.exec(result.taskText)?.[1] ?? "null") as Record<string, unknown>;
    expect(seenThere).toMatchObject({
      name: "launch",
      user: { id: "000003e9", name: "alice" },
      options: { clusterName: "lab", idleMinutesToAutostop: null, down: false, dryrun: false },
      client: [56, "0.2.0"],
      side: false,
      holdings,
      config,
      run: "echo hello",
      env: {},
      argv: ["--enable-source-maps", "--max-old-space-size=256"],
    });
    expect(existsSync(join(state, "policies"))).toBe(true);
  });

  test("that changes nothing leaves the text as it is, comments and all", async () => {
    const { runner } = await withBody("");
    const taskText = "name: null\n---\n# mine\nresources: {cpus: 1+}\nrun: |\n  echo a\n  echo b\n";
    expect((await runner.apply(requestOf({ taskText }))).taskText).toBe(taskText);
  });

  test("never sees the value of a secret, and cannot lose it", async () => {
    const { runner } = await withBody(`
      const text = JSON.stringify(task.getResourceConfig()) + request.encode();
      if (text.includes("hunter2")) throw new Error("seen");
      task.setRun("echo changed");`);
    const { taskText } = await runner.apply(requestOf({ taskText: 'secrets: {TOKEN: "hunter2"}\nrun: echo\n' }));
    expect(taskText).toContain("TOKEN: hunter2");
    expect(taskText).toContain("echo changed");
  });

  test("remembers in its own folder", async () => {
    const { runner, state } = await withBody(`
      const file = "count";
      const count = fs.existsSync(file) ? Number(fs.readFileSync(file, "utf8")) : 0;
      fs.writeFileSync(file, String(count + 1));
      task.updateEnvs({ COUNT: String(count) });`);
    await runner.apply(requestOf());
    expect((await runner.apply(requestOf())).taskText).toContain('COUNT: "1"');
    expect(readFileSync(join(state, "policies", "count"), "utf8")).toBe("2");
  });

  test("may be a package, JavaScript, CommonJS or several files", async () => {
    const mjs = policy("", "Inner").replaceAll(/ override|: sky\.\w+|: Promise<.*?>/g, "");
    const packages = programs.packages({
      "node_modules/my-package/policies.ts": `export { Inner as MyPolicy } from "./inner/one.js";`,
      "node_modules/my-package/inner/one.ts": policy("", "Inner"),
      "plain.mjs": mjs,
      "node_modules/whole/package.json": '{"name":"whole","main":"lib/entry.mjs"}',
      "node_modules/whole/lib/entry.mjs": mjs,
    });
    for (const name of ["my-package/policies.MyPolicy", "plain.Inner", "whole.Inner"]) {
      const { runner } = await runnerOf(name, packages);
      expect((await runner.apply(requestOf())).taskText, name).toBe("run: echo hello\n");
    }
  });
});

describe("what a policy may do wrong refuses the request, and the next one is asked again", () => {
  const wrong: [name: string, body: string, expected: RegExp | string][] = [
    ["an error", `throw new sky.RuntimeError("no more")`, "User request rejected by policy P: [RuntimeError] no more"],
    ["a plain error", `throw new Error("no")`, "User request rejected by policy P: [Error] no"],
    ["null", "throw null", "User request rejected by policy P: [null] null"],
    ["undefined", "throw undefined", "User request rejected by policy P: [undefined] undefined"],
    ["a text", `throw "words"`, "User request rejected by policy P: [string] words"],
    ["a circle", "const a: any = {}; a.a = a; throw a", "User request rejected by policy P: [Object] no text"],
    [
      "an object that throws",
      `throw { get name() { throw 1; }, get message() { throw 2; }, toJSON() { throw 3; } }`,
      "User request rejected by policy P: [Object] no text",
    ],
    [
      "nothing as an answer",
      "return undefined as any",
      /^User request rejected by policy P: \[TypeError\] The policy must/,
    ],
    ["another answer", "return { task, skypilotConfig: config } as any", /\[TypeError\] The policy must return/],
    [
      "a rejection",
      `await Promise.reject(new RangeError("far"))`,
      "User request rejected by policy P: [RangeError] far",
    ],
    ["process.exit", "process.exit(3)", /\[ProcessEnded\] The policy failed: its process ended with exit code 3\./],
    ["a signal to itself", `process.kill(process.pid, "SIGKILL")`, /its process ended by SIGKILL/],
    ["an abort", "process.abort()", /\[MemoryError\]|\[ProcessEnded\]/],
    [
      "an uncaught error",
      `setImmediate(() => { throw new Error("later"); }); await new Promise(() => {})`,
      /exit code/,
    ],
    ["words on the pipe", `fs.writeSync(3, "hello\\n"); await new Promise(() => {})`, /\[ReplyError\]/],
    ["another's answer", `fs.writeSync(3, '{"id":77,"answer":"x"}\\n'); await new Promise(() => {})`, /\[ReplyError\]/],
    [
      "an answer that is none",
      `fs.writeSync(3, '{"id":1,"answer":"x"}\\n'); await new Promise(() => {})`,
      /\[ReplyError\]|\[ValueError\]/,
    ],
    ["an endless line", `for (;;) fs.writeSync(3, "x".repeat(1e6))`, /\[ReplyError\]/],
    ["an answer that is too large", `task.setRun("x".repeat(45e6))`, /\[ReplyError\]/],
  ];
  let runner: AdminPolicyRunner;
  beforeAll(async () => {
    const cases = wrong.map(([, body], index) => `if (task.name === "bad${index}") { ${body} }`);
    ({ runner } = await withBody(cases.join("\n")));
  });

  test.each(wrong.map(([name, , expected], index) => [name, index, expected] as const))(
    "%s",
    async (_, index, expected) => {
      const message = await refusal(runner, { taskText: `name: bad${index}\n` });
      if (typeof expected === "string") {
        expect(message).toBe(expected);
      } else {
        expect(message).toMatch(expected);
      }
      expect((await runner.apply(requestOf())).taskText).toBe("run: echo hello\n");
    },
  );

  test.each([
    ["loops", "for (;;);"],
    ["never answers", "await new Promise(() => setInterval(() => {}, 1000))"],
    ["answers late", "await new Promise((resolve) => setTimeout(resolve, 20_000))"],
  ])("%s: it is ended at the time limit", async (_, body) => {
    const { runner } = await withBody(`if (task.name === "bad") { ${body} }`, { admin_policy_seconds: 3 });
    expect(await refusal(runner, { taskText: "name: bad\n" })).toBe(
      "User request rejected by policy P: [TimeoutError] The policy failed: it did not answer within 3 s.",
    );
    await runner.apply(requestOf());
  });

  test.each([
    ["of the heap", "const all: unknown[] = []; for (;;) all.push(new Array(1000).fill(all.length));"],
    ["beside the heap", "const all: unknown[] = []; for (;;) all.push(Buffer.alloc(1e6, 1));"],
  ])("memory %s: it is ended at the maximum", async (_, body) => {
    const { runner } = await withBody(`if (task.name === "bad") { ${body} }`, { admin_policy_memory_mb: 64 });
    expect(await refusal(runner, { taskText: "name: bad\n" })).toBe(
      "User request rejected by policy P: [MemoryError] The policy failed: it used more than 64 MB of memory.",
    );
    await runner.apply(requestOf());
  });

  test("what it has started ends with it", async () => {
    const { runner, state } = await withBody(
      `const { spawn } = await import("node:child_process");
      const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
      fs.writeFileSync("pid", String(child.pid)); for (;;);`,
      { admin_policy_seconds: 6 },
    );
    await refusal(runner);
    const pid = Number(readFileSync(join(state, "policies", "pid"), "utf8"));
    await until(async () => !existsSync(`/proc/${pid}`) || isZombie(pid), "the end of what it has started", 10_000);
  });

  test("what it makes of the config must be one", async () => {
    const { runner } = await withBody(`config.setNested(["nonsense"], 1);`);
    await expect(runner.apply(requestOf())).rejects.toThrow(
      /^The admin policy P changed the request, and what it made of it cannot be taken: Invalid config YAML .*nonsense/,
    );
  });

  test("who has left is not waited for", async () => {
    const { runner } = await withBody(`if (task.name === "bad") for (;;);`);
    const gone = new AbortController();
    const asked = runner.apply(requestOf({ taskText: "name: bad\n", signal: gone.signal }));
    const next = runner.apply(requestOf());
    gone.abort(new SkyError("RequestCancelled", "gone"));
    await expect(asked).rejects.toThrow();
    expect((await next).taskText).toBe("run: echo hello\n");
  });
});

function isZombie(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

describe("a policy that cannot be had", () => {
  test("a missing module, class or base refuses every request with SkyPilot's words", async () => {
    const packages = programs.packages({
      "p.ts": "export class Q {}\nexport const P = 7;",
      "broken.ts": "export const = 1;",
    });
    const missing = await runnerOf("nowhere/at-all.P", packages);
    expect(await refusal(missing.runner)).toBe(
      `Failed to import policy module: nowhere/at-all: There is no such module. Please check if the module is installed in ${packages}.`,
    );
    expect(await refusal((await runnerOf("broken.P", packages)).runner)).toMatch(
      /^Failed to import policy module: broken: \[/,
    );
    expect(await refusal((await runnerOf("p.Missing", packages)).runner)).toBe(
      "Could not find Missing class in module p. Please check with your policy admin for details.",
    );
    expect(await refusal((await runnerOf("p.Q", packages)).runner)).toBe(
      "Policy class Q does not implement the AdminPolicy interface. Please check with your policy admin for details.",
    );
    expect(await refusal((await runnerOf("p.P", packages)).runner)).toContain(
      "does not implement the AdminPolicy interface",
    );
  });

  test("a folder in which others can write stops the coordinator's start, with the path", async () => {
    const packages = programs.packages({ "node_modules/a/b.ts": policy("") });
    chmodSync(join(packages, "node_modules/a"), 0o777);
    await expect(runnerOf("p.P", packages)).rejects.toThrow(
      `Admin policies in ${packages} are not run: ${packages}/node_modules/a can be written to by a group or by everybody, ` +
        "so others could put their code into it.",
    );
    const linked = programs.packages({ "p.ts": policy("") });
    symlinkSync("/tmp", join(linked, "away"));
    await expect(runnerOf("p.P", linked)).rejects.toThrow(/is a link to \/tmp, which lies elsewhere/);
  });

  test.each(["../evil.P", "/etc/passwd.P", "P", "a/../b.P", "a.b c", "file:///tmp/x.P"])(
    "%s names none",
    async (name) => {
      await expect(runnerOf(name, programs.packages({}))).rejects.toThrow(/names no policy/);
    },
  );
});
