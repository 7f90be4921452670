/** `sky api …` and `--async`: words in, texts and exit code out, against a real HTTP server. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Person, startPerson } from "../test/help/person.ts";

let person: Person;
beforeEach(async () => {
  person = await startPerson();
});
afterEach(() => person.close());

function row(id: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ...{ request_id: id, name: "sky.launch", entrypoint: "launch", request_body: "{}", status: "RUNNING" },
    ...{ created_at: 2000 - 130, user_id: "000003e9", user_name: "alice", return_value: "null" },
    ...{ error: "null", pid: null, schedule_type: "long", cluster_name: "lab", status_msg: null },
    ...{ should_retry: false, finished_at: null, ...more },
  };
}

describe("--async", () => {
  it("prints the request's id and what to do with it, and remembers the cluster", async () => {
    person.register("lab");
    const { code, out } = await person.sky(["launch", "-c", "lab", "-y", "--async", "--", "echo", "hello"]);
    const id = person.head.calls.find((call) => call.path === "/launch")?.requestId ?? "";
    expect(code).toBe(0);
    expect(out).toContain(`Submitted sky.launch request: ${id}\n`);
    expect(out).toContain(`sky api logs -c lab ${id.slice(0, 8)}\n`);
    expect(person.head.calls.map((call) => call.path)).not.toContain("/api/get");
    expect((await person.sky(["status"])).out).toContain("alice");
  });

  it("is there on every command that changes something, and leaves a dry run as it is", async () => {
    await person.initialize();
    person.head.results.set("/cancel", { value: [1] });
    for (const words of [
      ["exec", "lab", "--", "true"],
      ["cancel", "lab", "-y"],
      ["down", "lab", "-y"],
    ]) {
      const { code, out } = await person.sky([words[0] ?? "", "--async", ...words.slice(1)]);
      expect(code, words[0]).toBe(0);
      expect(out, words[0]).toContain(`Submitted sky.${words[0]} request: `);
    }
    await person.initialize();
    const dry = await person.sky(["exec", "lab", "--async", "--dryrun", "--", "true"]);
    expect(dry.out).toContain("Dry run");
    expect(dry.out).not.toContain("Submitted");
  });
});

describe("sky api status", () => {
  it("shows what is under way, at most 50 and how to see the rest", async () => {
    await person.initialize();
    person.head.pages.set("/api/status", [row("0f11aaaa-0000-4000-8000-000000000001", { cluster_name: null })]);
    expect((await person.sky(["api", "status"])).out).toMatchInlineSnapshot(`
      "ID                                    User   Name        Created     Status
      0f11aaaa-0000-4000-8000-000000000001  alice  sky.launch  2 mins ago  RUNNING
      "
    `);
    const many = Array.from({ length: 51 }, (_, index) =>
      row(`0f11aaaa-0000-4000-8000-${String(index).padStart(12, "0")}`),
    );
    person.head.pages.set("/api/status", many);
    const { out } = await person.sky(["api", "status", "-a"]);
    expect(out.split("\n")[0]).toMatch(/^ID +User +Name +Cluster +Created +Status$/);
    expect(out).toContain('Showing 50 requests. Use "-l none" or "-l all" to show all requests.');
    expect((await person.sky(["api", "status", "-l", "all"])).out).not.toContain("Showing");
  });

  it("prints a row of dashes for nothing, and JSON of a documented form", async () => {
    await person.initialize();
    person.head.pages.set("/api/status", []);
    expect((await person.sky(["api", "status"])).out).toContain("-   -     -     -        -");
    person.head.pages.set("/api/status", [row("0f11aaaa-0000-4000-8000-000000000001")]);
    const [shown] = JSON.parse((await person.sky(["api", "status", "-o", "json"])).out) as Record<string, unknown>[];
    expect(Object.keys(shown ?? {}).sort()).toEqual(
      ["cluster", "created_at", "finished_at", "name", "request_id", "status", "user"].sort(),
    );
  });
});

describe("which cluster", () => {
  it("is the only initialized one, or must be named", async () => {
    expect((await person.sky(["api", "info"])).err).toContain("No cluster is initialized here.");
    await person.initialize("lab");
    await person.initialize("two");
    const { code, err } = await person.sky(["api", "status"]);
    expect([code, err]).toEqual([2, expect.stringContaining("Several clusters are initialized here: lab, two.")]);
    person.head.pages.set("/api/status", []);
    expect((await person.sky(["api", "status", "-c", "two"])).code).toBe(0);
  });
});

describe("sky api cancel and info", () => {
  it("takes parts of ids, not too short ones, and says what had ended", async () => {
    await person.initialize();
    const id = "0f11aaaa-0000-4000-8000-000000000001";
    person.head.results.set("/api/cancel", { value: [id] });
    const { code, out } = await person.sky(["api", "cancel", "0f11aaaa", "77777777"]);
    expect(code).toBe(0);
    expect(out).toContain(`Request ${id} is cancelled.`);
    expect(out).toContain("Request 77777777 had ended already.");
    expect((await person.sky(["api", "cancel", "0f1"])).err).toContain("at least 4 characters");
    expect((await person.sky(["api", "cancel", "x/y"])).err).toContain("no request id");
    expect((await person.sky(["api", "cancel"])).code).toBe(2);
  });

  it("names who answers; 1 when it cannot work", async () => {
    await person.initialize();
    const info = { api_version: "56", version: "1.2.3", commit: "abc", user: { id: "000003e9", name: "alice" } };
    person.head.pages.set("/api/health", { ...info, status: "healthy", message: null });
    expect((await person.sky(["api", "info"])).out).toMatchInlineSnapshot(`
      "Cluster lab: SkyPilot API of sky-onprem
      ├── Status: healthy
      ├── User: alice (000003e9)
      └── Version: 1.2.3, commit abc, API version 56
      "
    `);
    person.head.pages.set("/api/health", { ...info, status: "unhealthy", message: "Redis is away" });
    const { code, out } = await person.sky(["api", "info"]);
    expect([code, out]).toEqual([1, expect.stringContaining("unhealthy, Redis is away")]);
  });
});

it("a request that was made with a file says what the file lacks before anything is sent", async () => {
  await person.initialize();
  writeFileSync(join(person.home, "bad.yaml"), "runn: true\n");
  const { code } = await person.sky(["launch", "-c", "lab", "--async", "bad.yaml"]);
  expect(code).toBe(1);
  expect(person.head.calls).toEqual([]);
});
