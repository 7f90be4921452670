/**
 * The licence texts of every package whose code is in the bundles, as one text, sorted by name, so that a release says
 * what it is made of. A package without a licence file is named with what its package.json declares; one that declares
 * nothing stops the build. Called by scripts/build.ts.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";

const manifestSchema = z.looseObject({
  name: z.string(),
  version: z.string(),
  license: z.string().min(1).optional(),
  /** The form of old packages. */
  licenses: z.array(z.looseObject({ type: z.string().min(1) })).optional(),
});
const licenceFile = /^(licen[cs]e|copying|notice)([.-].*)?$/i;
const packageFolder = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/;

/** `inputs`: paths of bundled files, relative to `root`; `extra`: packages that are copied whole. */
export function licencesOf(root: string, inputs: string[], extra: string[]): string {
  const folders = new Set(extra.map((name) => `node_modules/${name}`));
  for (const input of inputs) {
    const folder = packageFolder.exec(input)?.[0];
    if (folder !== undefined) {
      folders.add(folder);
    }
  }
  const parts = [...folders].map((folder) => licenceOf(join(root, folder)));
  // The same version may lie in two places.
  return [...new Set(parts)].sort().join(`\n${"=".repeat(80)}\n\n`);
}

function licenceOf(folder: string): string {
  const file = join(folder, "package.json");
  if (!existsSync(file)) {
    throw new Error(`${folder} has no package.json, so its licence is unknown`);
  }
  const parsed = manifestSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
  if (!parsed.success) {
    throw new Error(`${file} does not say name and version`);
  }
  const { name, version } = parsed.data;
  const license = parsed.data.license ?? parsed.data.licenses?.map(({ type }) => type).join(", ");
  if (license === undefined) {
    throw new Error(`${file} declares no licence`);
  }
  const texts = readdirSync(folder)
    .filter((entry) => licenceFile.test(entry))
    .sort()
    .map((entry) => readFileSync(join(folder, entry), "utf8").replaceAll("\r\n", "\n").trim());
  return [`${name} ${version}, ${license}`, ...texts].join("\n\n").concat("\n");
}
