/**
 * Accelerators that the PCI bus shows and the driver does not, and the reverse; drivers of the wrong kind; devices that
 * have fallen off the bus; versions with known holes. From sysfs, nvidia-smi and the kernel's log.
 */
import type { Finding } from "../../shared/doctor.ts";
import { type Check, isOlder, some, speaker, versionOf } from "../check.ts";
import { acceleratorVendors, pciAccelerators, type PciDevice } from "../../system/pci.ts";
import { ProbeFault, type Probes } from "../probes.ts";
import { nvidiaDrivers, nvidiaToolkit } from "./known-holes.ts";

const query = ["--query-gpu=pci.bus_id,driver_version,persistence_mode", "--format=csv,noheader,nounits"] as const;

interface Smi {
  /** PCI addresses as sysfs writes them: 0000:41:00.0. */
  addresses: string[];
  driver: string | null;
  persistence: boolean;
  code: number;
  said: string;
}

export function parseSmi(stdout: string, stderr: string, code: number): Smi {
  const rows = stdout.split("\n").flatMap((line) => {
    const match = /^\s*([0-9A-Fa-f]{4,8}):([0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9])\s*,\s*([^,]+?)\s*,\s*(\S+)/.exec(line);
    const [, domain = "", slot = "", driver = "", persistence = ""] = match ?? [];
    return match === null ? [] : [{ address: `${domain.slice(-4)}:${slot}`.toLowerCase(), driver, persistence }];
  });
  return {
    addresses: rows.map((row) => row.address),
    driver: rows[0]?.driver ?? null,
    persistence: rows.every((row) => row.persistence !== "Disabled"),
    code,
    said: `${stdout} ${stderr}`.trim(),
  };
}

async function askSmi(probes: Probes): Promise<Smi | null> {
  try {
    const answer = await probes.tool(["nvidia-smi", ...query], 20_000);
    return parseSmi(answer.stdout, answer.stderr, answer.code);
  } catch (error) {
    if (error instanceof ProbeFault && error.kind === "missing") {
      return null;
    }
    throw error;
  }
}

const whyMissing = "It is not offered to jobs, or jobs that get it fail.";

function judgeNvidia(devices: readonly PciDevice[], smi: Smi | null): Finding[] {
  const say = speaker("accelerators");
  const addresses = devices.map((device) => device.address.toLowerCase());
  if (smi === null) {
    return [
      say.error(
        `${devices.length} NVIDIA device(s) on the PCI bus (${some(addresses)}), and nvidia-smi is not installed.`,
        whyMissing,
        "apt-get install -y nvidia-driver (Debian, non-free) or ubuntu-drivers install --gpgpu (Ubuntu); systemctl reboot",
      ),
    ];
  }
  if (/version mismatch/i.test(smi.said)) {
    return [
      say.error(
        "NVIDIA's driver was upgraded while the old module is loaded (driver/library version mismatch).",
        whyMissing,
        "sky admin drain NODE -r restart --wait; systemctl reboot",
      ),
    ];
  }
  const missing = addresses.filter((address) => !smi.addresses.includes(address));
  if (smi.code !== 0 && smi.addresses.length === 0) {
    return [
      say.error(
        `${devices.length} NVIDIA device(s) on the PCI bus, and nvidia-smi fails (exit code ${smi.code}): ${smi.said.slice(0, 200)}`,
        whyMissing,
        "modprobe nvidia; dkms status; dmesg | grep -i nvrm | tail -20",
      ),
    ];
  }
  const found: Finding[] = [];
  if (missing.length > 0) {
    found.push(
      say.error(
        `On the PCI bus but not seen by the driver: ${some(missing)} (${smi.addresses.length} of ${devices.length} NVIDIA devices work).`,
        whyMissing,
        "dmesg | grep -iE 'nvrm|xid' | tail -20; sky admin drain NODE -r restart --wait; systemctl reboot",
      ),
    );
  }
  const gone = smi.addresses.filter((address) => !addresses.includes(address));
  if (gone.length > 0) {
    found.push(
      say.error(
        `Listed by the driver but gone from the PCI bus: ${some(gone)}.`,
        "The device has fallen off the bus: power, heat or the slot.",
        "dmesg | grep -iE 'nvrm|xid|pcie' | tail -20; sky admin drain NODE -r restart --wait; systemctl poweroff",
      ),
    );
  }
  if (!smi.persistence && found.length === 0) {
    found.push(
      say.warn(
        "NVIDIA's persistence mode is off.",
        "Each first use of a device waits for it to wake, and settings are lost in between.",
        "systemctl enable --now nvidia-persistenced || nvidia-smi --persistence-mode=1",
      ),
    );
  }
  return found;
}

/** Devices that another driver holds, or none. */
function judgeDrivers(devices: readonly PciDevice[]): Finding[] {
  const say = speaker("accelerators");
  return devices.flatMap(({ address, vendor, driver }) => {
    const expected = acceleratorVendors[vendor];
    if (expected === undefined || (driver !== null && expected.drivers.includes(driver))) {
      return [];
    }
    const maker = expected.name;
    if (driver === "nouveau") {
      return [
        say.error(
          `${address} (${maker}) is held by nouveau.`,
          "CUDA needs NVIDIA's own driver.",
          "echo 'blacklist nouveau' > /etc/modprobe.d/blacklist-nouveau.conf && update-initramfs -u && systemctl reboot",
        ),
      ];
    }
    if (driver !== null) {
      return [
        say.warn(
          `${address} (${maker}) is held by the driver ${driver}.`,
          "It is given to a virtual machine or to something else, and not to jobs.",
          `lspci -k -s ${address}`,
        ),
      ];
    }
    return [
      say.error(
        `${address} (${maker}) has no driver.`,
        whyMissing,
        `modprobe ${expected.drivers[0] ?? ""}; dmesg | tail -20`,
      ),
    ];
  });
}

/** What the kernel wrote about NVIDIA's devices since it was started. */
async function judgeXids(probes: Probes): Promise<Finding[]> {
  const say = speaker("accelerators");
  const answer = await probes
    .tool([
      "journalctl",
      "--dmesg",
      "--boot",
      "--output=cat",
      "--no-pager",
      "--lines=20",
      "--grep=NVRM: Xid|fallen off the bus",
    ])
    .catch(() => null);
  const lines = (answer?.code === 0 ? answer.stdout : "").split("\n").filter((line) => /NVRM|fallen off/.test(line));
  const last = lines.at(-1);
  if (last === undefined) {
    return [];
  }
  // 13, 31, 43 and 45 are faults of programs; the others are the device's or the driver's.
  const serious = lines.some((line) =>
    /fallen off|Xid \([^)]*\): (48|62|63|64|74|79|92|94|95|119|120|140)\b/.test(line),
  );
  const text = `The kernel has reported faults of NVIDIA devices since it was started; the last: ${last.slice(0, 250)}`;
  return serious
    ? [
        say.error(
          text,
          "The device or its memory is failing, or it has left the bus.",
          "sky admin drain NODE -r restart --wait; nvidia-smi --query-gpu=pci.bus_id,ecc.errors.uncorrected.volatile.total --format=csv; systemctl reboot",
        ),
      ]
    : [];
}

export const accelerators: Check = {
  id: "accelerators",
  async run(probes, site) {
    const say = speaker("accelerators");
    const devices = await pciAccelerators(probes);
    const nvidia = devices.filter((device) => device.vendor === "0x10de");
    const ours = nvidia.filter((device) => device.driver === "nvidia" || device.driver === null);
    const smi = ours.length > 0 || devices.length === 0 ? await askSmi(probes) : null;
    const found = judgeDrivers(devices);
    if (ours.length > 0) {
      found.push(...judgeNvidia(ours, smi), ...(await judgeXids(probes)));
    } else if (smi !== null && smi.addresses.length > 0 && devices.length === 0) {
      // Virtual machines and containers may hide the bus.
      return [say.ok(`${smi.addresses.length} NVIDIA device(s) by nvidia-smi; the PCI bus is not visible here.`)];
    }
    if (found.length > 0) {
      return found.slice(0, 20);
    }
    const declared = site.declaredAccelerators;
    if (devices.length === 0 && declared !== null && declared !== "-") {
      return [say.ok(`None on the PCI bus; agent.yaml declares ${declared}.`)];
    }
    return [
      say.ok(devices.length === 0 ? "No accelerators." : `${devices.length} accelerator(s), all with their driver.`),
    ];
  },
};

export const versions: Check = {
  id: "driver-version",
  async run(probes) {
    const say = speaker("driver-version");
    const found: Finding[] = [];
    const said: string[] = [];
    const text = await probes.file("/proc/driver/nvidia/version");
    const driver = text === null ? null : versionOf(/Kernel Module\s.*?(\d+\.\d[\d.]*)/.exec(text)?.[1] ?? text);
    if (driver !== null) {
      const shown = driver.map((part, at) => (at === 2 ? String(part).padStart(2, "0") : String(part))).join(".");
      const branch = nvidiaDrivers.find(({ fixed }) => fixed[0] === driver[0]);
      const newest = nvidiaDrivers.at(-1)?.fixed[0] ?? 0;
      const mend =
        "apt-get update && apt-get install --only-upgrade 'nvidia-driver*' && sky admin drain NODE -r restart --wait; systemctl reboot";
      const why = "Users of the node can use its holes to become root or to read what others compute.";
      if (branch === undefined && (driver[0] ?? 0) < newest) {
        found.push(say.warn(`NVIDIA's driver ${shown} is of a branch that gets no fixes any more.`, why, mend));
      } else if (branch !== undefined && isOlder(driver, branch.fixed)) {
        found.push(
          say.warn(
            `NVIDIA's driver ${shown} has known holes (${branch.cves}); ${branch.text} has them fixed.`,
            why,
            mend,
          ),
        );
      } else {
        said.push(`NVIDIA's driver is ${shown}.`);
      }
    }
    const toolkit = await probes.tool(["nvidia-ctk", "--version"]).catch(() => null);
    const version = toolkit?.code === 0 ? versionOf(toolkit.stdout) : null;
    if (version !== null) {
      const hole = nvidiaToolkit.find(({ fixed }) => isOlder(version, fixed));
      if (hole === undefined) {
        said.push(`The NVIDIA Container Toolkit is ${version.join(".")}.`);
      } else {
        const why = "A container can leave its walls and become root on the machine.";
        found.push(
          say.error(
            `The NVIDIA Container Toolkit ${version.join(".")} has a known hole (${hole.cves}); ${hole.text} has it fixed.`,
            why,
            "apt-get update && apt-get install --only-upgrade 'nvidia-container-toolkit*' libnvidia-container-tools",
          ),
        );
      }
    }
    return found.length > 0
      ? found
      : [say.ok(said.length === 0 ? "No driver or runtime with versions to look at." : said.join(" "))];
  },
};
