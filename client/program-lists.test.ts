/** Lists, ends, help and wrong words, as a person sees them: words in, texts and exit code out, against a real HTTP server. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { versionText } from "../shared/version.ts";
import { type Person, startPerson, whoami } from "../test/help/person.ts";
import { jobRow } from "../test/help/stand-in-head.ts";

let person: Person;
let head: Person["head"];
let home: string;
let sky: Person["sky"];
let register: Person["register"];
let initialize: Person["initialize"];

beforeEach(async () => {
  person = await startPerson();
  ({ head, home, sky, register, initialize } = person);
});
afterEach(() => person.close());

/** `admin nodes`, `admin drain` and so on, as the help names them. */
async function adminVerbs(): Promise<string[][]> {
  const { out } = await sky(["admin", "--help"]);
  const verbs = [...out.matchAll(/^ {2}([a-z]+(?:-[a-z]+)*) {2,}\S/gm)].map((match) => match[1] ?? "");
  expect(verbs.length).toBeGreaterThan(10);
  return verbs.filter((verb) => verb !== "help").map((verb) => ["admin", verb]);
}

describe("lists", () => {
  it("queue without names: every initialized cluster, the others in words", async () => {
    await initialize();
    register("other");
    head.results.set("/queue", { value: [jobRow(1, { reason: "Needs 4 V100; 1 is free.", position: 1 })] });
    const { code, out, err } = await sky(["queue", "-s"]);
    expect(code).toBe(0);
    expect(err).toBe("Local cluster other is uninitialized; skipped.\n");
    expect(out).toMatchInlineSnapshot(`
      "Job queue of current user on cluster lab
      ID  NAME   SUBMITTED    STARTED  DURATION  RESOURCES   STATUS   LOG
      1   train  16 mins ago  1st      -         1x[V100:4]  PENDING  …ky_logs/1-train

      Reasons:
        Job 1 (PENDING, 1 in line): Needs 4 V100; 1 is free.
      When it starts, and what would make it start: sky explain lab 1
      "
    `);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", skip_finished: true, all_users: false });
    expect(JSON.parse((await sky(["queue", "-o", "json"])).out)).toMatchObject({ lab: [{ job_id: 1 }] });
  });

  it("status without clusters says how to register one", async () => {
    const { code, out } = await sky(["status"]);
    expect(code).toBe(0);
    expect(out).toContain("save the file that its admin gave you as ~/.sky/local/NAME.yml");
    expect((await sky(["status", "-o", "json"])).out).toBe("[]\n");
  });

  it("status shows what it can when one file is damaged, and forgets clusters whose file has gone", async () => {
    await initialize("lab");
    await initialize("gone");
    writeFileSync(join(home, ".sky", "local", "bad.yml"), "cluster: [\n");
    const damaged = await sky(["status"]);
    expect(damaged.out).toContain("alice");
    expect(damaged.err).toContain("bad.yml");
    rmSync(join(home, ".sky", "local", "bad.yml"));
    rmSync(join(home, ".sky", "local", "gone.yml"));
    const { err } = await sky(["status"]);
    expect(err.replaceAll("\n", " ")).toContain(
      "Removing local cluster gone from `sky status`. No config found in ~/.sky/local.",
    );
    expect((await sky(["status", "nope"])).code).toBe(1);
  });

  it("gpus list, with a kind, a cluster, or as show-gpus", async () => {
    await initialize();
    const { out } = await sky(["gpus", "list"]);
    expect(out).toContain("V100  1, 2, 4                   8 of 8 free");
    expect((await sky(["show-gpus", "V100", "--infra", "local/lab"])).out).toContain("8 of 8 free");
    expect((await sky(["gpus", "list", "lab"])).out).toContain("8 of 8 free");
    expect((await sky(["gpus", "list", "H100"])).out).toContain("No H100 on this cluster.");
    expect(JSON.parse((await sky(["gpus", "list", "-o", "json"])).out)).toMatchObject({
      lab: { nodes: [{ name: "n1" }, {}] },
    });
  });

  it("check names what is wrong and is content with one cluster", async () => {
    register("lab");
    const good = await sky(["check"]);
    expect(good.out).toContain("  lab: enabled\n    User: alice. Nodes: 2 of 2 up.");
    expect(good.code).toBe(0);
    head.pages.set("/onprem/whoami", whoami("not in group gpu"));
    const bad = await sky(["check"]);
    expect(bad.out).toContain("  lab: disabled\n    Reason: alice may not run jobs there: not in group gpu");
    expect(bad.code).toBe(1);
  });

  it("check says the same to programs", async () => {
    register("lab");
    const nodes = [
      { name: "n1", state: "UP" },
      { name: "n2", state: "UP" },
    ];
    const good = await sky(["check", "-o", "json"]);
    expect(good.code).toBe(0);
    expect(JSON.parse(good.out)).toEqual({
      lab: { enabled: true, user: "alice", reason: null, hint: null, nodes },
    });
    head.pages.set("/onprem/whoami", whoami("not in group gpu"));
    const bad = await sky(["check", "lab", "-o", "json"]);
    expect(bad.code).toBe(1);
    const reason = "alice may not run jobs there: not in group gpu";
    expect(JSON.parse(bad.out)).toEqual({ lab: { enabled: false, user: "alice", reason, hint: null, nodes: [] } });
  });
});

describe("cancel and down", () => {
  it("cancel says what was cancelled and what had ended", async () => {
    await initialize();
    head.results.set("/cancel", { value: [1] });
    const { code, out, err } = await sky(["cancel", "lab", "1", "2"], { answers: ["y"] });
    expect(err).toContain("Cancelling jobs 1, 2 on cluster 'lab'. Proceed? [Y/n]: ");
    expect(out).toBe("✓ Job 1 is being cancelled.\nYou have no unfinished job 2.\n");
    expect(code).toBe(0);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", job_ids: [1, 2], all: false });
    expect((await sky(["cancel", "lab", "-a", "1", "-y"])).code).toBe(2);
  });

  it("down forgets the cluster, the file stays", async () => {
    await initialize();
    const { code, out } = await sky(["down", "lab"], { answers: ["y"] });
    expect(out).toBe("Terminating cluster lab...done.\n");
    expect(code).toBe(0);
    expect(head.calls[0]?.body).toEqual({ cluster_name: "lab", purge: false });
    expect((await sky(["status"])).out).toContain("lab   -     -        -          -");
    expect(readFileSync(join(home, ".sky", "local", "lab.yml"), "utf8")).toContain("alice");
  });

  it("down forgets a cluster whose coordinator knows of nothing to take down", async () => {
    await initialize();
    head.results.set("/down", { error: { type: "ClusterDoesNotExist", message: "Nothing of yours.", hint: null } });
    expect((await sky(["down", "lab", "-y"])).code).toBe(0);
    expect((await sky(["status"])).out).not.toContain("alice");
  });

  it("down of a cluster that refuses keeps it; --purge forgets it here only", async () => {
    await initialize();
    head.results.set("/down", { error: { type: "PermissionDeniedError", message: "Not you.", hint: null } });
    const failed = await sky(["down", "-a", "-y"]);
    expect(failed.code).toBe(1);
    expect(failed.err).toContain("sky down --purge lab");
    expect((await sky(["status"])).out).toContain("alice");
    head.calls.length = 0;
    expect((await sky(["down", "--purge", "-y", "lab"])).code).toBe(0);
    expect(head.calls).toEqual([]);
    expect((await sky(["status"])).out).not.toContain("alice");
  });
});

describe("the command line", () => {
  it.each([
    ["start", "start"],
    ["stop", "stop/autostop"],
    ["autostop", "stop/autostop"],
  ])("%s skips local clusters and goes on", async (command, verb) => {
    register("lab");
    const { code, out, err } = await sky([command, "nope", "lab", "-y"]);
    expect(out).toBe(`Skipping local cluster lab, as it does not support \`sky ${verb}\`.\n`);
    expect(err).toBe("Cluster 'nope' not found.\n");
    expect(code).toBe(1);
    expect((await sky([command, "lab"])).code).toBe(0);
  });

  it("every command has help with examples", async () => {
    const names = ["launch", "exec", "queue", "logs", "cancel", "down", "status", "check", "start", "stop", "autostop"];
    for (const words of [...names.map((name) => [name]), ["gpus", "list"], ["completion"], ...(await adminVerbs())]) {
      const { code, out } = await sky([...words, "--help"]);
      expect(code).toBe(0);
      expect(out).toMatch(/Usage: sky [^]*Examples:\n {2}(sudo )?sky /);
    }
  });

  it("a verb of sky admin that is typed wrongly says where its examples are", async () => {
    const { code, err } = await sky(["admin", "drain", "n1"]);
    expect([code, err]).toEqual([2, expect.stringContaining("Examples: sky admin drain --help")]);
  });

  it("no help is wider than 80 columns", async () => {
    const program = (await sky([])).out;
    const names = [...program.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map((match) => match[1] ?? "");
    expect(names.length).toBeGreaterThan(10);
    for (const words of [[], ...names.map((name) => [name]), ["gpus", "list"], ...(await adminVerbs())]) {
      const { out } = await sky([...words, "--help"]);
      expect(out.split("\n").filter((line) => line.length > 80)).toEqual([]);
    }
  });

  it("mistyped words get a near match and exit 2", async () => {
    const command = await sky(["lanch"]);
    expect(command).toMatchObject({ code: 2, out: "" });
    expect(command.err).toContain("Error: unknown command 'lanch'");
    expect(command.err).toContain("Did you mean launch?");
    const option = await sky(["queue", "--skip-finishd"]);
    expect(option.code).toBe(2);
    expect(option.err).toContain("Did you mean --skip-finished?");
    expect((await sky(["logs", "lab", "x/1"])).code).toBe(2);
    const bare = await sky(["exec", "lab", "nvidia-smi", "-L"]);
    expect(bare.code).toBe(2);
    expect(bare.err).toContain("goes after --");
    expect((await sky(["queue", "-o", "yaml"])).code).toBe(2);
  });

  it("version, help, completion", async () => {
    expect((await sky(["--version"])).out).toBe(`${versionText("sky")}\n`);
    expect((await sky([])).out).toContain("Usage: sky");
    expect((await sky(["completion", "bash"])).out).toContain("complete -o filenames -F _sky sky");
    expect((await sky(["completion", "zsh"])).out).toMatch(/^#compdef sky/);
    expect((await sky(["completion", "fish"])).out).toContain("complete -c sky -n __fish_use_subcommand -a launch");
  });
});

describe("explain", () => {
  it("takes the only cluster, and says what it needs", async () => {
    register("lab");
    await sky(["launch", "-c", "lab", "", "-y"]);
    const wrong = await sky(["explain", "lab", "twe/lve"]);
    expect([wrong.code, wrong.err]).toEqual([
      2,
      expect.stringContaining("'twe/lve' is no job: give its number or its name."),
    ]);
    const unknown = await sky(["explain", "12"]);
    expect(unknown.code).toBe(1);
    expect(head.calls.at(-1)).toMatchObject({ method: "GET", path: "/onprem/explain" });
  });
});
