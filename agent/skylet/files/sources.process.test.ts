/** Volumes, git repositories and web addresses brought by the real skylet, with the machine's own git, curl and kernel. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FilePlan } from "../../../shared/files.ts";
import type { Payload } from "../../../shared/job.ts";
import { StandInAgent } from "../../../test/help/stand-in-agent.ts";
import { insideScript, whyNotReadOnly } from "../inside.ts";
import { checkGitUrl, gitEnvironment } from "./git.ts";
import { mountWords } from "./mounts.ts";

let agent: StandInAgent;
let server: Server | null = null;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
});

afterEach(async () => {
  await agent.close();
  server?.close();
  server = null;
});

interface Ended {
  log: string;
  run: string;
  setupExit: number | null;
  runExit: number | null;
}

/** A job with these files and this run script, to its end. */
async function job(files: FilePlan[], run = "true", more: Partial<Payload> = {}, env = {}): Promise<Ended> {
  if (agent.skylet === null) {
    await agent.start("", env);
  }
  const wanted = agent.wanted({ setup: true });
  const logDir = await agent.launch(wanted, { files, run, ...more });
  const { setupExit, runExit } = await agent.state(wanted.attempt, "exited");
  const read = (...path: string[]): string => {
    try {
      return readFileSync(join(logDir, ...path), "utf8");
    } catch {
      return "";
    }
  };
  return { log: read("setup.log"), run: read("tasks", "run.log"), setupExit, runExit };
}

const at = (...path: string[]): string => join(agent.home, ...path);

describe("volumes", () => {
  const volume = (path: string, readOnly = false): FilePlan => ({
    kind: "volume",
    destination: "~/data/sets",
    name: "sets",
    path,
    readOnly,
  });

  test("the destination becomes a link; it stays, and nothing else is ever replaced", async () => {
    const path = join(agent.root, "published");
    mkdirSync(path);
    expect((await job([volume(path)], "echo mine >~/data/sets/x")).runExit).toBe(0);
    expect([readlinkSync(at("data", "sets")), readFileSync(join(path, "x"), "utf8")]).toEqual([path, "mine\n"]);
    expect((await job([volume(path)])).setupExit).toBe(0);
    const other = await job([volume(join(agent.root, "missing"))]);
    expect([other.setupExit, other.log]).toEqual([1, expect.stringContaining("is not there on machine")]);
    mkdirSync(join(agent.root, "second"));
    expect((await job([volume(join(agent.root, "second"))])).log).toContain(`is a link to ${path} here`);
    expect((await job([{ ...volume(path), destination: "~/data" }])).log).toContain("is something else here");
  });

  test("one that may only be read cannot be written by the job's scripts, which keep their user", async () => {
    const path = join(agent.root, "it's published");
    mkdirSync(path);
    writeFileSync(join(path, "x"), "old");
    const why = whyNotReadOnly(path);
    const ended = await job(
      [volume(path, true)],
      'cat ~/data/sets/x; echo new >~/data/sets/x; echo "exit $?"; id -u; [ -w ~/data/sets ] || echo closed; echo >~/mine',
    );
    expect(readFileSync(join(path, "x"), "utf8")).toBe("old");
    if (why === null) {
      expect(ended.run).toMatch(
        new RegExp(`^old.*Read-only file system\nexit 1\n${process.getuid?.()}\nclosed\n$`, "su"),
      );
      expect(readdirSync(agent.home)).toContain("mine");
    } else {
      expect([ended.setupExit, ended.log]).toEqual([1, expect.stringContaining("may only be read")]);
    }
  });

  test("the exit code and the words of what runs inside are passed on", () => {
    const script = join(agent.root, "inside.sh");
    writeFileSync(script, insideScript([agent.root], process.getuid?.() ?? 0, process.getgid?.() ?? 0));
    const ended = spawnSync("/bin/sh", [script, "/bin/sh", "-c", 'echo "$1"; exit 7', "sh", "a 'b' $c"], {
      encoding: "utf8",
    });
    expect([ended.status, ended.stdout]).toEqual(whyNotReadOnly(agent.root) === null ? [7, "a 'b' $c\n"] : [1, ""]);
  });
});

describe("git", () => {
  let origin = "";
  const git = (...argv: string[]): string =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", "-C", origin, ...argv], { encoding: "utf8" });
  const commit = (text: string): void => {
    writeFileSync(join(origin, "file"), text);
    git("add", "file");
    git("commit", "-q", "-m", text);
  };
  const plan = (ref: string | null, url = `file://${origin}`): FilePlan => ({
    kind: "git",
    destination: "~/sky_workdir",
    url,
    ref,
  });
  const file = (): string => readFileSync(at("sky_workdir", "file"), "utf8");

  beforeEach(() => {
    origin = join(agent.root, "origin");
    mkdirSync(origin);
    git("init", "-q", "-b", "main");
    commit("one");
    git("tag", "v1");
  });

  test("clone, fetch, branch, tag and commit; what is not committed or only here is kept", async () => {
    expect((await job([plan(null)])).setupExit).toBe(0);
    expect(file()).toBe("one");
    commit("two");
    expect((await job([plan("main")])).log).toContain("(main)");
    expect(file()).toBe("two");
    expect((await job([plan("v1")])).setupExit).toBe(0);
    expect(file()).toBe("one");
    expect((await job([plan(git("rev-parse", "main").trim())])).setupExit).toBe(0);
    expect(file()).toBe("two");
    writeFileSync(at("sky_workdir", "file"), "mine");
    expect((await job([plan("main")])).setupExit).toBe(0);
    const kept = await job([plan("v1")]);
    expect([kept.setupExit, kept.log, file()]).toEqual([
      1,
      expect.stringContaining("changes that are not committed"),
      "mine",
    ]);
    const own = ["-c", "user.name=a", "-c", "user.email=a@b", "-C", at("sky_workdir")];
    execFileSync("git", [...own, "commit", "-q", "-am", "mine"]);
    expect((await job([plan("v1")])).log).toContain("are kept in the branch sky-kept-");
    expect([file(), execFileSync("git", [...own, "branch"], { encoding: "utf8" })]).toEqual([
      "one",
      expect.stringContaining("sky-kept-"),
    ]);
  });

  test("what is no repository, no reference, or another clone is refused with a sentence", async () => {
    expect((await job([plan("nowhere")])).log).toContain("no branch, tag or commit 'nowhere'");
    expect((await job([plan("main", `file://${origin}/none`)])).log).toContain("is a clone of");
    expect((await job([{ ...plan("main"), destination: "~/other", url: "ext::sh -c id" } as FilePlan])).log).toContain(
      "no address",
    );
    mkdirSync(at("full"));
    writeFileSync(at("full", "x"), "");
    expect((await job([{ ...plan("main"), destination: "~/full" }])).log).toContain("no clone of");
  });

  test("addresses that git could take for an option or a program; where a token goes", () => {
    const bad = ["--upload-pack=id", "ext::sh -c id", "-x:y", "http://a/b", "fd::7", "file:///a\nb", "transport::x"];
    bad.forEach((url) => expect(() => checkGitUrl(url), url).toThrow("no address"));
    ["https://a/b.git", "ssh://git@a/b", "git@github.com:o/r.git", "/srv/git/x", "file:///x", "git://a/b"].forEach(
      checkGitUrl,
    );
    const env = gitEnvironment("https://a.example:8443/b.git", { GIT_TOKEN: "t" });
    expect(env["GIT_CONFIG_KEY_0"]).toBe("http.https://a.example:8443/.extraHeader");
    expect(gitEnvironment("ssh://a/b", { GIT_TOKEN: "t" })["GIT_CONFIG_COUNT"]).toBeUndefined();
    expect(() => gitEnvironment("git@a:b", { GIT_SSH_KEY_PATH: "/nowhere/key" })).toThrow("is not on this machine");
  });
});

describe("addresses", () => {
  const uri = (text: string, mode: "COPY" | "MOUNT" = "COPY"): FilePlan => ({
    kind: "uri",
    destination: "~/model.bin",
    uri: text,
    mode,
    readOnly: false,
  });

  test("a web address is fetched once for each version, and a fault names address and tool", async () => {
    let [text, tag, bodies] = ["first", '"1"', 0];
    server = createServer((request, reply) => {
      if (request.url !== "/model") {
        reply.writeHead(404).end();
      } else if (request.headers["if-none-match"] === tag) {
        reply.writeHead(304, { etag: tag }).end();
      } else {
        bodies += 1;
        reply.writeHead(200, { etag: tag }).end(text);
      }
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect((await job([uri(`${base}/model`)])).setupExit).toBe(0);
    expect((await job([uri(`${base}/model`)])).setupExit).toBe(0);
    expect([readFileSync(at("model.bin"), "utf8"), bodies]).toEqual(["first", 1]);
    [text, tag] = ["second", '"2"'];
    expect((await job([uri(`${base}/model`)])).setupExit).toBe(0);
    expect(readFileSync(at("model.bin"), "utf8")).toBe("second");
    expect((await job([uri(`${base}/none`)])).log).toContain(`${base}/none could not be fetched`);
    expect(readdirSync(agent.home).filter((name) => name.startsWith(".sky-part"))).toEqual([]);
  });

  test("without a tool for it, the sentence says which one is needed", async () => {
    const bin = join(agent.root, "bin");
    mkdirSync(bin);
    for (const name of ["bash", "sh", "mkfifo", "cat", "sleep", "mkdir"]) {
      symlinkSync(`/bin/${name}`, join(bin, name));
    }
    // What the login has on its path, whatever this machine has beside it.
    const env = { PATH: bin };
    expect((await job([uri("s3://bucket/key")], "true", {}, env)).log).toContain("needs one of 'aws', 'rclone'");
    expect((await job([uri("gs://bucket", "MOUNT")])).log).toContain("needs one of 'gcsfuse', 'rclone'");
    expect((await job([uri("https://example.invalid/x")])).log).toContain("needs curl or wget");
    const git: FilePlan = { kind: "git", destination: "~/g", url: "https://example.invalid/x", ref: null };
    expect((await job([git])).log).toContain("git is not installed");
  });

  test("the words for each tool", () => {
    const bucket = { scheme: "s3", bucket: "b", key: "a/c" };
    const plan = { kind: "uri", destination: "x", uri: "s3://b/a/c", mode: "MOUNT", readOnly: true } as const;
    expect(mountWords("goofys", bucket, "/m", plan)).toEqual(["-o", "ro", "b:a/c", "/m"]);
    expect(mountWords("s3fs", bucket, "/m", plan)).toEqual(["b:/a/c", "/m", "-o", "ro"]);
    expect(mountWords("gcsfuse", { ...bucket, scheme: "gs" }, "/m", plan)).toEqual([
      "--only-dir",
      "a/c",
      "-o",
      "ro",
      "b",
      "/m",
    ]);
    expect(mountWords("rclone", bucket, "/m", plan)).toEqual([
      "mount",
      "--daemon",
      "--read-only",
      "--",
      "s3:b/a/c",
      "/m",
    ]);
  });
});
