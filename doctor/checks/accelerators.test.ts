/** Accelerators by PCI and by their driver, and versions with known holes: on answers recorded from machines. */
import { describe, expect, test } from "vitest";
import { type Recording, recorded, siteOf } from "../../test/help/recorded-probes.ts";
import { accelerators, parseSmi, versions } from "./accelerators.ts";

const root = "/sys/bus/pci/devices";

/** A bus with these devices: `[address, class, vendor, driver]`. */
function bus(...devices: [string, string, string, string | null][]): Pick<Recording, "files" | "folders" | "links"> {
  const files: Record<string, string> = {};
  const links: Record<string, string> = {};
  for (const [address, kind, vendor, driver] of devices) {
    files[`${root}/${address}/class`] = `${kind}\n`;
    files[`${root}/${address}/vendor`] = `${vendor}\n`;
    if (driver !== null) {
      links[`${root}/${address}/driver`] = `../../../../bus/pci/drivers/${driver}`;
    }
  }
  return { files, links, folders: { [root]: devices.map(([address]) => address) } };
}

async function said(recording: Recording): Promise<string[]> {
  const findings = await accelerators.run(recorded(recording), siteOf());
  return findings.map(({ level, seen }) => `${level} ${seen}`);
}

const nic: [string, string, string, string] = ["0000:01:00.0", "0x020000", "0x8086", "igb"];
const two: [string, string, string, string][] = [
  ["0000:41:00.0", "0x030200", "0x10de", "nvidia"],
  ["0000:c1:00.0", "0x030200", "0x10de", "nvidia"],
];
const smi = (...addresses: string[]): string =>
  addresses.map((address) => `00000000:${address}, 580.159.03, Enabled\n`).join("");

describe("accelerators", () => {
  test("none, and all well", async () => {
    expect(await said(bus(nic))).toEqual(["ok No accelerators."]);
    expect(await said({ ...bus(nic, ...two), tools: { "nvidia-smi": smi("41:00.0", "C1:00.0") } })).toEqual([
      "ok 2 accelerator(s), all with their driver.",
    ]);
  });

  test("by PCI but not by the driver, and the reverse", async () => {
    expect(await said({ ...bus(...two), tools: { "nvidia-smi": smi("41:00.0") } })).toEqual([
      "error On the PCI bus but not seen by the driver: 0000:c1:00.0 (1 of 2 NVIDIA devices work).",
    ]);
    expect(await said({ ...bus(...two), tools: { "nvidia-smi": smi("41:00.0", "C1:00.0", "E1:00.0") } })).toEqual([
      "error Listed by the driver but gone from the PCI bus: 0000:e1:00.0.",
    ]);
  });

  test("a tool that is missing, fails, hangs or is of another version than the module", async () => {
    expect((await said(bus(...two)))[0]).toMatch(/^error 2 NVIDIA device\(s\).*nvidia-smi is not installed/);
    const failing = {
      code: 9,
      stdout: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
    };
    expect((await said({ ...bus(...two), tools: { "nvidia-smi": failing } }))[0]).toMatch(
      /nvidia-smi fails \(exit code 9\)/,
    );
    const mismatch = { code: 18, stdout: "Failed to initialize NVML: Driver/library version mismatch\n" };
    expect((await said({ ...bus(...two), tools: { "nvidia-smi": mismatch } }))[0]).toMatch(
      /upgraded while the old module is loaded/,
    );
    await expect(said({ ...bus(...two), tools: { "nvidia-smi": "slow" } })).rejects.toThrow("did not end within");
  });

  test("drivers of another kind, and none", async () => {
    const devices = bus(
      ["0000:41:00.0", "0x030000", "0x10de", "nouveau"],
      ["0000:42:00.0", "0x030200", "0x10de", "vfio-pci"],
      ["0000:43:00.0", "0x120000", "0x1da3", null],
      ["0000:44:00.0", "0x038000", "0x1002", "amdgpu"],
      ["0000:45:00.0", "0x030000", "0x1002", null],
    );
    expect(await said(devices)).toEqual([
      "error 0000:41:00.0 (NVIDIA) is held by nouveau.",
      "warn 0000:42:00.0 (NVIDIA) is held by the driver vfio-pci.",
      "error 0000:43:00.0 (Habana) has no driver.",
    ]);
  });

  test("faults that the kernel has reported: those of the device count, those of programs do not", async () => {
    const tools = { "nvidia-smi": smi("41:00.0", "C1:00.0") };
    const log = (line: string): Recording => ({
      ...bus(...two),
      tools: { ...tools, "journalctl --dmesg": `${line}\n` },
    });
    expect((await said(log("NVRM: Xid (PCI:0000:41:00): 79, pid=1, GPU has fallen off the bus.")))[0]).toMatch(
      /^error .*fallen off/,
    );
    expect((await said(log("NVRM: Xid (PCI:0000:41:00): 31, pid=1, MMU Fault")))[0]).toMatch(/^ok/);
  });

  test("odd output of nvidia-smi", () => {
    const odd =
      "Unable to determine the device handle for GPU0000:41:00.0: Unknown Error\n00000000:C1:00.0, 580.1, Disabled\n,,,\n";
    expect(parseSmi(odd, "", 0)).toMatchObject({ addresses: ["0000:c1:00.0"], driver: "580.1", persistence: false });
  });
});

describe("versions with known holes", () => {
  const module = (version: string): Recording => ({
    files: {
      "/proc/driver/nvidia/version": `NVRM version: NVIDIA UNIX x86_64 Kernel Module  ${version}  Tue Nov 18 18:26:41 UTC 2025\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n`,
    },
  });
  test.each([
    ["535.309.01", /^ok NVIDIA's driver is 535\.309\.01/],
    ["535.288.01", /^warn NVIDIA's driver 535\.288\.01 has known holes .*535\.309\.01 has them fixed/],
    ["580.159.03", /^ok/],
    ["550.163.01", /^warn .*of a branch that gets no fixes/],
    ["610.43.02", /^ok/],
  ])("driver %s", async (version, expected) => {
    const [finding] = await versions.run(recorded(module(version)), siteOf());
    expect(`${finding?.level} ${finding?.seen}`).toMatch(expected);
  });

  test("an open module says its version in other words", async () => {
    const text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n";
    const [finding] = await versions.run(recorded({ files: { "/proc/driver/nvidia/version": text } }), siteOf());
    expect(finding?.seen).toMatch(/580\.95\.05 has known holes/);
  });

  test.each([
    ["1.16.1", /CVE-2024-0132/],
    ["1.17.7", /CVE-2025-23266/],
    ["1.19.1", /is 1\.19\.1/],
  ])("container toolkit %s", async (version, expected) => {
    const tools = { "nvidia-ctk": `NVIDIA Container Toolkit CLI version ${version}\ncommit: abc\n` };
    expect((await versions.run(recorded({ tools }), siteOf()))[0]?.seen).toMatch(expected);
  });
});
