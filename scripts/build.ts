/**
 * Makes dist/: one bundle a program, the package for programs with its types, the `sky` executable, the native modules and the licences of what is inside, so
 * that dist/ can be copied anywhere and needs nothing of the checkout. It builds into a folder beside dist/ and swaps
 * the two, so that a failed build leaves the last good one. It must never fetch anything. Called through scripts/build
 * (`--out DIR` and `--version V` for another place and version, `--newest-protocol 1` for programs that speak to each
 * other as those of the version before, for tests of upgrades) and by scripts/package.ts.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type BuildOptions, build } from "esbuild";
import { licencesOf } from "./release/licences.ts";
import { sdkPrograms } from "./release/sdk-programs.ts";
import { readSdkTypes, sdkTypesText } from "./release/sdk-types.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: { out: { type: "string" }, version: { type: "string" }, "newest-protocol": { type: "string" } },
});
const dist = resolve(values.out ?? join(root, "dist"));
const staging = `${dist}.${process.pid}.tmp`;

/** CommonJS libraries inside an ESM bundle expect these three; names are private so that they cannot meet an import. */
const banner = [
  'import { createRequire as __skyCreateRequire } from "node:module";',
  'import { fileURLToPath as __skyFileURLToPath } from "node:url";',
  "const require = __skyCreateRequire(import.meta.url);",
  "const __filename = __skyFileURLToPath(import.meta.url);",
  'const __dirname = __skyFileURLToPath(new URL(".", import.meta.url));',
].join("\n");

const launcher = `#!/usr/bin/env node
// The sky command. Node resolves symbolic links of this file first, so the import below finds the real dist folder.
import("./client.mjs").catch((error) => {
  process.stderr.write("sky: cannot load " + __dirname + "/client.mjs: " + error.message + "\\n");
  process.exitCode = 1;
});
`;

function git(...args: string[]): string | null {
  try {
    return execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return null;
  }
}

function commitText(): string {
  const head = git("rev-parse", "HEAD");
  if (head === null) {
    return "unknown";
  }
  const changes = git("status", "--porcelain", "--untracked-files=no");
  return changes === "" ? head : `${head}-dirty`;
}

function optionsFor(version: string, commit: string): BuildOptions {
  return {
    absWorkingDir: root,
    outdir: staging,
    bundle: true,
    metafile: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    outExtension: { ".js": ".mjs" },
    sourcemap: true,
    sourcesContent: false,
    legalComments: "none",
    logLevel: "warning",
    banner: { js: banner },
    define: {
      __SKY_VERSION__: JSON.stringify(version),
      __SKY_COMMIT__: JSON.stringify(commit),
      __SKY_NEWEST_PROTOCOL__: values["newest-protocol"] === "1" ? "1" : "undefined",
    },
    // koffi finds its binary by its own folder; cpu-features is ssh2's optional extra, which it does without.
    external: ["koffi", "cpu-features", "pino-pretty", "msgpackr-extract", "bun:*"],
    // ssh2's compiled crypto is copied beside the bundle; where it could not be compiled ssh2 uses node:crypto alone.
    loader: { ".node": "copy" },
    assetNames: "[name]",
  };
}

/** koffi and the binaries for Linux that npm installed (one platform, normally), laid out as its loader expects. */
function copyKoffi(): void {
  const modules = join(staging, "node_modules");
  const from = join(root, "node_modules");
  for (const path of ["package.json", "LICENSE.txt", "index.js", "index.cjs"]) {
    cpSync(join(from, "koffi", path), join(modules, "koffi", path));
  }
  cpSync(join(from, "koffi/src/koffi"), join(modules, "koffi/src/koffi"), {
    recursive: true,
    filter: (path) => !/\.(cc|hh|inc|S|asm|def|txt)$/.test(path) && basename(path) !== "abi",
  });
  const binaries = readdirSync(join(from, "@koromix")).filter((name) => name.startsWith("koffi-linux-"));
  if (binaries.length === 0) {
    throw new Error("node_modules/@koromix has no koffi-linux-* package for this machine: run npm ci again");
  }
  for (const name of binaries) {
    cpSync(join(from, "@koromix", name), join(modules, "@koromix", name), { recursive: true });
  }
}

async function main(): Promise<void> {
  const manifest: unknown = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const version = values.version ?? String((manifest as { version: unknown }).version);
  const options = optionsFor(version, commitText());
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  try {
    const doctor = existsSync(join(root, "doctor/main.ts")) ? [{ doctor: "doctor/main.ts" }] : [];
    const built = await Promise.all([
      ...doctor.map((entryPoints) => build({ ...options, entryPoints })),
      build({ ...options, entryPoints: { coordinator: "coordinator/main.ts" } }),
      build({ ...options, entryPoints: { agent: "agent/main.ts" } }),
      build({ ...options, entryPoints: { hardware: "agent/hardware.ts" } }),
      build({ ...options, entryPoints: { skylet: "agent/skylet/main.ts" } }),
      // Split, so that a command loads only what it uses: most of them need no YAML and no SSH.
      build({ ...options, entryPoints: { client: "client/main.ts" }, splitting: true, chunkNames: "chunk-[hash]" }),
      build(sdkPrograms(options)),
    ]);
    // `.d.mts` as the module is `.mjs`: the package.json beside them speaks of other files.
    writeFileSync(join(staging, "sdk.d.mts"), sdkTypesText(readSdkTypes(root)));
    copyKoffi();
    cpSync(join(root, "agent/start-skylet.sh"), join(staging, "start-skylet.sh"));
    cpSync(join(root, "LICENSE"), join(staging, "LICENSE"));
    const inputs = built.flatMap((result) => Object.keys(result.metafile?.inputs ?? {}));
    writeFileSync(join(staging, "THIRD-PARTY-LICENSES"), licencesOf(root, inputs, ["koffi"]));
    // `sky` has no ending, so the nearest package.json says how Node reads it.
    writeFileSync(join(staging, "package.json"), `${JSON.stringify({ private: true, type: "commonjs" })}\n`);
    writeFileSync(join(staging, "sky"), launcher);
    execFileSync("chmod", ["-R", "a+rX,u+w,go-w", staging]);
    chmodSync(join(staging, "sky"), 0o755);
    chmodSync(join(staging, "start-skylet.sh"), 0o755);
    swap();
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function swap(): void {
  const old = `${dist}.${process.pid}.old`;
  if (existsSync(dist)) {
    renameSync(dist, old);
  }
  renameSync(staging, dist);
  rmSync(old, { recursive: true, force: true });
}

try {
  await main();
} catch (error) {
  process.stderr.write(`build failed: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
