/**
 * NVIDIA devices as nvidia-smi lists them, with the names that SkyPilot's catalog uses. Pure: it is given the tool's
 * output. A device with a name that is not known keeps its own, made safe, so that it can still be asked for.
 * Called by agent/inventory.ts.
 */
import type { Accelerator } from "../../shared/agent-wire.ts";

/** Arguments of nvidia-smi whose output `parseNvidiaSmi` reads. */
export const nvidiaSmiArguments = ["--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"];

/** First match wins. The text is the raw name in upper case without the maker's words. */
const rules: [RegExp, string][] = [
  [/^A100.*80\s*GB/, "A100-80GB"],
  [/^A100/, "A100"],
  [/^A800.*80\s*GB/, "A800-80GB"],
  [/^A800/, "A800"],
  [/^GH200/, "GH200"],
  [/^GB200/, "GB200"],
  [/^GB300/, "GB300"],
  [/^H100.*MEGA/, "H100-MEGA"],
  [/^H100/, "H100"],
  [/^H200/, "H200"],
  [/^H800/, "H800"],
  [/^H20\b/, "H20"],
  [/^B200/, "B200"],
  [/^B300/, "B300"],
  [/^V100.*32\s*GB/, "V100-32GB"],
  [/^V100/, "V100"],
  [/^P100/, "P100"],
  [/^RTX PRO 6000 BLACKWELL/, "RTXPRO6000"],
  [/^RTX 6000 ADA/, "RTX6000-Ada"],
  [/^RTX 5000 ADA/, "RTX5000-Ada"],
  [/^RTX 4000 (SFF )?ADA/, "RTX4000-Ada"],
  [/^RTX A([2-6])000/, "RTXA$1000"],
  [/^QUADRO RTX ([4568])000/, "RTX$1000"],
];

/** The canonical name of a device, e.g. `A100-80GB` for `NVIDIA A100-SXM4-80GB`. At most 64 safe characters. */
export function canonicalNvidiaName(raw: string): string {
  const name = raw
    .toUpperCase()
    .replace(/^(NVIDIA|TESLA|GEFORCE|GRAPHICS DEVICE|\s)+/, "")
    .replace(/\s+/g, " ")
    .trim();
  for (const [pattern, canonical] of rules) {
    const match = pattern.exec(name);
    if (match !== null) {
      return canonical.replace("$1", match[1] ?? "");
    }
  }
  const geforce = /^(RTX|GTX) (\d{3,4}) ?(TI)? ?(SUPER)? ?(D)?\b/.exec(name);
  if (geforce !== null) {
    const [, family = "", model = "", ti, superior, china] = geforce;
    const suffix = [ti === undefined ? "" : "-Ti", superior === undefined ? "" : "-S", china === undefined ? "" : "D"];
    return `${family}${model}${suffix.join("")}`;
  }
  const short = /^([ALTKPM]\d{1,3}[A-Z]?|TITAN [A-Z]{1,3})(?=[ -]|$)/.exec(name);
  const safe = (short?.[1] ?? name).replace(/[^A-Z0-9._-]+/g, "-").replace(/^[^A-Z0-9]+|-+$/g, "");
  return safe === "" ? "NVIDIA" : safe.slice(0, 64);
}

/** Devices in the tool's csv output. Lines that are not devices (warnings, errors) are left out. */
export function parseNvidiaSmi(output: string): Accelerator[] {
  const devices: Accelerator[] = [];
  for (const line of output.split("\n").slice(0, 1024)) {
    const match = /^\s*(\d{1,3})\s*,\s*([^,]{1,200}?)\s*,\s*(\d{1,9}|\[?N\/A\]?|\[.*\])\s*$/.exec(line);
    if (match !== null) {
      const [, index = "", name = "", memory = ""] = match;
      const memoryMb = /^\d+$/.test(memory) ? Number(memory) : null;
      devices.push({ index: Number(index), kind: canonicalNvidiaName(name), memoryMb });
    }
  }
  return devices;
}
