/**
 * How the package for programs is bundled, together with the worker of admin policies: both must hold the same classes, or
 * a policy that extends one of them would be none. Used by scripts/build.ts, and by tests that run the worker.
 */
import type { BuildOptions } from "esbuild";

/** Classes keep their names, which errors show. */
export function sdkPrograms(options: BuildOptions): BuildOptions {
  return {
    ...options,
    entryPoints: {
      sdk: "client/sdk/public/sky.ts",
      "policy-worker": "client/policy/worker.ts",
      "policy-hooks": "client/policy/hooks.ts",
    },
    splitting: true,
    chunkNames: "sdk-chunk-[hash]",
    keepNames: true,
  };
}
