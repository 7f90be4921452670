/**
 * A release as an admin gets it: what the archives hold, that they run with nothing of the machine they are put on, how
 * install.sh exchanges one for another, and the client's npm package. Packaged once; everything happens in folders of
 * its own and without a network.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import {
  appendFile,
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { checkedProgram, runProgram, surface } from "../help/consumer.ts";
import { launch, must, type Result, run } from "../help/run.ts";
import { until } from "../help/until.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const version = "7.8.9";
const limitMs = 280_000;
const noNetwork = ["/usr/bin/unshare", "-n"];
/** ELF's e_machine. */
const machines = { x64: 62, arm64: 183 } as const;
let dir = "";
let out = "";
/** What is packaged: a copy of the checkout, so that both runs see the same files whoever works in the checkout. */
let sources = "";

/** An unpacked archive. */
const folderOf = (architecture: string): string => join(dir, `sky-onprem-${version}-linux-${architecture}`);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "sky-package-test-"));
  out = join(dir, "out");
  sources = join(dir, "sources");
  await must(["rsync", "-a", "--exclude=node_modules", "--exclude=/dist*", `${root}/`, `${sources}/`]);
  await symlink(join(root, "node_modules"), join(sources, "node_modules"));
  await must([join(sources, "scripts/package"), "--out", out, "--version", version], { limitMs, env: env() });
  for (const architecture of Object.keys(machines)) {
    await must(["tar", "-xzf", `${out}/${basename(folderOf(architecture))}.tar.gz`, "-C", dir]);
  }
}, limitMs);
afterAll(() => rm(dir, { recursive: true, force: true }));

function env(): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/root" };
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** The machine that an ELF file is for; null for any other file. */
function elfMachine(file: string): number | null {
  const fd = openSync(file, "r");
  const head = Buffer.alloc(20);
  const length = readSync(fd, head, 0, 20, 0);
  closeSync(fd);
  return length === 20 && head.readUInt32BE(0) === 0x7f454c46 ? head.readUInt16LE(18) : null;
}

describe("an archive", () => {
  it("holds programs of its own architecture only, and no link, device or file that others may write", async () => {
    for (const [architecture, machine] of Object.entries(machines)) {
      const found = filesBelow(folderOf(architecture))
        .map(elfMachine)
        .filter((each) => each !== null);
      // Node.js and koffi.
      expect(found).toEqual([machine, machine]);
      const listing = await must(["tar", "-tvzf", `${out}/${basename(folderOf(architecture))}.tar.gz`]);
      const lines = listing.trim().split("\n");
      expect(lines.filter((line) => !/^(-rw-r--r--|-rwxr-xr-x|drwxr-xr-x) 0\/0 /.test(line))).toEqual([]);
    }
  });

  it("names every file with its hash, beside the licences of all that it carries", async () => {
    const folder = folderOf("x64");
    await must(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], { cwd: folder });
    const listed = (await readFile(join(folder, "SHA256SUMS"), "utf8")).trim().split("\n").length;
    expect(listed).toBe(filesBelow(folder).length - 1);
    await must(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], { cwd: out });
    const licences = await readFile(join(folder, "share/licenses/THIRD-PARTY-LICENSES"), "utf8");
    for (const name of ["ssh2", "bullmq", "koffi", "zod"]) {
      expect(licences).toMatch(new RegExp(`^${name} \\d\\S+, \\S`, "m"));
    }
    expect(await readFile(join(folder, "share/licenses/NODE-LICENSE"), "utf8")).toContain("Node.js is licensed");
  });

  it("is the same to the byte when it is made again", async () => {
    const again = join(dir, "again");
    const argv = [join(sources, "scripts/package"), "--out", again, "--version", version, "--arch", "x64"];
    await must(argv, { limitMs, env: env() });
    for (const file of [`${basename(folderOf("x64"))}.tar.gz`, `sky-onprem-${version}.tgz`]) {
      expect(readFileSync(join(again, file)).equals(readFileSync(join(out, file))), file).toBe(true);
    }
    await rm(again, { recursive: true });
  });

  it("runs every program without a PATH, a network or the caller's settings for Node.js, also through links", async () => {
    const bin = join(folderOf("x64"), "bin");
    const bare = { PATH: "/nonexistent", HOME: "/nonexistent", NODE_OPTIONS: "--bogus", NODE_PATH: "/nonexistent" };
    const names = readdirSync(bin);
    expect(names).toEqual(expect.arrayContaining(["sky", "sky-agent", "sky-coordinator"]));
    await symlink(bin, join(dir, "link"));
    for (const name of names) {
      const form = new RegExp(`^${name} 7\\.8\\.9 \\([0-9a-f]{40}(-dirty)?\\)\\n$`);
      for (const path of [join(bin, name), join(dir, "link", name)]) {
        const result = await run([...noNetwork, path, "--version"], { env: bare });
        expect(result.stdout + result.stderr).toMatch(form);
      }
    }
    const skylet = [join(folderOf("x64"), "lib/node"), join(folderOf("x64"), "lib/skylet.mjs"), "--version"];
    expect(await must(skylet)).toMatch(/^sky-skylet 7\.8\.9 \(/);
    // What the agent asks for the CPU's model and the disks, with the library inside.
    const hardware = await run([join(folderOf("x64"), "lib/node"), join(folderOf("x64"), "lib/hardware.mjs")]);
    expect(JSON.parse(hardware.stdout)).toMatchObject({ cpuModel: expect.any(String), disks: expect.any(Array) });
  });

  it("gives out its playbooks by the lines of the documents, and leaves an inventory alone", async () => {
    const folder = await mkdtemp(join(dir, "admin-"));
    await symlink(
      `${join(out, basename(folderOf("x64")))}.tar.gz`,
      join(folder, `${basename(folderOf("x64"))}.tar.gz`),
    );
    for (const name of ["install", "upgrade"]) {
      const text = readFileSync(join(root, `docs/admin/${name}.md`), "utf8");
      const line = /^ *(tar -xzf \S+ \S+\/ansible .*)$/m.exec(text)?.[1]?.replace(/\d+\.\d+\.\d+/g, version) ?? "false";
      await must(["bash", "-ec", line], { cwd: folder });
      if (name === "install") {
        await must(["bash", "-ec", "cd ansible\ncp inventory.example.yml inventory.yml"], { cwd: folder });
        await writeFile(join(folder, "ansible/inventory.yml"), "mine: true\n");
      }
    }
    expect(readFileSync(join(folder, "ansible/inventory.yml"), "utf8")).toBe("mine: true\n");
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    const example = readFileSync(join(folder, "ansible/inventory.example.yml"), "utf8");
    expect(example).toContain(`sky-onprem-${manifest.version}-linux-x64.tar.gz`);
  });

  it("carries an LTS of Node.js and a koffi that loads in it", async () => {
    const text = 'import koffi from "koffi"; console.log(process.release.lts, koffi.sizeof("int"))';
    const lib = join(folderOf("x64"), "lib");
    await writeFile(join(dir, "try.mjs"), text);
    await cp(join(lib, "node_modules"), join(dir, "node_modules"), { recursive: true });
    expect(await must([join(lib, "node"), join(dir, "try.mjs")])).toMatch(/^[A-Z][a-z]+ 4\n$/);
  });
});

describe("install.sh", () => {
  let prefix = "";
  let links = "";
  const current = (): Promise<string> => readlink(join(prefix, "current"));
  const install = (folder: string, ...more: string[]): Promise<Result> =>
    run([join(folder, "install.sh"), "--prefix", prefix, "--links", links, ...more]);
  /** The same release under another name, small, so that many can be installed. */
  async function release(name: string): Promise<string> {
    const folder = join(dir, `release-${name}`);
    await mkdir(join(folder, "bin"), { recursive: true });
    await mkdir(join(folder, "lib"));
    await writeFile(join(folder, "RELEASE"), `${name}\n`);
    await cp("/bin/sleep", join(folder, "lib/node"));
    await cp(join(root, "scripts/release/install.sh"), join(folder, "install.sh"));
    await must(["sh", "-c", "find * -type f ! -name SHA256SUMS -exec sha256sum {} + >SHA256SUMS"], { cwd: folder });
    return folder;
  }
  const installed = (): string[] =>
    readdirSync(prefix)
      .filter((name) => /^\d/.test(name))
      .sort();

  beforeEach(async () => {
    prefix = await mkdtemp(join(dir, "opt-"));
    links = join(prefix, "bin");
    await mkdir(links);
    await chmod(prefix, 0o755);
  });

  it("installs, changes nothing the second time, exchanges and rolls back in one step", async () => {
    const name = (await readFile(join(folderOf("x64"), "RELEASE"), "utf8")).trim();
    expect(name).toMatch(/^7\.8\.9-[0-9a-f]{7}(-[0-9a-f]{7})?$/);
    expect(await install(folderOf("x64"))).toMatchObject({ code: 0, stderr: "" });
    expect(await current()).toBe(name);
    expect(await must([join(links, "sky"), "--version"])).toMatch(/^sky 7\.8\.9 \(/);
    const look = (): Promise<string> =>
      must(["sh", "-c", `cd ${prefix} && find . -printf '%p %l %m %U %i %T@ %C@\\n' | grep -v '^./.lock' | sort`]);
    const before = await look();
    expect(await install(folderOf("x64"))).toMatchObject({ code: 0, stderr: "" });
    expect(await install(join(prefix, name))).toMatchObject({ code: 0, stderr: "" });
    expect(await look()).toBe(before);

    await install(await release("8.0.0-aaaaaaa"));
    expect(await current()).toBe("8.0.0-aaaaaaa");
    expect(await install(folderOf("x64"), "--rollback")).toMatchObject({ code: 0, stderr: "" });
    expect(await current()).toBe(name);
    expect(await must([join(links, "sky"), "--version"])).toMatch(/^sky 7\.8\.9 \(/);
    const list = await install(join(prefix, "current"), "--list");
    expect(list.stdout.trim().split("\n").sort()).toEqual([`${name} current`, "8.0.0-aaaaaaa previous"]);
    await install(join(prefix, "current"), "--rollback");
    expect(await current()).toBe("8.0.0-aaaaaaa");
  });

  it("keeps the newest, the current, the one before, and one that still runs", async () => {
    const names = ["1.0.0-aaaaaaa", "2.0.0-aaaaaaa", "3.0.0-aaaaaaa", "4.0.0-aaaaaaa", "5.0.0-aaaaaaa"];
    for (const [at, name] of names.entries()) {
      expect(await install(await release(name), "--keep", "9")).toMatchObject({ code: 0 });
      await utimes(join(prefix, name), at, at);
    }
    const running = launch([join(prefix, "1.0.0-aaaaaaa/lib/node"), "60"]);
    const exe = (): Promise<string> => readlink(`/proc/${running.child.pid}/exe`);
    await until(async () => (await exe()).endsWith("lib/node"), "the program of the oldest release");
    expect(await install(await release("6.0.0-aaaaaaa"))).toMatchObject({ code: 0 });
    expect(installed()).toEqual(["1.0.0-aaaaaaa", "4.0.0-aaaaaaa", "5.0.0-aaaaaaa", "6.0.0-aaaaaaa"]);
    running.child.kill("SIGKILL");
    await running.ended;
    await install(join(dir, "release-6.0.0-aaaaaaa"), "--keep", "2");
    expect(installed()).toEqual(["5.0.0-aaaaaaa", "6.0.0-aaaaaaa"]);
    expect((await install(join(prefix, "current"), "--keep", "1")).code).not.toBe(0);
  });

  it("mends an installed release that was damaged, and refuses a damaged archive or another machine's", async () => {
    const folder = await release("1.1.0-aaaaaaa");
    await install(folder);
    await writeFile(join(prefix, "1.1.0-aaaaaaa/lib/node"), "");
    expect(await install(folder)).toMatchObject({ code: 0 });
    expect((await stat(join(prefix, "current/lib/node"))).size).toBeGreaterThan(0);
    await appendFile(join(folder, "lib/node"), "x");
    await writeFile(join(folder, "bin/more"), "");
    await rm(join(prefix, "1.1.0-aaaaaaa"), { recursive: true });
    expect((await install(folder)).stderr).toMatch(/not complete and unchanged; unpack the archive again/);
    expect((await install(folderOf("arm64"))).stderr).toMatch(/for another kind of machine than this/);
  });

  it("refuses folders that others than root can change, and links in place of its own", async () => {
    const folder = await release("1.2.0-aaaaaaa");
    await chmod(folder, 0o775);
    expect((await install(folder)).stderr).toMatch(/others than root can write to .*release-1\.2\.0/);
    await chmod(folder, 0o755);
    await chown(folder, 65534, 65534);
    expect((await install(folder)).stderr).toMatch(/belongs to another account than root/);
    await chown(folder, 0, 0);
    await chmod(prefix, 0o777);
    expect((await install(folder)).stderr).toMatch(/others than root can write to .*opt-/);
    await chmod(prefix, 0o755);
    await symlink("/etc/hostname", join(folder, "bin/link"));
    expect((await install(folder)).stderr).toMatch(/not complete and unchanged/);
    await rm(join(folder, "bin/link"));
    await mkdir(join(prefix, "current"));
    expect((await install(folder)).stderr).toMatch(/current is not a link/);
    await rm(join(prefix, "current"), { recursive: true });
    await writeFile(join(links, "sky"), "mine");
    expect((await install(folder)).stderr).toMatch(/is something else and was left alone/);
    expect(await readFile(join(links, "sky"), "utf8")).toBe("mine");
  });

  it("is refused to others than root", async () => {
    const folder = await release("1.3.0-aaaaaaa");
    await chmod(dir, 0o755);
    const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const result = await run([...asNobody, join(folder, "install.sh"), "--prefix", prefix]);
    expect(result).toMatchObject({ code: 1, stderr: "install.sh: this must run as root\n" });
  });
});

describe("the client's npm package", () => {
  it("is what programs import: types that need nothing, errors under their names, examples that are checked", async () => {
    const folder = join(dir, "consumer");
    await mkdir(join(folder, "home"), { recursive: true });
    await writeFile(join(folder, "package.json"), '{ "private": true, "type": "module" }');
    const settings = { ...env(), HOME: join(folder, "home"), npm_config_update_notifier: "false" };
    const file = join(out, `sky-onprem-${version}.tgz`);
    await must([...noNetwork, "npm", "install", "--no-save", file], { cwd: folder, env: settings, limitMs });
    expect(readdirSync(join(folder, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["sky-onprem"]);

    const strict = "--ignoreConfig --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --noEmit".split(
      " ",
    );
    const flags = [...strict, ..."--skipLibCheck false --module nodenext --target es2022 --lib es2022".split(" ")];
    const tsc = [process.execPath, join(root, "node_modules/typescript/bin/tsc"), ...flags];
    await writeFile(join(folder, "checked.ts"), checkedProgram);
    const checked = await run([...tsc, "--types", "", "checked.ts"], { cwd: folder, limitMs });
    expect(checked.stdout).toBe("");
    expect(checked.code).toBe(0);
    await cp(join(root, "examples/sdk"), join(folder, "examples"), { recursive: true });
    const examples = readdirSync(join(folder, "examples")).map((name) => join("examples", name));
    const node = ["--types", "node", "--typeRoots", join(root, "node_modules/@types"), "--allowJs", "--checkJs"];
    expect((await run([...tsc, ...node, ...examples], { cwd: folder, limitMs })).stdout).toBe("");

    await writeFile(join(folder, "run.mjs"), runProgram);
    const told = JSON.parse(await must([process.execPath, "run.mjs"], { cwd: folder, env: settings })) as {
      exported: string[];
      yaml: string;
    };
    expect(told).toMatchObject({ wrong: [], lost: ["ClusterDoesNotExist", true] });
    expect(told.exported.filter((name) => !/(Error|Exception|DoesNotExist|Cancelled|Policy)$/.test(name))).toEqual(
      surface.sort(),
    );
    expect(told.yaml).toContain('"packed"');
  });

  it("installs with npm alone, without a network, dependencies or scripts, and runs", async () => {
    const home = join(dir, "home");
    const prefix = join(dir, "npm");
    await mkdir(home);
    const file = join(out, `sky-onprem-${version}.tgz`);
    const settings = {
      ...env(),
      HOME: home,
      npm_config_cache: join(home, "cache"),
      npm_config_update_notifier: "false",
    };
    await must([...noNetwork, "npm", "install", "--global", "--prefix", prefix, file], { env: settings, limitMs });
    const said = await must([...noNetwork, join(prefix, "bin/sky"), "--version"], { env: settings });
    expect(said).toMatch(/^sky 7\.8\.9 \(/);
    const folder = join(prefix, "lib/node_modules/sky-onprem");
    expect(
      filesBelow(folder).filter((path) => elfMachine(path) !== null || path.includes("node_modules/koffi")),
    ).toEqual([]);
    const manifest = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as Record<string, unknown>;
    expect(Object.keys(manifest)).not.toEqual(expect.arrayContaining(["dependencies"]));
    expect(Object.keys(manifest)).not.toEqual(expect.arrayContaining(["scripts"]));
    expect(manifest).not.toHaveProperty("os");
    // SSH too: it gets as far as there being no network.
    await mkdir(join(home, ".sky/local"), { recursive: true });
    await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(home, "key")]);
    const cluster = `cluster: {ips: [127.0.0.1], name: lab}\nauth: {ssh_user: root, ssh_private_key: ${home}/key}\n`;
    await writeFile(join(home, ".sky/local/lab.yml"), cluster);
    const tried = await run([...noNetwork, join(prefix, "bin/sky"), "launch", "-y", "-c", "lab", ""], {
      env: settings,
    });
    expect(tried.code).not.toBe(0);
    expect(tried.stderr).toMatch(/127\.0\.0\.1/);
    expect(tried.stderr).not.toMatch(/Cannot find|ERR_MODULE/);
  });
});
