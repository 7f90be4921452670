/** Uploads brought by the real skylet's runner and files program, from a store behind a socket, into homes of the test. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { FilePlan } from "../../../shared/files.ts";
import { StandInAgent } from "../../../test/help/stand-in-agent.ts";
import { until } from "../../../test/help/until.ts";

let agent: StandInAgent;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
  await agent.start();
});

afterEach(async () => {
  await agent.close();
});

function uploadTo(destination: string, manifest: string): FilePlan {
  return { kind: "upload", destination, manifest };
}

/** Runs a job with these files to its end; its setup log and exit codes. */
async function bring(...files: FilePlan[]): Promise<{ log: string; setupExit: number | null; runExit: number | null }> {
  const wanted = agent.wanted({ setup: true });
  const logDir = await agent.launch(wanted, { files, run: "true" });
  const { setupExit, runExit } = await agent.state(wanted.attempt, "exited");
  return { log: readFileSync(join(logDir, "setup.log"), "utf8"), setupExit, runExit };
}

const at = (...path: string[]): string => join(agent.home, ...path);
const text = (...path: string[]): string => readFileSync(at(...path), "utf8");

test("files, folders, links, modes, times and odd names arrive; an unchanged upload costs no question", async () => {
  const id = agent.files.add({
    "": { dir: 0o755 },
    sub: { dir: 0o750 },
    "sub/run.sh": { text: "echo hello, this is longer than one chunk", mode: 0o755, mtime: 1_600_000_000_500 },
    "sub/empty": { text: "" },
    "sub/closed": { dir: 0o500 },
    "sub/closed/x": { text: "x", mode: 0o400 },
    nothing: { dir: 0o755 },
    "away ü\n'": { text: "odd" },
    "to-etc": { link: "/etc/passwd" },
    "implied/deep/file": { text: "deep" },
    A: { text: "upper" },
    a: { text: "lower" },
  });
  const odd = agent.files.addEntries([
    {
      type: "file",
      path: Buffer.from([0x66, 0xff]).toString("base64"),
      bytes: true,
      mode: 0o644,
      mtime: 1,
      size: 0,
      chunks: [],
    },
  ]);
  const first = await bring(uploadTo("~/sky_workdir", id), uploadTo("~/odd", odd));
  expect([first.setupExit, first.runExit]).toEqual([0, 0]);
  expect(first.log).toContain("~/sky_workdir: ");
  expect(text("sky_workdir", "sub", "run.sh")).toBe("echo hello, this is longer than one chunk");
  const stat = statSync(at("sky_workdir", "sub", "run.sh"));
  expect([stat.mode & 0o777, stat.mtimeMs]).toEqual([0o755, 1_600_000_000_500]);
  expect(statSync(at("sky_workdir", "sub", "closed")).mode & 0o777).toBe(0o500);
  expect(statSync(at("sky_workdir", "sub")).mode & 0o777).toBe(0o750);
  expect(readlinkSync(at("sky_workdir", "to-etc"))).toBe("/etc/passwd");
  expect(readdirSync(at("sky_workdir", "nothing"))).toEqual([]);
  expect([text("sky_workdir", "A"), text("sky_workdir", "a"), text("sky_workdir", "away ü\n'")]).toEqual([
    "upper",
    "lower",
    "odd",
  ]);
  expect(readdirSync(Buffer.from(at("odd")), "buffer").map((name) => name.toString("hex"))).toEqual(["66ff"]);
  const questions = agent.files.asked.length;
  const second = await bring(uploadTo("~/sky_workdir", id), uploadTo("~/odd", odd));
  expect([second.setupExit, second.log, agent.files.asked.length]).toEqual([0, "", questions]);
});

test("only what differs is fetched, what was changed here is put back, and other files stay", async () => {
  const big = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(20);
  await bring(
    uploadTo("~/data", agent.files.add({ big: { text: big }, gone: { text: "gone" }, kept: { text: "kept" } })),
  );
  writeFileSync(at("data", "mine"), "mine");
  writeFileSync(at("data", "kept"), "changed here");
  const asked = agent.files.askedChunks;
  const changed = `${big.slice(0, 400)}X${big.slice(401)}`;
  const next = agent.files.add({ big: { text: changed }, kept: { text: "kept" }, moved: { text: "gone" } });
  expect((await bring(uploadTo("~/data", next))).setupExit).toBe(0);
  expect([text("data", "big"), text("data", "kept"), text("data", "moved")]).toEqual([changed, "kept", "gone"]);
  expect([text("data", "mine"), text("data", "gone")]).toEqual(["mine", "gone"]);
  // The chunk of the changed byte and the file that was changed here.
  expect(agent.files.askedChunks - asked).toBe(2);
});

test("a mount of one file, below a folder that is not there yet", async () => {
  const id = agent.files.add({ "": { text: "alone", mode: 0o600 } });
  expect((await bring(uploadTo("~/a/b/c.txt", id))).setupExit).toBe(0);
  expect([text("a", "b", "c.txt"), statSync(at("a", "b", "c.txt")).mode & 0o777]).toEqual(["alone", 0o600]);
  const questions = agent.files.asked.length;
  expect((await bring(uploadTo("~/a/b/c.txt", id))).log).toBe("");
  expect(agent.files.asked.length).toBe(questions);
});

test("links that lie below the destination are never followed, nor replaced by folders unless we made them", async () => {
  mkdirSync(at("outside"));
  mkdirSync(at("data"));
  writeFileSync(at("outside", "x"), "precious");
  symlinkSync(at("outside"), at("data", "sub"));
  symlinkSync(at("outside", "x"), at("data", "file"));
  const over = await bring(uploadTo("~/data", agent.files.add({ file: { text: "new" } })));
  expect(over.setupExit).toBe(0);
  expect([text("data", "file"), lstatSync(at("data", "file")).isFile()]).toEqual(["new", true]);
  const below = await bring(uploadTo("~/data", agent.files.add({ "sub/x": { text: "evil" } })));
  expect(below.setupExit).toBe(1);
  expect(below.log).toContain("~/data/sub is a symbolic link on this machine, and a folder in the uploaded files.");
  expect(text("outside", "x")).toBe("precious");
  const ours = await bring(uploadTo("~/own", agent.files.add({ s: { link: at("outside") } })));
  expect(ours.setupExit).toBe(0);
  expect((await bring(uploadTo("~/own", agent.files.add({ "s/x": { text: "inside" } })))).setupExit).toBe(0);
  expect([text("own", "s", "x"), text("outside", "x")]).toEqual(["inside", "precious"]);
});

test("a folder in the way of a file, a file in the way of a folder, a file that is the destination", async () => {
  mkdirSync(at("data", "f"), { recursive: true });
  writeFileSync(at("data", "f", "x"), "");
  writeFileSync(at("data", "d"), "");
  const one = await bring(uploadTo("~/data", agent.files.add({ f: { text: "file" } })));
  expect(one.log).toContain("~/data/f is a folder on this machine, and a file in the uploaded files.");
  const other = await bring(uploadTo("~/data", agent.files.add({ "d/x": { text: "file" } })));
  expect(other.log).toContain("~/data/d is a file on this machine, and a folder in the uploaded files.");
  const root = await bring(uploadTo("~/data/d", agent.files.add({ x: { text: "file" } })));
  expect([root.setupExit, root.log]).toEqual([1, expect.stringContaining("~/data/d")]);
  expect(readdirSync(at("data")).toSorted()).toEqual(["d", "f"]);
});

test("hostile lists are refused before anything is written", async () => {
  const file = { type: "file", mode: 0o644, mtime: 1, size: 0, chunks: [] };
  const hostile: unknown[][] = [
    [{ ...file, path: "../x" }],
    [{ ...file, path: "a/../../x" }],
    [{ ...file, path: "/etc/x" }],
    [{ ...file, path: "a//x" }],
    [{ ...file, path: "a/./x" }],
    [{ ...file, path: "a\0b" }],
    [{ ...file, path: Buffer.from("../x").toString("base64"), bytes: true }],
    [
      { type: "link", path: "l", target: "/tmp" },
      { ...file, path: "l/x" },
    ],
    [
      { ...file, path: "l" },
      { ...file, path: "l/x" },
    ],
    [
      { ...file, path: "twice" },
      { ...file, path: "twice" },
    ],
    [{ ...file, path: "huge", size: 1e15 }],
    [{ ...file, path: "x", mode: 0o4755 }],
    [{ type: "device", path: "null", mode: 0o644 }],
    [{ ...file, path: "x".repeat(300) }],
    [{ ...file, path: `${"d/".repeat(300)}x` }],
  ];
  const ids = hostile.map((entries) => agent.files.addEntries([{ ...file, path: "first" }, ...entries]));
  for (const id of ids) {
    // oxlint-disable-next-line no-await-in-loop -- one job after another
    const { log, setupExit } = await bring(uploadTo("~/data", id));
    expect([setupExit, log]).toEqual([1, expect.stringContaining("The uploaded files are refused")]);
  }
  expect(existsSync(at("data"))).toBe(false);
  expect(readdirSync(agent.home).filter((name) => !["sky_logs", ".sky"].includes(name))).toEqual([]);
});

test("a part that is not what was asked for, and a fault that is named, end the job's files", async () => {
  const id = agent.files.add({ x: { text: "abcd" } });
  const [[hash] = [""]] = [...agent.files.chunks];
  agent.files.chunks.set(hash, Buffer.from("evil"));
  expect((await bring(uploadTo("~/data", id))).log).toContain("came damaged");
  agent.files.disturb = () => ({ fault: "the upload is not kept any more. Launch again." });
  expect((await bring(uploadTo("~/data", id))).log).toContain("not kept any more");
  expect(readdirSync(at("data"))).toEqual([]);
});

test("a connection that is lost on the way is made anew, and only the rest is asked for", async () => {
  const id = agent.files.add({ x: { text: "abcdefghijklmnopqrst" } });
  let cuts = 0;
  agent.files.disturb = (_hash, sent) => (sent === 3 && (cuts += 1) === 1 ? "cut" : null);
  expect((await bring(uploadTo("~/data", id))).setupExit).toBe(0);
  expect(text("data", "x")).toBe("abcdefghijklmnopqrst");
  expect(agent.files.asked.flatMap((one) => (one.get === "chunks" ? [one.hashes.length] : []))).toEqual([5, 2]);
});

test("a cancel ends it at once, leaves nothing unfinished, and what was written is not fetched again", async () => {
  const id = agent.files.add({ a: { text: "abcd" }, b: { text: "efghijkl" } });
  agent.files.disturb = (_hash, sent) => (sent === 2 ? "hang" : null);
  const wanted = agent.wanted({ setup: true });
  await agent.launch(wanted, { files: [uploadTo("~/data", id)], run: "true" });
  await until(
    () => existsSync(at("data")) && readdirSync(at("data")).some((name) => name.startsWith(".sky-part")),
    "a part",
  );
  expect((await agent.state(wanted.attempt, "setup")).setupExit).toBe(null);
  await agent.stop(wanted.attempt, 20);
  expect(readdirSync(at("data"))).toEqual(["a"]);
  expect(readdirSync(at(".sky", "onprem-files")).filter((name) => name.endsWith(".claim"))).toEqual([]);
  agent.files.disturb = () => null;
  const asked = agent.files.askedChunks;
  expect((await bring(uploadTo("~/data", id))).setupExit).toBe(0);
  expect([text("data", "b"), agent.files.askedChunks - asked]).toEqual(["efghijkl", 2]);
});

test("files without the setup flag, as an exec has them, come before the run too; their failure keeps it from running", async () => {
  const wanted = agent.wanted();
  const id = agent.files.add({ x: { text: "there" } });
  await agent.launch(wanted, { files: [uploadTo("~/sky_workdir", id)], run: "cat x >seen" });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ setupExit: 0, runExit: 0 });
  expect(text("sky_workdir", "seen")).toBe("there");
  const bad = agent.wanted();
  await agent.launch(bad, { files: [uploadTo("~/d", "0".repeat(64))], run: "echo >ran" });
  expect(await agent.state(bad.attempt, "exited")).toMatchObject({ setupExit: 1, runExit: null });
  expect(existsSync(at("sky_workdir", "ran"))).toBe(false);
});

test("secrets are exported in setup and run, and no file with them can be read by others", async () => {
  const wanted = agent.wanted({ setup: true });
  await agent.launch(wanted, { secrets: { TOKEN: "s3cret" }, setup: 'echo "$TOKEN" >a', run: 'echo "$TOKEN" >b' });
  await agent.state(wanted.attempt, "exited");
  expect([text("sky_workdir", "a"), text("sky_workdir", "b")]).toEqual(["s3cret\n", "s3cret\n"]);
  const folder = join(agent.dir, wanted.attempt);
  const open = readdirSync(folder).filter((name) => (statSync(join(folder, name)).mode & 0o077) !== 0);
  expect([
    open.filter((name) => name.endsWith(".env") || name.endsWith(".json")),
    statSync(folder).mode & 0o777,
  ]).toEqual([[], 0o700]);
});
