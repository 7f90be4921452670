/**
 * The parts of a release that are not in the checkout: Node.js and koffi's binary for an architecture, as npm packages
 * whose hashes are pinned in this tree (pins.json, package-lock.json). Each is fetched once into a cache folder outside
 * the checkout and checked each time it is used. It must never run anything of a package. Called by scripts/package.ts.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import * as z from "zod";

export const architectures = ["x64", "arm64"] as const;
export type Architecture = (typeof architectures)[number];

const pinSchema = z.strictObject({ package: z.string(), integrity: z.string().startsWith("sha512-") });
const pinsSchema = z.strictObject({
  node: z.string().regex(/^\d+\.\d+\.\d+$/),
  architectures: z.record(z.enum(architectures), pinSchema),
});
const lockSchema = z.looseObject({
  packages: z.record(z.string(), z.looseObject({ version: z.string().optional(), integrity: z.string().optional() })),
});

/** A package of the registry, of which only these bytes are accepted. */
interface Pinned {
  name: string;
  version: string;
  integrity: string;
}

/** Node.js for an architecture. */
export function pinnedNode(root: string, architecture: Architecture): Pinned {
  const pins = pinsSchema.parse(JSON.parse(readFileSync(join(root, "scripts/release/pins.json"), "utf8")));
  const { package: name, integrity } = pins.architectures[architecture];
  return { name, version: pins.node, integrity };
}

/** koffi's binaries for an architecture, in the version that package-lock.json names. */
export function pinnedKoffi(root: string, architecture: Architecture): Pinned {
  const lock = lockSchema.parse(JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")));
  const name = `@koromix/koffi-linux-${architecture}`;
  const { version, integrity } = lock.packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined) {
    throw new Error(`package-lock.json does not pin ${name}`);
  }
  return { name, version, integrity };
}

/** `XDG_CACHE_HOME/sky-onprem`, or `~/.cache/sky-onprem`. */
function cacheFolder(): string {
  const given = process.env["XDG_CACHE_HOME"] ?? "";
  return join(given.startsWith("/") ? given : join(homedir(), ".cache"), "sky-onprem");
}

function isIntact(file: string, integrity: string): boolean {
  return `sha512-${createHash("sha512").update(readFileSync(file)).digest("base64")}` === integrity;
}

/** The package's .tgz in the cache, fetched when it is not there or not intact. Throws when the registry gives other bytes. */
export function fetchPinned(pinned: Pinned): string {
  const cache = cacheFolder();
  const file = join(cache, `${pinned.name.replace("@", "").replace("/", "-")}-${pinned.version}.tgz`);
  if (existsSync(file) && isIntact(file, pinned.integrity)) {
    return file;
  }
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, ".fetch-"));
  try {
    const argv = [
      "pack",
      `${pinned.name}@${pinned.version}`,
      "--ignore-scripts",
      "--json",
      "--pack-destination",
      folder,
    ];
    // In a folder without a package.json: npm's settings for a project are of no concern here.
    const said = execFileSync("npm", argv, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    const fetched = z.array(z.looseObject({ filename: z.string() })).parse(JSON.parse(said))[0];
    const got = join(folder, (fetched?.filename ?? "").replace("@", "").replace("/", "-"));
    if (!isIntact(got, pinned.integrity)) {
      throw new Error(`${pinned.name}@${pinned.version} from the registry is not the package that is pinned here`);
    }
    renameSync(got, file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return file;
}

/** Unpacks the package's files below `members` (paths inside it) into `folder`, without their first folder. */
export function unpack(file: string, members: string[], folder: string): void {
  mkdirSync(folder, { recursive: true });
  const names = members.map((member) => `package/${member}`.replace(/\/$/, ""));
  execFileSync("tar", ["-xzf", file, "-C", folder, "--strip-components=1", "--no-same-owner", ...names]);
}
