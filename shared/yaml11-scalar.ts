/**
 * What an unquoted YAML word means under YAML 1.1 as PyYAML's safe loader reads it, and how Python would print it. The
 * yaml package's own 1.1 schema differs (`y`, `1e3`, dates), so the rules stand here, one regular expression a type.
 * Pure. Called by shared/yaml11.ts for every scalar; the text decides the values of a job's environment.
 */

/** A date or time. PyYAML makes date objects; only their text is ever used. */
class YamlDate {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** `text` is `str(value)` in Python: `True`, `8`, `1.1`, `None`, `2024-01-01`. */
export interface YamlScalarValue {
  value: null | boolean | number | bigint | string | YamlDate;
  text: string;
}

const nullPattern = /^(?:~|null|Null|NULL|)$/;
const truePattern = /^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$/;
const falsePattern = /^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$/;
const intPattern =
  /^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$/;
const floatPattern =
  /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/;
const datePattern = /^(\d{4})-(\d\d)-(\d\d)$/;
const dateTimePattern =
  /^(\d{4})-(\d\d?)-(\d\d?)(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d*))?(?:[ \t]*(?:(Z)|([-+])(\d\d?)(?::(\d\d))?))?$/;

/** Integers of more digits are refused: Python refuses to print them too (its limit is 4300), and they cost time. */
const digitsMax = 4300;

/** Resolves an unquoted scalar. Throws an Error with a short text for what looks like a number or date but is none. */
export function resolvePlain(source: string): YamlScalarValue {
  if (nullPattern.test(source)) {
    return { value: null, text: "None" };
  }
  if (truePattern.test(source)) {
    return { value: true, text: "True" };
  }
  if (falsePattern.test(source)) {
    return { value: false, text: "False" };
  }
  if (intPattern.test(source)) {
    return resolveInt(source);
  }
  if (floatPattern.test(source)) {
    return resolveFloat(source);
  }
  return resolveDate(source) ?? { value: source, text: source };
}

/** Resolves a scalar that carries one of YAML's own tags, such as `!!str 8`. Null: the tag is not known here. */
export function resolveTagged(tag: string, source: string): YamlScalarValue | null {
  switch (tag) {
    case "tag:yaml.org,2002:str":
    case "!":
      return { value: source, text: source };
    case "tag:yaml.org,2002:null":
      return { value: null, text: "None" };
    case "tag:yaml.org,2002:bool":
      return requireType(source, (value) => typeof value === "boolean", "a truth value");
    case "tag:yaml.org,2002:int":
      return requireType(source, (value, text) => isNumber(value) && /^-?\d+$/.test(text), "a whole number");
    case "tag:yaml.org,2002:float": {
      const resolved = requireType(source, isNumber, "a number");
      return /^-?\d+$/.test(resolved.text) ? floatValue(Number(resolved.value)) : resolved;
    }
    case "tag:yaml.org,2002:timestamp":
      return requireType(source, (value) => value instanceof YamlDate, "a date");
    default:
      return null;
  }
}

function isNumber(value: YamlScalarValue["value"]): boolean {
  return typeof value === "number" || typeof value === "bigint";
}

function requireType(
  source: string,
  accepts: (value: YamlScalarValue["value"], text: string) => boolean,
  what: string,
): YamlScalarValue {
  const resolved = resolvePlain(source);
  if (!accepts(resolved.value, resolved.text)) {
    throw new Error(`'${source.slice(0, 60)}' is not ${what}`);
  }
  return resolved;
}

function resolveInt(source: string): YamlScalarValue {
  if (source.length > digitsMax) {
    throw new Error(`a number has more than ${digitsMax} digits; put it in quotes`);
  }
  const negative = source.startsWith("-");
  const digits = source.replaceAll("_", "").replace(/^[-+]/, "");
  let magnitude: bigint;
  if (digits.startsWith("0b") || digits.startsWith("0x")) {
    if (digits.length === 2) {
      throw new Error(`'${source}' is not a number; put it in quotes`);
    }
    magnitude = BigInt(digits);
  } else if (digits.includes(":")) {
    magnitude = digits.split(":").reduce((sum, part) => sum * 60n + BigInt(part), 0n);
  } else if (digits.startsWith("0") && digits !== "0") {
    magnitude = BigInt(`0o${digits}`);
  } else {
    magnitude = BigInt(digits);
  }
  const exact = negative ? -magnitude : magnitude;
  const value = Number(exact);
  return { value: Number.isSafeInteger(value) ? value : exact, text: exact.toString() };
}

function resolveFloat(source: string): YamlScalarValue {
  const sign = source.startsWith("-") ? -1 : 1;
  const rest = source.replaceAll("_", "").toLowerCase().replace(/^[-+]/, "");
  if (rest === ".inf") {
    return floatValue(sign * Number.POSITIVE_INFINITY);
  }
  if (rest === ".nan") {
    return floatValue(Number.NaN);
  }
  const magnitude = rest.includes(":")
    ? rest.split(":").reduce((sum, part) => sum * 60 + Number(part), 0)
    : Number(rest);
  return floatValue(sign * magnitude);
}

function floatValue(value: number): YamlScalarValue {
  return { value, text: pythonFloat(value) };
}

/** `repr(float)` in Python: the shortest digits, an exponent below 1e-4 and from 1e16, and always a point or exponent. */
function pythonFloat(value: number): string {
  if (Number.isNaN(value)) {
    return "nan";
  }
  if (!Number.isFinite(value)) {
    return value < 0 ? "-inf" : "inf";
  }
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const [mantissa, exponentText] = Math.abs(value).toExponential().split("e") as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    return `${sign}${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const digits = mantissa.replace(".", "");
  if (exponent < 0) {
    return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  }
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

function resolveDate(source: string): YamlScalarValue | null {
  const day = datePattern.exec(source);
  if (day !== null) {
    checkDay(source, Number(day[1]), Number(day[2]), Number(day[3]));
    return { value: new YamlDate(source), text: source };
  }
  const time = dateTimePattern.exec(source);
  if (time === null) {
    return null;
  }
  const [, year, month, dayOfMonth, hour, minute, second, fraction, zulu, zoneSign, zoneHour, zoneMinute] = time;
  checkDay(source, Number(year), Number(month), Number(dayOfMonth));
  if (
    Number(hour) > 23 ||
    Number(minute) > 59 ||
    Number(second) > 59 ||
    Number(zoneHour ?? 0) > 23 ||
    Number(zoneMinute ?? 0) > 59
  ) {
    throw new Error(`'${source}' looks like a time but is none; put it in quotes`);
  }
  const micros = (fraction ?? "").slice(0, 6).padEnd(6, "0");
  const offsetZero = Number(zoneHour ?? 0) === 0 && Number(zoneMinute ?? 0) === 0;
  let zone = "";
  if (zulu !== undefined || (zoneSign !== undefined && offsetZero)) {
    zone = "+00:00";
  } else if (zoneSign !== undefined) {
    zone = `${zoneSign}${two(zoneHour)}:${two(zoneMinute)}`;
  }
  const text =
    `${year}-${two(month)}-${two(dayOfMonth)} ${two(hour)}:${minute}:${second}` +
    `${micros === "000000" ? "" : `.${micros}`}${zone}`;
  return { value: new YamlDate(text), text };
}

function two(digits: string | undefined): string {
  return (digits ?? "0").padStart(2, "0");
}

function checkDay(source: string, year: number, month: number, day: number): void {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0;
  if (year < 1 || day < 1 || day > days) {
    throw new Error(`'${source}' looks like a date but is none; put it in quotes`);
  }
}
