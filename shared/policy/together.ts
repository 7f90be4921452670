/**
 * Whether the policies that bind one workload may stand together: what is found wrong when one is saved. Pure. It must
 * never let through a set that no workload could satisfy. Called by policy/combine.ts for every place of the tree.
 */
import type { CompiledPolicy } from "./compiled.ts";
import type { Asset } from "./words.ts";

/** One line for each asset that cannot be imposed. */
export function assetFaults(all: readonly CompiledPolicy[], assets: ReadonlyMap<string, Asset>): string[] {
  return all.flatMap(({ imposed }) =>
    imposed.flatMap((id) => {
      const asset = assets.get(id);
      if (asset === undefined) {
        return [`imposedAssets: "${id}" does not exist`];
      }
      return asset.credentials ? [`imposedAssets: "${id}" refers to credentials and cannot be imposed`] : [];
    }),
  );
}
