/**
 * Is the clock kept right? How far it is from the head's is computed by the coordinator from the doctor's first line.
 * A container has its host's clock, so nothing is said against it there.
 */
import { type Check, speaker } from "../check.ts";

export const clock: Check = {
  id: "clock",
  async run(probes) {
    const say = speaker("clock");
    const container = await probes.tool(["systemd-detect-virt", "--container"]).catch(() => null);
    if (container?.code === 0) {
      return [say.ok(`The clock is that of the machine around this container (${container.stdout.trim()}).`)];
    }
    const why = "Logs of different machines cannot be compared, and file times on shared homes mislead make and rsync.";
    const shown = await probes.tool(["timedatectl", "show", "--property=NTP", "--property=NTPSynchronized"]);
    if (shown.code !== 0) {
      return [
        say.unknown(`timedatectl could not say whether the clock is kept right: ${shown.stderr.slice(0, 200)}`, why),
      ];
    }
    if (/^NTPSynchronized=yes$/m.test(shown.stdout)) {
      return [say.ok("The clock is synchronized.")];
    }
    if (/^NTP=yes$/m.test(shown.stdout)) {
      const mend = "systemctl restart systemd-timesyncd; timedatectl timesync-status";
      return [say.warn("Time synchronization is on but has not reached any server.", why, mend)];
    }
    const installed = await probes.file("/lib/systemd/system/systemd-timesyncd.service");
    const mend = `${installed === null ? "apt-get install -y systemd-timesyncd && " : ""}timedatectl set-ntp true`;
    return [say.warn("The clock is not synchronized.", why, mend)];
  },
};
