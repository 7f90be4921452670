/**
 * One look at the machine's accelerators: asks each vendor's tool, in the order that suits its versions, and reads the
 * PCI bus for what no tool describes. It never fails: a tool that hangs or breaks becomes a look that says so. It keeps
 * nothing between two looks; agent/devices.ts does. Called by agent/watch.ts.
 */
import { pciAccelerators, type PciDevice, pciRoot } from "../../system/pci.ts";
import type { ToolResult } from "../spawn.ts";
import { askTool, type Machine } from "../tools.ts";
import { accelDevices } from "./accel.ts";
import {
  amdErrorArguments,
  amdStaticArguments,
  parseAmdErrors,
  parseAmdStatic,
  parseRocm,
  rocmArguments,
  withAmdErrors,
} from "./amd.ts";
import { type FoundDevice, type Look, plainText } from "./found.ts";
import { habanaArguments, habanaQueries, parseHabana } from "./habana.ts";
import { intelArguments, intelDetailArguments, parseIntel, parseIntelDetail } from "./intel.ts";
import { unlistedWarnings } from "./pci.ts";
import { nvidiaDevices, nvidiaQueries, parseMigInstances, parseNvidiaCards, queryArguments } from "./nvidia.ts";

/** Cards that are asked one by one after a lost one has spoilt the common answer. */
const askedSinglyMax = 16;

export type ToolName = "nvidia-smi" | "amd-smi" | "hl-smi" | "xpu-smi" | "pci";

export interface Detection {
  looks: Map<ToolName, Look>;
  warnings: string[];
}

function failed(name: string, answer: ToolResult | string): Look {
  if (typeof answer === "string") {
    return { state: "failed", problem: plainText(answer, 300) };
  }
  const said = plainText(`${answer.stdout} ${answer.stderr}`, 160);
  return { state: "failed", problem: `${name} fails (exit code ${answer.code})${said === "" ? "" : `: ${said}`}` };
}

function seen(devices: FoundDevice[], driver: string | null): Look {
  const addresses = devices.flatMap((one) => one.pci ?? []);
  return { state: "seen", devices, divided: [], lost: [], addresses, driver };
}

async function lookNvidia(machine: Machine, bus: readonly PciDevice[]): Promise<Look> {
  const name = "nvidia-smi";
  for (const fields of nvidiaQueries) {
    const answer = await askTool(machine, name, queryArguments(fields));
    if (answer === null || typeof answer === "string") {
      return answer === null ? { state: "absent" } : failed(name, answer);
    }
    const parsed = parseNvidiaCards(`${answer.stdout}\n${answer.stderr}`, fields);
    if (parsed.unknownField && fields !== nvidiaQueries.at(-1)) {
      continue;
    }
    const hasNone = answer.code === 0 || /no devices were found/i.test(answer.stdout);
    if (parsed.cards.length === 0 && parsed.lost.length === 0 && !hasNone) {
      return failed(name, answer);
    }
    if (parsed.lost.length > 0) {
      // Older versions print nothing of the cards after the lost one.
      const missing = bus.filter(
        ({ vendor, address }) =>
          vendor === "0x10de" && ![...parsed.cards, ...parsed.lost].some((one) => one.pci === address),
      );
      for (const { address } of missing.slice(0, askedSinglyMax)) {
        const single = await askTool(machine, name, queryArguments(fields, address));
        const found = single === null || typeof single === "string" ? null : parseNvidiaCards(single.stdout, fields);
        parsed.cards.push(...(found?.cards.filter((card) => card.pci === address) ?? []));
        parsed.driver ??= found?.driver ?? null;
      }
    }
    const isDivided = parsed.cards.some((card) => card.migOn);
    const list = isDivided ? await askTool(machine, name, ["-L"]) : null;
    if (isDivided && (list === null || typeof list === "string" || list.code !== 0)) {
      return failed(`${name} -L`, list ?? "nvidia-smi is not installed");
    }
    const instances = list === null || typeof list === "string" ? [] : parseMigInstances(list.stdout);
    const addresses = [...parsed.cards, ...parsed.lost].flatMap((one) => one.pci ?? []);
    const { lost, driver } = parsed;
    return { state: "seen", ...nvidiaDevices(parsed.cards, instances), lost, addresses, driver };
  }
  return { state: "absent" };
}

async function lookAmd(machine: Machine): Promise<Look> {
  const answer = await askTool(machine, "amd-smi", amdStaticArguments);
  const parsed = typeof answer === "object" && answer?.code === 0 ? parseAmdStatic(answer.stdout) : null;
  if (parsed !== null && parsed.devices.length > 0) {
    const errors = await askTool(machine, "amd-smi", amdErrorArguments);
    const counts = parseAmdErrors(typeof errors === "object" ? (errors?.stdout ?? "") : "");
    return seen(withAmdErrors(parsed.devices, counts), parsed.driver);
  }
  const older = await askTool(machine, "rocm-smi", rocmArguments);
  const cards = typeof older === "object" && older?.code === 0 ? parseRocm(older.stdout) : null;
  if (cards !== null) {
    return seen(cards.devices, cards.driver);
  }
  if (parsed !== null) {
    return seen(parsed.devices, parsed.driver);
  }
  return answer === null && older === null
    ? { state: "absent" }
    : answer === null
      ? failed("rocm-smi", older ?? "")
      : failed("amd-smi", answer);
}

async function lookHabana(machine: Machine): Promise<Look> {
  let last: ToolResult | string = "";
  for (const fields of habanaQueries) {
    const answer = await askTool(machine, "hl-smi", habanaArguments(fields));
    if (answer === null) {
      return { state: "absent" };
    }
    last = answer;
    if (typeof answer === "string") {
      break;
    }
    const parsed = parseHabana(answer.stdout, fields);
    if (parsed.devices.length > 0) {
      return seen(parsed.devices, parsed.driver);
    }
  }
  return failed("hl-smi", last);
}

async function lookIntel(machine: Machine): Promise<Look> {
  const answer = await askTool(machine, "xpu-smi", intelArguments);
  if (answer === null) {
    return { state: "absent" };
  }
  const devices = typeof answer === "string" ? null : parseIntel(answer.stdout);
  if (devices === null) {
    return failed("xpu-smi", answer);
  }
  const [first] = devices;
  if (first === undefined) {
    return seen([], null);
  }
  // One question is slow enough: the others of its name are like it.
  const detail = await askTool(machine, "xpu-smi", intelDetailArguments(first.position ?? 0));
  const { memoryMb, driver } = parseIntelDetail(typeof detail === "object" ? (detail?.stdout ?? "") : "");
  const same = devices.map((one) => (one.name === first.name ? { ...one, memoryMb } : one));
  return seen(same, driver);
}

/** PCI addresses of `/dev/accel/accelN`, in their order. */
async function accelNodes(machine: Machine): Promise<string[]> {
  const names = ((await machine.list("/sys/class/accel")) ?? []).filter((name) => /^accel\d{1,3}$/.test(name));
  const addresses: string[] = [];
  for (const name of names.sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)))) {
    const target = await machine.link(`/sys/class/accel/${name}/device`);
    addresses.push(target?.split("/").at(-1) ?? "");
  }
  return addresses;
}

/** A tool without any device of its vendor on a bus that can be seen has nothing to say. */
function unlessPointless(look: Look, vendor: string, bus: readonly PciDevice[], isBusSeen: boolean): Look {
  const isPointless = look.state === "failed" && isBusSeen && bus.every((one) => one.vendor !== vendor);
  return isPointless ? { state: "absent" } : look;
}

/** Everything that can be said of the accelerators now. Never rejects. */
export async function detect(machine: Machine): Promise<Detection> {
  const isBusSeen = ((await machine.list(pciRoot)) ?? []).length > 0;
  const bus = await pciAccelerators(machine, true);
  const byVendor = async (vendor: string, looking: Promise<Look>): Promise<Look> =>
    unlessPointless(await looking, vendor, bus, isBusSeen);
  const [nvidia, amd, habana, intel] = await Promise.all([
    byVendor("0x10de", lookNvidia(machine, bus)),
    byVendor("0x1002", lookAmd(machine)),
    byVendor("0x1da3", lookHabana(machine)),
    lookIntel(machine),
  ]);
  const looks = new Map<ToolName, Look>([
    ["nvidia-smi", nvidia],
    ["amd-smi", amd],
    ["hl-smi", habana],
    ["xpu-smi", intel],
    ["pci", seen(accelDevices(bus, await accelNodes(machine)), null)],
  ]);
  const warnings = unlistedWarnings(
    bus,
    new Map([
      ["0x10de", nvidia],
      ["0x1002", amd],
      ["0x1da3", habana],
    ]),
  );
  const empty = nvidia.state === "seen" ? emptyCards(nvidia.divided, nvidia.devices) : [];
  return { looks, warnings: [...warnings, ...empty] };
}

function emptyCards(divided: readonly string[], devices: readonly FoundDevice[]): string[] {
  const empty = divided.filter((id) => devices.every((one) => one.parent !== id));
  return empty.length === 0
    ? []
    : [
        `MIG is on and has no instances on ${empty.slice(0, 8).join(", ")}: no job gets ${empty.length === 1 ? "it" : "them"}.`,
      ];
}
