/**
 * SkyPilot's config as admin policies read and change it. A plain mapping with functions for nested keys; it must never
 * open a file or check a key. Used by policies, through the package's entry.
 */
import { nestedValue, popNestedValue, treeOfPath, updateRecursively } from "../../../shared/admin-policy/nested.ts";
import { raisingNow } from "./raise.ts";

/** What `getNested` may lay over the config before it looks. */
export interface NestedOptions {
  /** As the config, with only the keys that are to be overridden. Default: none. */
  overrideConfigs?: Readonly<Record<string, unknown>> | null;
  /** Paths that may be overridden, with all below them. Default: any. */
  allowedOverrideKeys?: readonly (readonly string[])[] | null;
  /** Paths that may not be overridden, with all below them. Default: none. */
  disallowedOverrideKeys?: readonly (readonly string[])[] | null;
}

/**
 * SkyPilot's config, for one request: an object whose fields are the config's sections.
 *
 * @example
 * const labels = config.getNested(["kubernetes", "custom_metadata", "labels"], {});
 * config.setNested(["kubernetes", "custom_metadata", "labels"], { ...labels, app: "skypilot" });
 */
export class Config {
  [section: string]: unknown;

  /** A config with a copy of these values; null: an empty one. */
  static fromDict(config: Readonly<Record<string, unknown>> | null | undefined): Config {
    const made = new Config();
    for (const [key, value] of Object.entries(structuredClone(config ?? {}))) {
      Object.defineProperty(made, key, { value, enumerable: true, configurable: true, writable: true });
    }
    return made;
  }

  /**
   * The value at a path.
   *
   * @param keys the path, from the outermost key
   * @param defaultValue what is given where a key is missing or a value on the way is no mapping
   * @returns a copy: changing it does not change the config
   * @throws ValueError for an override that is not allowed
   */
  getNested<Value = unknown>(keys: readonly string[], defaultValue: Value, options: NestedOptions = {}): Value {
    const copy: Record<string, unknown> = structuredClone(Object.fromEntries(Object.entries(this)));
    const { overrideConfigs, allowedOverrideKeys, disallowedOverrideKeys } = options;
    if (overrideConfigs !== undefined && overrideConfigs !== null) {
      const limits = { allowed: allowedOverrideKeys ?? null, disallowed: disallowedOverrideKeys ?? null };
      raisingNow(() => updateRecursively(copy, structuredClone({ ...overrideConfigs }), limits));
    }
    return nestedValue(copy, keys, defaultValue) as Value;
  }

  /** Sets the value at a path, making the mappings on the way; a mapping is merged into the one that is there. */
  setNested(keys: readonly string[], value: unknown): void {
    raisingNow(() => updateRecursively(this, treeOfPath(keys, structuredClone(value))));
  }

  /** Takes the value at a path out of the config, and gives it; `defaultValue` where there is none. */
  popNested<Value = unknown>(keys: readonly string[], defaultValue: Value): Value {
    return popNestedValue(this, keys, defaultValue) as Value;
  }
}
