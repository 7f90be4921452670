import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { run } from "../test/help/run.ts";
import { parsePasswd } from "./accounts.ts";
import { faultOfWords, runTool, type SkyletCommand, startSkylet, ToolFault } from "./spawn.ts";

const script = join(dirname(fileURLToPath(import.meta.url)), "start-skylet.sh");
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-spawn-"));
});
afterEach(() => rm(dir, { recursive: true }));

it.each([
  "a b",
  "a;b",
  "$(id)",
  "`id`",
  "a'b",
  'a"b',
  "a\nb",
  "",
  "-c",
  "a\\b",
  "a&b",
  "a|b",
  "a>b",
  "a*",
  "~x",
  "a#",
  "é",
  "a{b",
  "!x",
  "a=b",
  "a\0b",
])("gives no login shell the word %j", (word) => {
  expect(faultOfWords(["/bin/sh", word])).not.toBeNull();
  const account = { uid: 1, gid: 1, name: word, home: "/", shell: "/bin/sh", groups: [] };
  const command: SkyletCommand = {
    script: "/s",
    node: "/n",
    bundle: "/b",
    version: "1",
    socket: "/x",
    dir: "/d",
    idleSeconds: 1,
    agentUid: 0,
  };
  expect(() => startSkylet(account, command, false)).toThrow("cannot be given to a login shell safely");
});

it("accepts names and paths as they are", () => {
  expect(faultOfWords(["/opt/sky-1.0+x/start.sh", "DOMAIN.user@site", "/run/a_b:c,d", "600"])).toBeNull();
});

it("reads passwd lines and refuses broken ones", () => {
  expect(parsePasswd("a:x:1001:100:A, B:/home/a:/bin/zsh\n")).toEqual({
    name: "a",
    uid: 1001,
    gid: 100,
    home: "/home/a",
    shell: "/bin/zsh",
  });
  for (const line of ["", "a:x:-1:0::/:/bin/sh", "a:x:1e3:0::/:/bin/sh", ":x:1:1::/:/bin/sh", "a:x:1:1"]) {
    expect(parsePasswd(line)).toBeNull();
  }
});

describe("runTool", () => {
  it("gives nothing of its own environment, and says what failed", async () => {
    process.env["SKY_TEST_CANARY"] = "x";
    const { stdout } = await runTool("env", [], 5_000);
    delete process.env["SKY_TEST_CANARY"];
    const names = stdout.split("\n").filter((line) => line !== "");
    expect(new Set(names.map((line) => line.split("=")[0]))).toEqual(new Set(["LC_ALL", "PATH"]));
    expect(await runTool("sh", ["-c", "echo out; echo err >&2; exit 3"], 5_000)).toEqual({
      code: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    await expect(runTool("no-such-tool-here", [], 5_000)).rejects.toMatchObject({ missing: true });
    await expect(runTool("sleep", ["60"], 50)).rejects.toThrow("did not answer within");
    await expect(runTool("sh", ["-c", "yes"], 20_000)).rejects.toBeInstanceOf(ToolFault);
  });
});

describe("start-skylet.sh", () => {
  /** Runs the script with a stand-in for node that writes down how it was called. */
  async function start(home: string): Promise<{ args: string[]; said: string }> {
    const node = join(dir, "node");
    await writeFile(node, `#!/bin/sh\nprintf '%s\\n' "$@" > ${dir}/args\necho noise\n`);
    await chmod(node, 0o755);
    const words = [script, node, join(dir, "skylet.mjs"), "1.2.3", "/run/x/agent.sock", "/run/x/7", "60", "0"];
    const result = await run(["/bin/sh", ...words], { env: { HOME: home, PATH: process.env["PATH"] ?? "" } });
    const args = (await readFile(join(dir, "args"), "utf8")).trimEnd().split("\n");
    // Node's own options come before the bundle and are not what this is about.
    const first = args.findIndex((word) => !word.startsWith("--max-"));
    return { args: args.slice(first), said: result.stdout + result.stderr };
  }

  it("copies the bundle once, again when it differs, and passes everything on as arguments", async () => {
    await writeFile(join(dir, "skylet.mjs"), "one");
    const copy = join(dir, ".sky/skylet/1.2.3/skylet.mjs");
    const { args, said } = await start(dir);
    expect(said).toBe("");
    expect(args.slice(0, 7)).toEqual([
      copy,
      "--socket",
      "/run/x/agent.sock",
      "--dir",
      "/run/x/7",
      "--version",
      "1.2.3",
    ]);
    expect(args.slice(7)).toEqual([
      "--nofile",
      expect.stringMatching(/^(\d+|unlimited)$/),
      "--idle",
      "60",
      "--agent-uid",
      "0",
    ]);
    expect(await readFile(copy, "utf8")).toBe("one");
    expect((await stat(join(dir, ".sky"))).mode & 0o077).toBe(0);
    const before = (await stat(copy)).ino;
    await start(dir);
    expect((await stat(copy)).ino).toBe(before);
    await writeFile(copy, "damaged");
    await start(dir);
    expect(await readFile(copy, "utf8")).toBe("one");
  });

  it.each(["/proc", "", "/dev/null", "/nonexistent"])(
    "runs the installed bundle where the home is %j",
    async (home) => {
      await writeFile(join(dir, "skylet.mjs"), "one");
      const place = home === "/nonexistent" ? join(dir, "skylet.mjs", "home") : home;
      const { args, said } = await start(place);
      expect([args[0], said]).toEqual([join(dir, "skylet.mjs"), ""]);
    },
  );
});
