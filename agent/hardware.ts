/**
 * sky-hardware: prints the CPU's model and the disks as one JSON line and ends. A program of its own, because the library
 * systeminformation runs shell commands (lscpu, lsblk, dmidecode), some of them without a time limit and some, like the
 * look-up of the host's full name, while everything else waits: the agent starts it with a fixed environment, kills it
 * when it is late, and believes it nothing that a grant depends on. Only functions are used that run fixed commands
 * and touch no network and no mounted file system. Started by agent/inventory.ts.
 */
import { blockDevices, cpu } from "systeminformation";

const gibibyte = 2 ** 30;
/** What is mounted there is the system's own or passes by. */
const uninteresting = /^\/(boot|snap|run|proc|sys|dev)(\/|$)|^\[/;

const [processor, devices] = await Promise.all([cpu(), blockDevices()]);
const disks = new Map<string, number>();
for (const { mount, size, type } of devices) {
  if (mount.startsWith("/") && !uninteresting.test(mount) && type !== "rom" && Number.isFinite(size)) {
    disks.set(mount, size / gibibyte);
  }
}
const model = `${processor.manufacturer} ${processor.brand}`.trim();
const found = { cpuModel: model, disks: [...disks].map(([mount, sizeGb]) => ({ mount, sizeGb })) };
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
