/**
 * The worker of admin policies as it is bundled, and folders of packages for it, for tests that run policies in a real
 * process. It builds into a folder of its own and touches no dist/. Used by the tests of system/policy, coordinator/policy
 * and client/policy.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { checkout } from "../../scripts/cluster/layout.ts";
import { sdkPrograms } from "../../scripts/release/sdk-programs.ts";

/** CommonJS libraries inside an ESM bundle expect it. */
const banner =
  'import { createRequire as __made } from "node:module"; const require = __made(import.meta.url); const __filename = ""; const __dirname = "";';

export interface PolicyPrograms {
  /** policy-worker.mjs */
  worker: string;
  /** A new folder; removed with the rest. */
  folder(): string;
  /** A folder of packages with these files, by their paths in it. */
  packages(files: Record<string, string>): string;
  remove(): void;
}

/** Bundles the programs. */
export async function buildPolicyPrograms(): Promise<PolicyPrograms> {
  const root = mkdtempSync(join(tmpdir(), "sky-policies-"));
  // Whoever runs the policies here need not be the one who built them.
  chmodSync(root, 0o755);
  const out = join(root, "dist");
  await build(
    sdkPrograms({
      absWorkingDir: checkout,
      outdir: out,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20.19",
      outExtension: { ".js": ".mjs" },
      logLevel: "error",
      banner: { js: banner },
      define: { __SKY_VERSION__: '"0.0.0"', __SKY_COMMIT__: '"test"', __SKY_NEWEST_PROTOCOL__: "undefined" },
      external: ["koffi", "cpu-features", "msgpackr-extract"],
      loader: { ".node": "copy" },
    }),
  );
  const folder = (): string => mkdtempSync(join(root, "f-"));
  return {
    worker: join(out, "policy-worker.mjs"),
    folder,
    packages(files) {
      const path = folder();
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(join(path, dirname(name)), { recursive: true });
        writeFileSync(join(path, name), text);
      }
      return path;
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}
