/**
 * A config as it counts: every key that the schema knows, in the schema's order, with its value, as YAML that can be read
 * again. Keys without a value are comments. Pure. Configs name the files of secrets and never hold one; a schema that
 * would must not be shown by this. Called by the mains of coordinator and agent for `--check`.
 */
import type { z } from "zod";

type Schema = z.core.$ZodType;

/** Looks through defaults and options. */
function plain(schema: Schema): Schema {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  return "innerType" in def ? plain(def.innerType) : schema;
}

/** `config` is what parsing with `schema` gave, defaults filled in. Ends with a line break. */
export function effectiveConfig<T>(config: T, schema: z.ZodType<T>): string {
  return `${linesOf(config, schema).join("\n")}\n`;
}

function linesOf(value: unknown, schema: Schema): string[] {
  const { def } = (plain(schema) as z.core.$ZodTypes)._zod;
  if (def.type !== "object" || typeof value !== "object" || value === null) {
    return [JSON.stringify(value)];
  }
  const keys = Object.entries(def.shape);
  return keys.flatMap(([key, inner]) => keyLines(key, (value as Record<string, unknown>)[key], inner));
}

function keyLines(key: string, value: unknown, schema: Schema): string[] {
  if (value === undefined) {
    return [`# ${key}: not set`];
  }
  const { def } = (plain(schema) as z.core.$ZodTypes)._zod;
  if (def.type === "object") {
    return [`${key}:`, ...linesOf(value, schema).map((line) => `  ${line}`)];
  }
  if (def.type === "array" && Array.isArray(value) && value.some((item) => typeof item === "object")) {
    const items = value.flatMap((item: unknown) =>
      linesOf(item, def.element).map((line, index) => `  ${index === 0 ? "-" : " "} ${line}`),
    );
    return [`${key}:`, ...items];
  }
  return [`${key}: ${JSON.stringify(value)}`];
}
