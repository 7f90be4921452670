/**
 * Words for whatever was thrown, by code that may throw anything: null, a number, an object without end, one whose text
 * throws again. It must never throw itself. Used by the worker that policies run in.
 */

const typeMax = 100;
const textMax = 8_000;

function safely(read: () => unknown): string | null {
  try {
    const value = read();
    return typeof value === "string" ? value : null;
  } catch {
    return null;
  }
}

function shortened(text: string | null, lengthMax: number): string | null {
  return text === null || text === "" ? null : text.slice(0, lengthMax);
}

/** The name of its class and its text. */
export function described(thrown: unknown): { type: string; text: string } {
  if ((typeof thrown !== "object" && typeof thrown !== "function") || thrown === null) {
    const text = safely(() => String(thrown));
    return { type: thrown === null ? "null" : typeof thrown, text: shortened(text, textMax) ?? "no text" };
  }
  const type = safely(() => (thrown as { name?: unknown }).name) ?? safely(() => thrown.constructor.name) ?? "object";
  const text =
    shortened(
      safely(() => (thrown as { message?: unknown }).message),
      textMax,
    ) ??
    shortened(
      safely(() => JSON.stringify(thrown)),
      textMax,
    ) ??
    "no text";
  return { type: shortened(type, typeMax) ?? "object", text };
}
