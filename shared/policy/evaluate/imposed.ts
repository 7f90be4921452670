/**
 * Items that policies impose by their asset's id. Pure. An asset that is gone refuses every workload until an admin has
 * put it back or changed the policy: nobody may run without what was imposed. Used by evaluate.ts and
 * together.ts.
 */
import { fieldAt } from "../fields/fields.ts";
import { sameItem } from "../fields/items.ts";
import { type Combined, labelOf } from "../together/merge.ts";
import { texts } from "./messages.ts";
import type { ImposedItem } from "./pass.ts";
import type { Asset, Violation } from "../words.ts";

/** Attributes that name somebody's credentials. */
const references = [
  "secretName",
  "passwordSecret",
  "accessKeySecret",
  "secretKeyOfAccessKeyId",
  "secretKeyOfSecretKey",
];

/** Whether an asset names credentials, or is said to. Nobody may be given another's by a policy. */
export function refersToCredentials({ credentials, spec }: Asset): boolean {
  return credentials || references.some((name) => (spec[name] ?? null) !== null);
}

/** By field. Two assets of one key: the wider scope's counts. */
export function imposedItems(
  { imposed }: Combined,
  assets: ReadonlyMap<string, Asset>,
): { items: Map<string, ImposedItem[]>; missing: Violation[] } {
  const items = new Map<string, ImposedItem[]>();
  const missing: Violation[] = [];
  for (const { id, part } of imposed) {
    const asset = assets.get(id);
    const spec = asset === undefined ? null : fieldAt(asset.field);
    if (asset === undefined || spec === null || refersToCredentials(asset)) {
      const message = texts.assetGone(id, part.source.policy);
      missing.push({
        field: "imposedAssets",
        rule: "constraint",
        message,
        source: part.source,
        value: null,
        limit: id,
      });
      continue;
    }
    const own = items.get(asset.field) ?? [];
    items.set(asset.field, own);
    if (!own.some(({ item }) => sameItem(spec, item, asset.spec))) {
      const origin = { kind: "imposed", source: part.source, asset: id } as const;
      own.push({ label: labelOf(spec, asset.spec, own.length), item: asset.spec, origin, origins: new Map(), part });
    }
  }
  return { items, missing };
}
