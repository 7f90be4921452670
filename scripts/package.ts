/**
 * Makes a release: for each architecture one archive that carries Node.js, the programs and their native modules and
 * installs without internet, npm or compiler; the client alone as an npm package; and SHA256SUMS of all of them. The
 * same commit gives the same bytes: sorted names, fixed owners and modes, the commit's time. It must never take anything
 * from outside that is not pinned by its hash. Called through scripts/package.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Architecture, architectures, fetchPinned, pinnedKoffi, pinnedNode, unpack } from "./release/fetch.ts";
import { launcherOf, programs } from "./release/launchers.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const usage = "Usage: scripts/package [--out DIR] [--arch x64|arm64|all] [--version V]";
const versionForm = /^\d+\.\d+\.\d+[A-Za-z0-9.+-]*$/;
/** Bundles that are only the client's are in the client's package, and everything is in a release. */
const clientFiles =
  /^(sky|client\.mjs|sdk\.mjs|policy-(worker|hooks)\.mjs|sdk\.d\.mts|(sdk-)?chunk-.*\.mjs|package\.json)$/;

interface Options {
  out: string;
  architectures: Architecture[];
  version: string;
}

function parse(): Options {
  const { values } = parseArgs({
    options: {
      out: { type: "string", default: "." },
      arch: { type: "string", default: "all" },
      version: { type: "string" },
    },
  });
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const version = values.version ?? manifest.version;
  const wanted = architectures.filter((one) => values.arch === "all" || values.arch === one);
  if (wanted.length === 0 || !versionForm.test(version)) {
    throw new Error(usage);
  }
  return { out: resolve(values.out), architectures: wanted, version };
}

/** Every file below a folder, relative to it, sorted. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

function sumsOf(folder: string, files: string[]): string {
  const line = (file: string): string =>
    `${createHash("sha256")
      .update(readFileSync(join(folder, file)))
      .digest("hex")}  ${file}\n`;
  return files.map(line).join("");
}

/** Seconds since 1970 that every file in the archive carries. */
function timeOfCommit(): string {
  const given = process.env["SOURCE_DATE_EPOCH"] ?? "";
  if (/^\d{1,11}$/.test(given)) {
    return given;
  }
  try {
    const argv = ["-C", root, "log", "-1", "--format=%ct"];
    return execFileSync("git", argv, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "0";
  }
}

/** Programs, architecture by architecture the same: bundles, launchers, playbooks, documents. */
function layOut(built: string, folder: string): void {
  const lib = join(folder, "lib");
  cpSync(built, lib, {
    recursive: true,
    // ssh2's compiled crypto fits one version of Node.js and one architecture; without it ssh2 uses node:crypto.
    filter: (path) => !/(\.map|\.node|\/sky|\/@koromix|\/LICENSE|\/THIRD-PARTY-LICENSES)$/.test(path),
  });
  mkdirSync(join(folder, "bin"));
  for (const [name, program] of Object.entries(programs)) {
    if (existsSync(join(lib, program.bundle))) {
      writeFileSync(join(folder, "bin", name), launcherOf(program));
    }
  }
  if (existsSync(join(root, "ansible"))) {
    cpSync(join(root, "ansible"), join(folder, "ansible"), { recursive: true });
  }
  cpSync(join(root, "scripts/release/install.sh"), join(folder, "install.sh"));
  for (const name of ["README.md", "CHANGELOG.md", "LICENSE"]) {
    cpSync(join(root, name), join(folder, name));
  }
  cpSync(join(root, "docs"), join(folder, "share/doc"), { recursive: true });
  cpSync(join(built, "THIRD-PARTY-LICENSES"), join(folder, "share/licenses/THIRD-PARTY-LICENSES"));
}

/** Node.js and koffi's binary for glibc. */
function addNative(folder: string, architecture: Architecture): void {
  const lib = join(folder, "lib");
  const node = fetchPinned(pinnedNode(root, architecture));
  const koffi = pinnedKoffi(root, architecture);
  const parts = join(folder, ".parts");
  unpack(node, ["bin/node", "LICENSE"], parts);
  renameSync(join(parts, "bin/node"), join(lib, "node"));
  renameSync(join(parts, "LICENSE"), join(folder, "share/licenses/NODE-LICENSE"));
  rmSync(parts, { recursive: true });
  const members = ["package.json", "index.js", `linux_${architecture}`];
  unpack(fetchPinned(koffi), members, join(lib, "node_modules", koffi.name));
}

function setModes(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const inside = relative(folder, path);
    const isProgram = /^(bin\/|install\.sh$|lib\/node$|lib\/start-skylet\.sh$)/.test(inside);
    if (!entry.isDirectory() && !entry.isFile()) {
      throw new Error(`${path} is neither a file nor a folder`);
    }
    const wasProgram = entry.isFile() && inside.startsWith("ansible/") && (statSync(path).mode & 0o111) !== 0;
    chmodSync(path, entry.isDirectory() || isProgram || wasProgram ? 0o755 : 0o644);
  }
  chmodSync(folder, 0o755);
}

/** The release's own name (`VERSION-COMMIT7`) is that of its folder on a node; a build of changed files gets one by its content. */
function nameRelease(folder: string, options: Options, head: string): string {
  const sums = sumsOf(folder, filesOf(folder));
  const content = createHash("sha256").update(sums).digest("hex").slice(0, 7);
  const plain = `${options.version}-${head.slice(0, 7)}`;
  const name = /^[0-9a-f]{40}$/.test(head) ? plain : `${plain}-${content}`;
  writeFileSync(join(folder, "RELEASE"), `${name}\n`);
  chmodSync(join(folder, "RELEASE"), 0o644);
  writeFileSync(join(folder, "SHA256SUMS"), sumsOf(folder, filesOf(folder)));
  chmodSync(join(folder, "SHA256SUMS"), 0o644);
  return name;
}

function archive(work: string, name: string, out: string, time: string): string {
  const file = `${name}.tar.gz`;
  const tar = join(work, `${name}.tar`);
  const fixed = ["--sort=name", "--format=gnu", "--owner=root:0", "--group=root:0", "--numeric-owner"];
  execFileSync("tar", [...fixed, `--mtime=@${time}`, "-C", work, "-cf", tar, name]);
  execFileSync("gzip", ["--no-name", "-6", tar]);
  publish(`${tar}.gz`, join(out, file));
  return file;
}

/** Into place in one step, whatever folder it was made in. */
function publish(from: string, to: string): void {
  cpSync(from, `${to}.${process.pid}.tmp`);
  renameSync(`${to}.${process.pid}.tmp`, to);
}

/** What `npm install -g FILE` takes, and `npm install FILE` for programs: the client's bundles and no dependencies. */
function clientPackage(work: string, built: string, options: Options): string {
  const folder = join(work, "client");
  mkdirSync(join(folder, "dist"), { recursive: true });
  for (const name of readdirSync(built).filter((entry) => clientFiles.test(entry))) {
    cpSync(join(built, name), join(folder, "dist", name));
  }
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<string, unknown>;
  const { name, description, license, type, engines, bin, exports, types } = manifest;
  const own = {
    name,
    version: options.version,
    description,
    license,
    type,
    private: true,
    engines,
    bin,
    exports,
    types,
  };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(own, null, 2)}\n`);
  for (const file of ["README.md", "LICENSE"]) {
    cpSync(join(root, file), join(folder, file));
  }
  cpSync(join(built, "THIRD-PARTY-LICENSES"), join(folder, "THIRD-PARTY-LICENSES"));
  const argv = ["pack", "--ignore-scripts", "--silent", "--pack-destination", work];
  const file = execFileSync("npm", argv, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  publish(join(work, file), join(options.out, file));
  return file;
}

function main(): void {
  const options = parse();
  const work = mkdtempSync(join(tmpdir(), "sky-package-"));
  process.umask(0o022);
  try {
    const built = join(work, "built");
    const build = ["--import", "tsx", join(root, "scripts/build.ts"), "--out", built, "--version", options.version];
    execFileSync(process.execPath, build, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
    const said = execFileSync(process.execPath, [join(built, "coordinator.mjs"), "--version"], { encoding: "utf8" });
    const head = /\((\S+)\)/.exec(said)?.[1] ?? "unknown";
    const time = timeOfCommit();
    mkdirSync(options.out, { recursive: true });
    const made = [clientPackage(work, built, options)];
    for (const architecture of options.architectures) {
      const name = `sky-onprem-${options.version}-linux-${architecture}`;
      const folder = join(work, name);
      layOut(built, folder);
      addNative(folder, architecture);
      setModes(folder);
      const release = nameRelease(folder, options, head);
      made.push(archive(work, name, options.out, time));
      process.stdout.write(`${join(options.out, `${name}.tar.gz`)}  (release ${release})\n`);
    }
    process.stdout.write(`${join(options.out, made[0] ?? "")}\n`);
    writeFileSync(join(options.out, "SHA256SUMS"), sumsOf(options.out, made.sort()));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  main();
} catch (error) {
  process.stderr.write(`package: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
