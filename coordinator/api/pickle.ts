/**
 * Writes Python pickles (protocol 2) of plain values, because SkyPilot's client expects its errors that way. It must
 * never read a pickle: reading one runs code. Only strings, numbers, booleans, null, lists, tuples and maps exist here.
 * Called by requests.ts for the `error` and the constant fields of a request payload.
 */

/** What can be pickled. */
export type PickleValue =
  | string
  | number
  | boolean
  | null
  | PickleValue[]
  | PickleTuple
  | { [key: string]: PickleValue };

/** A Python tuple; a class so that no map with a key of the same name can be mistaken for one. */
export class PickleTuple {
  readonly items: PickleValue[];
  constructor(items: PickleValue[]) {
    this.items = items;
  }
}

/** Base64 of the pickle of None as SkyPilot's own server writes it (protocol 4). */
export const pickledNone = "gAROLg==";

/** Deepest nesting that is written; deeper values are a programming error. */
const depthMax = 50;

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.write("J", 0, "latin1");
  bytes.writeInt32LE(value, 1);
  return bytes;
}

function float64(value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.write("G", 0, "latin1");
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

function text(value: string): Buffer {
  const content = Buffer.from(value, "utf8");
  const head = Buffer.alloc(5);
  head.write("X", 0, "latin1");
  head.writeUInt32LE(content.length, 1);
  return Buffer.concat([head, content]);
}

function isInt32(value: number): boolean {
  return Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31 && !Object.is(value, -0);
}

function append(parts: Buffer[], value: PickleValue, depth: number): void {
  if (depth > depthMax) {
    throw new Error(`a value nested deeper than ${depthMax} levels cannot be pickled`);
  }
  if (value === null) {
    parts.push(Buffer.from("N"));
  } else if (typeof value === "boolean") {
    parts.push(Buffer.from([value ? 0x88 : 0x89]));
  } else if (typeof value === "string") {
    parts.push(text(value));
  } else if (typeof value === "number") {
    parts.push(isInt32(value) ? int32(value) : float64(value));
  } else if (value instanceof PickleTuple) {
    parts.push(Buffer.from("("));
    for (const item of value.items) {
      append(parts, item, depth + 1);
    }
    parts.push(Buffer.from("t"));
  } else if (Array.isArray(value)) {
    parts.push(Buffer.from("]("));
    for (const item of value) {
      append(parts, item, depth + 1);
    }
    parts.push(Buffer.from("e"));
  } else {
    parts.push(Buffer.from("}("));
    for (const [key, item] of Object.entries(value)) {
      parts.push(text(key));
      append(parts, item, depth + 1);
    }
    parts.push(Buffer.from("u"));
  }
}

/** The pickle's bytes. Whole numbers outside 32 bits become floats. */
export function pickle(value: PickleValue): Buffer {
  const parts: Buffer[] = [Buffer.from([0x80, 0x02])];
  append(parts, value, 0);
  parts.push(Buffer.from("."));
  return Buffer.concat(parts);
}

/** The plain dict that SkyPilot's client turns into an exception of this type, as base64. */
export function pickledError(type: string, message: string): string {
  const error: PickleValue = { type, message, args: new PickleTuple([message]), attributes: {}, stacktrace: null };
  return pickle(error).toString("base64");
}
