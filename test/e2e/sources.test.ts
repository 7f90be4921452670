/**
 * Files that a job brings from elsewhere, by the node's own programs and from real servers on loopback: buckets by rclone,
 * https addresses by curl and by wget, each behind a certificate of the site's own.
 */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startBucket, type TestBucket } from "../help/bucket.ts";
import { clusterName, jobLines, plain, type Site, startSite } from "../help/site.ts";
import { runAs, sky } from "../help/sky.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

let site: Site;
let user: TestUser;
/** Has wget and no curl. */
let other: TestUser;
let bucket: TestBucket;
let server: Server;
let base: string;
let folder: string;
/** What the https server has, by path, each with its tag; and the paths for which it gave a body. */
const pages = new Map<string, { tag: string; text: string }>();
let bodies: string[] = [];

/** A login whose PATH has every program of the machine but these. */
function hide(who: TestUser, ...names: string[]): void {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const place of ["/usr/bin", "/usr/local/bin"]) {
    for (const name of readdirSync(place).filter((one) => !names.includes(one) && !existsSync(join(bin, one)))) {
      symlinkSync(join(place, name), join(bin, name));
    }
  }
  appendFileSync(join(who.home, ".profile"), `\nexport PATH=${bin}\n`);
}

async function startServer(): Promise<void> {
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", key, "-out", certificate];
  execFileSync("openssl", [...made, ...subject], { stdio: "ignore" });
  execFileSync("chmod", ["a+r", certificate]);
  server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (request, reply) => {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const page = pages.get(path);
    if (path === "/moved") {
      reply.writeHead(302, { location: `${bucket.endpoint}/data/other` }).end();
    } else if (page === undefined) {
      reply.writeHead(404).end();
    } else if (request.headers["if-none-match"] === page.tag) {
      reply.writeHead(304, { etag: page.tag }).end();
    } else {
      bodies.push(path);
      reply.writeHead(200, { etag: page.tag }).end(page.text);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  appendFileSync(join(user.home, ".profile"), `\nexport CURL_CA_BUNDLE=${certificate}\n`);
  writeHomeFile(other, ".wgetrc", `ca_certificate = ${certificate}\n`);
}

beforeAll(async () => {
  site = await startSite({ accelerators: "-", users: 2 });
  [user, other] = site.users as [TestUser, TestUser];
  folder = mkdtempSync(join(tmpdir(), "sky-sources-"));
  execFileSync("chmod", ["755", folder]);
  bucket = await startBucket("data");
  await startServer();
  hide(other, "curl");
});
afterAll(async () => {
  await site?.stop();
  await bucket?.stop();
  server?.closeAllConnections();
  server?.close();
  if (folder !== undefined) {
    rmSync(folder, { recursive: true, force: true });
  }
});
beforeEach(() => {
  bodies = [];
});

interface Ended {
  code: number | null;
  /** What was said of the files, and what run wrote. */
  lines: string[];
  text: string;
}

/** Launches a task with these mounts, destination by destination. */
async function bring(who: TestUser, mounts: Record<string, string | object>, run: string, more = ""): Promise<Ended> {
  const text = `file_mounts: ${JSON.stringify(mounts)}\n${more}run: ${JSON.stringify(run)}\n`;
  const task = writeHomeFile(who, "task.yaml", text);
  const result = await sky(who, ["launch", "-c", clusterName, "-y", task], { limitMs: 120_000 });
  return { code: result.code, lines: jobLines(result.stdout), text: plain(result.stdout + result.stderr) };
}

function bucketSecrets(scheme: string): string {
  const name = (rest: string): string => `RCLONE_CONFIG_${scheme.toUpperCase()}_${rest}`;
  const secrets = {
    [name("TYPE")]: "s3",
    [name("PROVIDER")]: "Other",
    [name("ENDPOINT")]: bucket.endpoint,
    [name("ACCESS_KEY_ID")]: "id",
    [name("SECRET_ACCESS_KEY")]: "s3cret",
  };
  return `secrets: ${JSON.stringify(secrets)}\n`;
}

const copied = (source: string) => ({ source, mode: "COPY" });

test("a bucket's folder and one object of it, by rclone; what is there already is not sent again", async () => {
  bucket.objects.set("sets/a.txt", "of a\n").set("sets/sub/b c.txt", "of b c\n").set("other", "the other\n");
  const mounts = { "~/sets": copied("r2://data/sets"), "~/place/other.txt": copied("r2://data/other") };
  const run = "cd ~/sets; cat a.txt 'sub/b c.txt' ~/place/other.txt; ls ~/place";
  const first = await bring(user, mounts, run, bucketSecrets("r2"));
  const own = ["of a", "of b c", "the other", "other.txt"];
  expect([first.code, first.lines.slice(-own.length)], first.text).toEqual([0, own]);
  expect(first.text).toContain("files: ~/sets: r2://data/sets copied by rclone");
  const got = (): string[] => bucket.calls.splice(0).filter((call) => call.startsWith("GET "));
  expect(got().sort()).toEqual(["GET other", "GET sets/a.txt", "GET sets/sub/b c.txt"]);
  bucket.objects.set("sets/a.txt", "of a, changed\n");
  const again = await bring(user, mounts, run, bucketSecrets("r2"));
  expect(again.lines).toContain("of a, changed");
  expect(got()).toEqual(["GET sets/a.txt"]);
  expect(first.text + again.text).not.toContain("s3cret");
});

test("a name that nothing in the bucket has, and a bucket that is not there, fail the setup with a sentence", async () => {
  for (const [source, text] of [
    ["r2://data/nowhere", "r2://data/nowhere could not be copied to ~/none: nothing of that name is there."],
    ["r2://elsewhere/sets", "r2://elsewhere/sets could not be copied to ~/none: rclone ended with exit code "],
  ] as const) {
    const ended = await bring(user, { "~/none": copied(source) }, "echo never", bucketSecrets("r2"));
    expect([ended.code, ended.text]).toEqual([100, expect.stringContaining(text)]);
    expect(ended.lines).not.toContain("never");
  }
});

test.each([["curl"], ["wget"]])(
  "https by %s: fetched, fetched anew when it has changed, and its faults told",
  async (tool) => {
    const who = tool === "curl" ? user : other;
    pages.set("/set.bin", { tag: '"1"', text: "first\n" });
    const mounts = { "~/data/set.bin": `${base}/set.bin?token=abc` };
    const first = await bring(who, mounts, "cat ~/data/set.bin");
    expect([first.code, first.lines.at(-1)], first.text).toEqual([0, "first"]);
    const programs = await runAs(who, ["bash", "-lc", "command -v curl; command -v wget; true"]);
    expect(programs.stdout.includes("curl"), programs.stdout).toBe(tool === "curl");
    await bring(who, mounts, "true");
    // wget asks for a file whole when it is to write it elsewhere first.
    expect(bodies).toHaveLength(tool === "curl" ? 1 : 2);
    pages.set("/set.bin", { tag: '"2"', text: "second\n" });
    expect((await bring(who, mounts, "cat ~/data/set.bin")).lines.at(-1)).toBe("second");
    const missing = await bring(who, { "~/data/set.bin": `${base}/none` }, "echo never");
    expect([missing.code, missing.text]).toEqual([
      100,
      expect.stringContaining(`${base}/none could not be fetched to ~/data/set.bin: ${tool} ended with exit code `),
    ]);
    expect(readFileSync(join(who.home, "data/set.bin"), "utf8")).toBe("second\n");
    expect(readdirSync(join(who.home, "data"))).toEqual(["set.bin"]);
  },
);

test("a certificate that nobody knows, and a way that leaves https, are refused", async () => {
  bucket.objects.set("other", "not safe\n");
  const moved = await bring(user, { "~/moved": `${base}/moved` }, "cat ~/moved");
  expect([moved.code, moved.lines.includes("not safe")]).toEqual([100, false]);
  expect(existsSync(join(user.home, "moved"))).toBe(false);
  writeFileSync(join(other.home, ".wgetrc"), "");
  const unknown = await bring(other, { "~/unknown": `${base}/set.bin` }, "cat ~/unknown");
  expect([unknown.code, unknown.text]).toEqual([100, expect.stringContaining("wget ended with exit code 5")]);
});
