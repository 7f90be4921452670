/**
 * The accelerators that are known by name: as SkyPilot's catalog spells them, with the device memory that they are sold
 * with and their maker. Pure tables; the agent's detection turns a tool's raw names into these, and what a user asks for
 * is brought to the same spelling, so that both meet. A kind that is not in here is still a kind: it keeps its own name.
 * It must never decide what a node has or what a job gets.
 */

/** Name and memory in GB of one device, by maker. Sources: SkyPilot's catalog and GPU names, makers' data sheets. */
const tables: Readonly<Record<string, string>> = {
  NVIDIA: `
    GB300:288 GB200:186 B300:288 B200:180 B100:192
    GH200:96 H200:141 H200-NVL:141 H100:80 H100-NVL:94 H100-MEGA:80 H800:80 H20:96
    A100:40 A100-80GB:80 A800:40 A800-80GB:80 A100X:80 A30:24 A30X:24 A40:48 A16:16 A10:24 A10G:24 A10M:20 A2:16
    L4:24 L20:48 L2:24 L40:48 L40S:48 L40G:24
    RTXPRO6000:96 RTXPRO6000-WK:96 RTXPRO5000:48 RTXPRO4500:32 RTXPRO4000:24
    RTX6000-Ada:48 RTX5880-Ada:48 RTX5000-Ada:32 RTX4500-Ada:24 RTX4000-Ada:20 RTX4000-Ada-SFF:20 RTX2000-Ada:16
    RTXA6000:48 RTXA5500:24 RTXA5000:24 RTXA4500:20 RTXA4000:16 RTXA2000:12
    RTX5090:32 RTX5090D:32 RTX5080:16 RTX5070Ti:16 RTX5070:12 RTX5060Ti:16 RTX5060:8 RTX5050:8
    RTX4090:24 RTX4090D:24 RTX4080SUPER:16 RTX4080:16 RTX4070TiSUPER:16 RTX4070Ti:12 RTX4070SUPER:12 RTX4070:12
    RTX4060Ti:8 RTX4060:8
    RTX3090Ti:24 RTX3090:24 RTX3080Ti:12 RTX3080:10 RTX3070Ti:8 RTX3070:8 RTX3060Ti:8 RTX3060:12 RTX3050:8
    RTX2080Ti:11 RTX2080SUPER:8 RTX2080:8 RTX2070SUPER:8 RTX2070:8 RTX2060SUPER:8 RTX2060:6
    GTX1660Ti:6 GTX1660SUPER:6 GTX1660:6 GTX1650:4 GTX1080Ti:11 GTX1080:8 GTX1070Ti:8 GTX1070:8 GTX1060:6
    RTX8000:48 RTX6000:24 RTX5000:16 RTX4000:8 RTX3000:6 TITAN-RTX:24 TITAN-V:12 TITAN-Xp:12 TITAN-X:12
    V100:16 V100-32GB:32 V100S:32 T4:16 T4g:16 P100:16 P40:24 P6:16 P4:8 P6000:24 P5000:16 P4000:8 P2000:5
    M60:8 M40:12 M10:8 M6000:12 M4000:8 K80:12 K520:4 GB10:128`,
  AMD: `
    MI355X:288 MI350X:288 MI325X:256 MI300X:192 MI308X:192 MI300A:128 MI250X:64 MI250:64 MI210:64 MI100:32 MI60:32
    MI50:16 MI25:16 Pro-V520:8 Pro-V620:32 Pro-V710:28
    W7900:48 W7800:32 W7700:16 W7600:8 W7500:8 W6800:32 W6600:8 R9700:32
    RX9070XT:16 RX9070:16 RX9060XT:16 RX7900XTX:24 RX7900XT:20 RX7900GRE:16 RX7800XT:16 RX7700XT:12 RX7600XT:16 RX7600:8
    RX6950XT:16 RX6900XT:16 RX6800XT:16 RX6800:16 RX6750XT:12 RX6700XT:12 RX6650XT:8 RX6600XT:8 RX6600:8`,
  Intel: `
    Gaudi:32 Gaudi2:96 Gaudi3:128 Max1550:128 Max1450:128 Max1100:48 Flex170:16 Flex140:6
    ArcA770:16 ArcA750:8 ArcA580:8 ArcA380:6 ArcB580:12 ArcB570:10 ArcProB50:16 ArcProB60:24 ArcProB70:32`,
  Google: "tpu-v2:16 tpu-v3:32 tpu-v4:32 tpu-v5litepod:16 tpu-v5p:95 tpu-v6e:32 tpu-v7x:192",
  AWS: "Inferentia:8 Inferentia2:32 Trainium:32 Trainium2:96",
};

/** Other names under which SkyPilot's catalog, older versions of it or people know the same devices. */
const aliases: Readonly<Record<string, string>> = {
  "H100-80GB": "H100",
  "H100-SXM": "H100",
  "H100-NVLINK": "H100",
  "H100-PCIe": "H100",
  "H200-SXM": "H200",
  "A100-40GB": "A100",
  "A100-SXM": "A100",
  "A100-80GB-SXM": "A100-80GB",
  "V100-16GB": "V100",
  "B200-SXM": "B200",
  A6000: "RTXA6000",
  A5000: "RTXA5000",
  A4500: "RTXA4500",
  A4000: "RTXA4000",
  RTX4080S: "RTX4080SUPER",
  RTX4070TiS: "RTX4070TiSUPER",
  RTX4070S: "RTX4070SUPER",
  RadeonMI25: "MI25",
  RadeonProV520: "Pro-V520",
  "Gaudi HL-205": "Gaudi",
  "tpu-v5e": "tpu-v5litepod",
};

interface Known {
  kind: string;
  memoryGb: number;
  vendor: string;
}

const known = new Map<string, Known>();
for (const [vendor, table] of Object.entries(tables)) {
  for (const entry of table.trim().split(/\s+/)) {
    const [kind = "", memory = ""] = entry.split(":");
    known.set(squeezed(kind), { kind, memoryGb: Number(memory), vendor });
  }
}
for (const [alias, kind] of Object.entries(aliases)) {
  const meant = known.get(squeezed(kind));
  if (meant !== undefined) {
    known.set(squeezed(alias), meant);
  }
}

/** All canonical names, in the order of the tables. */
export const knownKinds: readonly string[] = [...new Set([...known.values()].map((one) => one.kind))];

/** Sizes in GB in which devices are sold, ascending. */
const usualMemoryGb = [
  ...[1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 18, 20, 24, 28, 32, 36, 40, 48, 64, 72, 80, 94, 96, 120, 128, 141, 144, 180],
  ...[186, 192, 256, 288, 384, 512, 768, 1024],
];
/** A tool reports less than the device is sold with, up to so much of it (ECC, the driver's own). */
const reportedLeast = 0.85;
const reportedMost = 1.04;
const migPattern = /^(.+)-MIG-(\d+g\.(\d+)gb(?:[+.]me|\+gfx)?)$/i;

/** Spaces, dashes and case do not tell kinds apart: `rtx 3080-ti` is `RTX3080Ti`. */
function squeezed(name: string): string {
  return name.toLowerCase().replace(/[\s_-]+/g, "");
}

/**
 * The canonical spelling of a name that a user or an admin wrote. A name that is not known stays as it is, with dashes for
 * spaces. Both what a node has and what a job asks for must pass through here, so that they meet.
 */
export function canonicalKind(name: string): string {
  const trimmed = name.trim();
  const mig = migPattern.exec(trimmed);
  if (mig?.[1] !== undefined && mig[2] !== undefined) {
    return migKind(mig[1], mig[2]);
  }
  return known.get(squeezed(trimmed))?.kind ?? trimmed.replace(/\s+/g, "-");
}

/**
 * The kind of a MIG instance: `A100-MIG-1g.10gb` for the profile `1g.10gb` of an `A100-80GB` (whose own memory is left out,
 * for the profile says it). Not every character of a profile is fit for a name: `+` becomes `.`.
 */
export function migKind(device: string, profile: string): string {
  return `${canonicalKind(device).replace(/-\d+GB$/i, "")}-MIG-${profile.toLowerCase().replaceAll("+", ".")}`;
}

/**
 * Memory in GB that one device of this kind is sold with, which is what `80GB+` compares. What the tool reports counts
 * where it contradicts the table (the same name is sold in two sizes), and for kinds that are not known: then it is the
 * usual size just above. Null: nothing is known of it.
 */
export function nominalMemoryGb(kind: string, memoryMb: number | null): number | null {
  const mig = migPattern.exec(kind);
  if (mig?.[3] !== undefined) {
    return Number(mig[3]);
  }
  const table = known.get(squeezed(kind))?.memoryGb ?? null;
  if (memoryMb === null || memoryMb <= 0) {
    return table;
  }
  const reported = memoryMb / 1024;
  if (table !== null && reported >= table * reportedLeast && reported <= table * reportedMost) {
    return table;
  }
  return usualMemoryGb.find((size) => size >= reported - 0.05) ?? Math.ceil(reported);
}

/** Families whose members need not all be in the tables. */
const vendorPatterns: readonly [RegExp, string][] = [
  [/-MIG-|^(NVIDIA|TESLA|QUADRO|GEFORCE|RTX|GTX|TITAN|GRID)/i, "NVIDIA"],
  [/^(AMD|INSTINCT|RADEON|MI\d{2,3}|RX\d{3,4})/i, "AMD"],
  [/^(INTEL|HABANA|GAUDI|ARC[AB]?\d?)/i, "Intel"],
  [/^tpu/i, "Google"],
  [/^(INFERENTIA|TRAINIUM)/i, "AWS"],
];

/** Who makes devices of this kind: `NVIDIA`, `AMD`, `Intel`, `Google`, `AWS`; null: not known. */
export function vendorOf(kind: string): string | null {
  const entry = known.get(squeezed(kind));
  return entry?.vendor ?? vendorPatterns.find(([pattern]) => pattern.test(kind))?.[1] ?? null;
}

const vendorAliases: Readonly<Record<string, string>> = { habana: "Intel", aws: "AWS", amazon: "AWS" };

/** A maker as `vendorOf` spells it, from how somebody wrote it (`nvidia`, `Habana`); one that is not known stays as it is. */
export function canonicalVendor(name: string): string {
  const lower = name.trim().toLowerCase();
  return Object.keys(tables).find((vendor) => vendor.toLowerCase() === lower) ?? vendorAliases[lower] ?? name.trim();
}
