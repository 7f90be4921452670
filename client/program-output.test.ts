/**
 * What holds for every command: a listing has `--output json`, and what goes into a pipe has no colours and no emoji. A
 * command that is added must be one or the other, so none can forget it.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Person, startPerson } from "../test/help/person.ts";
import { jobRow } from "../test/help/stand-in-head.ts";
import type { Context } from "./commands/context.ts";
import { createScreen } from "./output/screen.ts";
import { buildProgram } from "./program.ts";
import { allCommands, wordsOf } from "./program-api.ts";

let person: Person;
beforeEach(async () => {
  person = await startPerson();
  await person.initialize();
});
afterEach(() => person.close());

/** Commands that do something, or print somebody's text as it is; all others list. */
const acting = new Set([
  ...["launch", "exec", "logs", "cancel", "down", "start", "stop", "autostop", "cp", "tunnel"],
  ...["completion", "names", "gate", "api logs", "api cancel"],
  ...["deploy", "backup", "restore", "drain", "resume", "remove", "rotate-key", "logs"].map((verb) => `admin ${verb}`),
  ...["delete", "exception add", "exception remove", "asset set", "asset delete"].map((verb) => `policy ${verb}`),
  ...["secret set", "secret delete", "serve"].map((verb) => `policy ${verb}`),
  ...["maintenance", "reserve", "quota set", "quota unset", "windows remove"].map((verb) => `admin ${verb}`),
]);

function program(): ReturnType<typeof buildProgram> {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough(), env: {} };
  const context: Context = {
    ...{ screen: createScreen(streams), env: {}, home: person.home, cwd: person.home, commandLine: "" },
    now: () => 0,
    connect: () => person.head.connect(),
    interrupted: () => ({ signal: new AbortController().signal, done: () => undefined }),
  };
  return buildProgram(context, { code: 0 });
}

describe("the command tree", () => {
  it("has --output json on every listing, and no name in the list above that is gone", () => {
    const leaves = allCommands(program()).filter((command) => command.commands.length === 0);
    const names = leaves.map(wordsOf);
    const listings = leaves.filter((command) => !acting.has(wordsOf(command)));
    expect([...acting].filter((name) => !names.includes(name))).toEqual([]);
    const without = listings.filter(
      (command) => !(command.options.find((option) => option.long === "--output")?.argChoices ?? []).includes("json"),
    );
    expect(without.map(wordsOf)).toEqual([]);
    expect(listings.length).toBeGreaterThan(10);
  });
});

/** Colours and other orders to a terminal; signs that are drawn as pictures. */
// oxlint-disable-next-line no-control-regex
const notForPipes = /\u001b|\p{Emoji_Presentation}|\ufe0f/u;

describe("what goes into a pipe", () => {
  it("has no colours and no emoji, whatever the command", async () => {
    const { head } = person;
    head.results.set("/queue", { value: [jobRow(1, { status: "PENDING", reason: "no room" }), jobRow(2)] });
    head.results.set("/cancel", { value: [1] });
    head.results.set("/job_status", { value: { 1: "RUNNING" } });
    head.results.set("/api/cancel", { value: [] });
    head.pages.set("/api/status", []);
    writeFileSync(join(person.home, "wrong.yaml"), "runn: x\n");
    const typed = [
      ...[["--help"], ["status"], ["status", "-v"], ["status", "-r"], ["queue"], ["queue", "lab", "-o", "json"]],
      ...[
        ["launch", "-c", "lab", "--", "true"],
        ["launch", "-c", "lab", "--async", "--", "true"],
      ],
      ...[
        ["exec", "lab", "--", "true"],
        ["exec", "lab", "--dryrun", "--", "true"],
        ["launch", "-c", "lab", "wrong.yaml"],
      ],
      ...[["cancel", "lab", "1", "-y"], ["logs", "lab", "1"], ["logs", "lab", "1", "--status"], ["check"]],
      ...[
        ["gpus", "list"],
        ["api", "status"],
        ["api", "cancel", "-a"],
        ["stop", "lab"],
        ["nonsense"],
        ["explain", "lab", "x/"],
      ],
      ...[
        ["down", "lab", "-y"],
        ["status", "nowhere"],
      ],
    ];
    const printed: string[] = [];
    for (const words of typed) {
      const { out, err } = await person.sky(words);
      expect([words.join(" "), notForPipes.exec(out + err)?.[0]]).toEqual([words.join(" "), undefined]);
      printed.push(out + err);
    }
    // Following a job that printed nothing prints nothing.
    expect(printed.filter((text) => text === "").length).toBeLessThanOrEqual(1);
  });

  it("has none at a terminal either where NO_COLOR says so", async () => {
    const { out, err } = await person.sky(["status"], { env: { NO_COLOR: "1", FORCE_COLOR: "1" } });
    expect(notForPipes.exec(out + err)).toBeNull();
    expect((await person.sky(["status"], { env: { FORCE_COLOR: "1" } })).out).toContain("\u001b[");
  });
});

describe("sky status", () => {
  it("asks the clusters with --refresh, and says more with --verbose", async () => {
    person.head.pages.set("/onprem/nodes", { cluster: "lab", unknown_attempts: 0, nodes: [] });
    expect((await person.sky(["status"])).out).toContain("V100");
    expect((await person.sky(["status", "-r"])).out).not.toContain("V100");
    const { out } = await person.sky(["status", "-v"], { env: { COLUMNS: "200" } });
    expect(out.split("\n")[1]).toMatch(/LAUNCHED +FILE$/);
    expect(out).toContain("lab.yml");
    person.head.disturb = () => 503;
    const away = await person.sky(["status", "-r", "-o", "json"]);
    expect([away.code, (JSON.parse(away.out) as unknown[]).length]).toEqual([1, 1]);
    expect(away.err).toContain("does not answer");
  }, 60_000);
});

describe("sky launch --retry-until-up", () => {
  it("waits for a node that is up, and says for what it waits", async () => {
    const nodes = (state: string): unknown => ({
      ...{ cluster: "lab", unknown_attempts: 0 },
      nodes: [{ ...nodeRow, state }],
    });
    person.head.pages.set("/onprem/nodes", nodes("UNREACHABLE"));
    let looks = 0;
    person.head.disturb = ({ path }) => {
      looks += path === "/onprem/nodes" ? 1 : 0;
      if (looks === 2) {
        person.head.pages.set("/onprem/nodes", nodes("UP"));
      }
      return null;
    };
    const { code, err, out } = await person.sky(["launch", "-c", "lab", "-r", "-d", "--", "true"]);
    expect(code).toBe(0);
    expect(err).toContain("Cluster 'lab' is not up: none of its 1 nodes is up. Waiting for it, for up to 24 hours");
    expect(out).toContain("Job submitted, ID: 1");
  });
});

const nodeRow = {
  ...{ name: "n1", label: "", address: null, cpus: 8, cpus_free: 8, memory_gb: 16, memory_gb_free: 16 },
  ...{ accelerators: {}, accelerators_free: {}, warnings: [], last_report_seconds_ago: 1 },
};
