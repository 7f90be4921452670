/**
 * NVIDIA's devices as nvidia-smi describes them: cards, MIG instances, what is wrong with each. Pure and total: it is
 * given what the tool printed, odd output included (a card that has fallen off the bus, fields in error). A card that is
 * divided by MIG is no device itself: its instances are. Called by detect-nvidia.ts.
 */
import { canonicalKind, migKind } from "../../shared/accelerators.ts";
import {
  type DeviceUse,
  devicesMax,
  type FoundDevice,
  kindOfName,
  linesOf,
  pciAddress,
  plainText,
  wholeNumber,
} from "./found.ts";

const baseFields = ["index", "uuid", "pci.bus_id", "name", "memory.total", "driver_version"];
const healthFields = [
  "mig.mode.current",
  "ecc.errors.uncorrected.volatile.total",
  "remapped_rows.pending",
  "remapped_rows.failure",
];
/** What is asked for, best first: an older driver refuses the whole question when it does not know one field. */
export const nvidiaQueries: readonly (readonly string[])[] = [
  [...baseFields, ...healthFields, "gpu_recovery_action"],
  [...baseFields, ...healthFields],
  [...baseFields, "ecc.errors.uncorrected.volatile.total"],
  baseFields,
];
export const nvidiaUseFields: readonly string[] = ["uuid", "pci.bus_id", "utilization.gpu", "memory.used"];

export function queryArguments(fields: readonly string[], pci: string | null = null): string[] {
  const one = pci === null ? [] : ["-i", pci];
  return [...one, `--query-gpu=${fields.join(",")}`, "--format=csv,noheader,nounits"];
}

export interface NvidiaCard {
  id: string;
  index: number | null;
  uuid: string | null;
  pci: string | null;
  name: string | null;
  memoryMb: number | null;
  migOn: boolean;
  fault: string | null;
}

export interface NvidiaAnswer {
  cards: NvidiaCard[];
  lost: { pci: string; fault: string }[];
  driver: string | null;
  /** The driver is too old for the question. */
  unknownField: boolean;
}

const inError = /unknown error|gpu is lost|requires? reset|\berr!?(?=\W|$)|gpu access blocked|invalid state/i;
const lostLine =
  /device handle for gpu\s?(?:\d{1,3}\s*:\s*)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s*:?\s*(.{0,200})/i;
const uuidForm = /^(GPU|MIG)-[0-9A-Za-z/-]{4,90}$/;

function valueOf(cells: Map<string, string>, field: string): string | null {
  const cell = cells.get(field) ?? "";
  return cell === "" || inError.test(cell) || /^\[?(n\/a|not supported|unknown)\]?$/i.test(cell) ? null : cell;
}

/** Why the card must not be used; null: nothing says so. */
function faultOf(cells: Map<string, string>): string | null {
  for (const [field, cell] of cells) {
    if (inError.test(cell)) {
      return `nvidia-smi reports ${plainText(cell, 60)} for ${field}`;
    }
  }
  const errors = wholeNumber(valueOf(cells, "ecc.errors.uncorrected.volatile.total") ?? "") ?? 0;
  if (errors > 0) {
    return `${errors} uncorrected ECC ${errors === 1 ? "error" : "errors"} since its driver was loaded`;
  }
  if (/^(yes|[1-9]\d*)$/i.test(valueOf(cells, "remapped_rows.failure") ?? "")) {
    return "broken rows of its memory could not be remapped: it must be replaced";
  }
  if (/^(yes|[1-9]\d*)$/i.test(valueOf(cells, "remapped_rows.pending") ?? "")) {
    return "broken rows of its memory are remapped at its next reset";
  }
  const action = valueOf(cells, "gpu_recovery_action");
  return action === null || /^none$/i.test(action) ? null : `its driver asks for: ${plainText(action, 60)}`;
}

function cardOf(cells: Map<string, string>): NvidiaCard | null {
  const index = wholeNumber(valueOf(cells, "index") ?? "", 1023);
  const given = valueOf(cells, "uuid");
  const uuid = given !== null && uuidForm.test(given) ? given : null;
  const pci = pciAddress(valueOf(cells, "pci.bus_id") ?? "");
  const id = uuid ?? pci;
  if (id === null) {
    return null;
  }
  const name = valueOf(cells, "name");
  return {
    id,
    index,
    uuid,
    pci,
    name: name === null ? null : plainText(name),
    memoryMb: wholeNumber(valueOf(cells, "memory.total") ?? "", 1e9),
    migOn: /^enabled$/i.test(valueOf(cells, "mig.mode.current") ?? ""),
    fault: faultOf(cells),
  };
}

function cellsOf(line: string, fields: readonly string[]): Map<string, string> | null {
  const cells = line
    .slice(0, 4_000)
    .split(",")
    .map((cell) => cell.trim());
  return cells.length === fields.length ? new Map(fields.map((field, at) => [field, cells[at] ?? ""])) : null;
}

/** Cards in the answer to `queryArguments(fields)`, each once. Lines that are no cards are left out. */
export function parseNvidiaCards(output: string, fields: readonly string[]): NvidiaAnswer {
  const answer: NvidiaAnswer = { cards: [], lost: [], driver: null, unknownField: false };
  const ids = new Set<string>();
  for (const line of linesOf(output)) {
    const lost = lostLine.exec(line);
    const pci = pciAddress(lost?.[1] ?? "");
    if (lost !== null && pci !== null && answer.lost.length < devicesMax) {
      answer.lost.push({ pci, fault: `fallen off the bus (nvidia-smi: ${plainText(lost[2] ?? "", 100)})` });
      continue;
    }
    answer.unknownField ||= /not a valid field to query/i.test(line);
    const cells = cellsOf(line, fields);
    const card = cells === null ? null : cardOf(cells);
    if (cells !== null && card !== null && !ids.has(card.id) && answer.cards.length < devicesMax) {
      ids.add(card.id);
      answer.cards.push(card);
      answer.driver ??= valueOf(cells, "driver_version")?.slice(0, 100) ?? null;
    }
  }
  return answer;
}

/** First match wins. The text is the raw name in upper case without the maker's words. */
const rules: [RegExp, string][] = [
  [/^(A100|A800)\b.*80\s*GB/, "$1-80GB"],
  [/^(A100X|A30X|A100|A800|GH200|GB200|GB300|GB10|H800|H20|B200|B300|P100|V100S)\b/, "$1"],
  [/^H100.*MEGA/, "H100-MEGA"],
  [/^(H100|H200)\b.*\bNVL\b/, "$1-NVL"],
  [/^(H100|H200)\b/, "$1"],
  [/^V100S/, "V100S"],
  [/^V100.*32\s*GB/, "V100-32GB"],
  [/^V100/, "V100"],
  [/^RTX PRO 6000 BLACKWELL.*WORKSTATION/, "RTXPRO6000-WK"],
  [/^RTX PRO (\d{4}) BLACKWELL/, "RTXPRO$1"],
  [/^RTX 4000 SFF ADA/, "RTX4000-Ada-SFF"],
  [/^RTX (\d{4}) ADA/, "RTX$1-Ada"],
  [/^RTX A(\d{4})/, "RTXA$1"],
  [/^QUADRO RTX (\d{4})/, "RTX$1"],
  [/^QUADRO (P\d{4})/, "$1"],
  [/^TITAN (RTX|V|XP|X)\b/, "TITAN-$1"],
];

/** The canonical name of a card, e.g. `A100-80GB` for `NVIDIA A100-SXM4-80GB`. At most 64 safe characters. */
export function canonicalNvidiaName(raw: string): string {
  const name = plainText(raw)
    .toUpperCase()
    .replace(/^(NVIDIA|TESLA|GEFORCE|GRAPHICS DEVICE|\s)+/, "")
    .trim();
  for (const [pattern, canonical] of rules) {
    const match = pattern.exec(name);
    if (match !== null) {
      return canonicalKind(canonical.replace("$1", match[1] ?? ""));
    }
  }
  const geforce = /^(RTX|GTX) (\d{3,4}) ?(TI)? ?(SUPER)? ?(D)?\b/.exec(name);
  if (geforce !== null) {
    const [, family = "", model = "", ti, superior, china] = geforce;
    return kindOfName(`${family}${model}${ti === undefined ? "" : "Ti"}${superior ?? ""}${china ?? ""}`);
  }
  const short = /^([ALTKPM]\d{1,3}[A-Z]?)(?=[ -]|$)/.exec(name);
  return kindOfName(short?.[1] ?? (name === "" ? "NVIDIA" : name));
}

export interface MigInstance {
  card: string;
  uuid: string;
  /** `1g.10gb` */
  profile: string;
  number: number;
}

/** MIG instances in the output of `nvidia-smi -L`, in its order. */
export function parseMigInstances(output: string): MigInstance[] {
  const instances: MigInstance[] = [];
  let card: string | null = null;
  for (const line of linesOf(output)) {
    const gpu = /^GPU \d{1,4}: .{0,200}\(UUID: (GPU-[0-9A-Za-z-]{4,90})\)/.exec(line);
    if (gpu !== null || /^GPU \d/.test(line)) {
      card = gpu?.[1] ?? null;
    }
    const mig = /^\s+MIG (\d[0-9a-z.+]{0,39})\s+Device\s+(\d{1,3}): \(UUID: (MIG-[0-9A-Za-z/-]{4,90})\)/.exec(line);
    const [, profile = "", number = "0", uuid = ""] = mig ?? [];
    if (mig !== null && card !== null && instances.length < devicesMax) {
      instances.push({ card, uuid, profile, number: Number(number) });
    }
  }
  return instances;
}

function nameOfProfile(profile: string): number | null {
  const size = /(\d{1,4})gb/.exec(profile)?.[1];
  return size === undefined ? null : Number(size) * 1024;
}

/** The devices that these cards and instances are. With any card divided, CUDA's own numbering is not relied on. */
export function nvidiaDevices(
  cards: readonly NvidiaCard[],
  instances: readonly MigInstance[],
): { devices: FoundDevice[]; divided: string[] } {
  const divided = cards.filter((card) => card.migOn).map((card) => card.id);
  const devices = cards.flatMap((card): FoundDevice[] => {
    const kind = card.name === null ? null : canonicalNvidiaName(card.name);
    const { pci, fault, memoryMb } = card;
    const common = { vendor: "NVIDIA", pci, fault, name: card.name ?? "" };
    if (!card.migOn) {
      const position = divided.length > 0 ? null : card.index;
      const otherwise = card.uuid ?? String(card.index ?? "");
      return [{ ...common, id: card.id, kind, memoryMb, uuid: card.uuid, position, otherwise, parent: null }];
    }
    return instances
      .filter((one) => one.card === card.uuid)
      .map(({ uuid, profile }) => ({
        ...common,
        id: uuid,
        kind: kind === null ? null : kindOfName(migKind(kind, profile)),
        name: plainText(`${card.name ?? ""} MIG ${profile}`),
        memoryMb: nameOfProfile(profile),
        uuid,
        position: null,
        otherwise: uuid,
        parent: card.id,
      }));
  });
  return { devices: devices.slice(0, devicesMax), divided };
}

/** Answer to `queryArguments(nvidiaUseFields)`. */
export function parseNvidiaUse(output: string): DeviceUse[] {
  return linesOf(output).flatMap((line) => {
    const cells = cellsOf(line, nvidiaUseFields);
    const card = cells === null ? null : cardOf(cells);
    if (cells === null || card === null) {
      return [];
    }
    const memoryUsedMb = wholeNumber(valueOf(cells, "memory.used") ?? "", 1e9);
    const utilization = wholeNumber(valueOf(cells, "utilization.gpu") ?? "", 100);
    return [{ ids: [card.uuid, card.pci].filter((id) => id !== null), utilization, memoryUsedMb }];
  });
}
