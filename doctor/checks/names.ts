/**
 * Does the machine know its own name, and is sudo quick? Each `sudo` looks the name up; where it does not resolve, every
 * start of a job waits for DNS to give up. Asked through getent, as sudo does.
 */
import { type Check, speaker } from "../check.ts";
import { ProbeFault } from "../probes.ts";

const nameLimitMs = 8_000;
const nameSlowMs = 1_000;
const sudoLimitMs = 25_000;
const sudoSlowMs = 2_000;
const hostPattern = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;

export const ownName: Check = {
  id: "own-name",
  async run(probes) {
    const say = speaker("own-name");
    const name = ((await probes.file("/proc/sys/kernel/hostname")) ?? "").trim();
    if (!hostPattern.test(name)) {
      return [
        say.error("The machine has no usable host name.", "sudo and logs name machines.", "hostnamectl hostname NAME"),
      ];
    }
    const mend = `echo '127.0.1.1 ${name}' >> /etc/hosts`;
    const why = "Each sudo, and so each start of a user's jobs, looks the name up and waits until DNS gives up.";
    try {
      const answer = await probes.tool(["getent", "hosts", name], nameLimitMs);
      const seconds = (answer.ms / 1000).toFixed(1);
      if (answer.code !== 0) {
        return [say.error(`The machine's own name '${name}' does not resolve (tried for ${seconds} s).`, why, mend)];
      }
      if (answer.ms > nameSlowMs) {
        return [say.warn(`The machine's own name '${name}' resolves only after ${seconds} s.`, why, mend)];
      }
      return [say.ok(`'${name}' resolves to ${answer.stdout.split(/\s/)[0] ?? "?"}.`)];
    } catch (error) {
      if (error instanceof ProbeFault && error.kind === "slow") {
        const text = `The machine's own name '${name}' does not resolve within ${nameLimitMs / 1000} s.`;
        return [say.error(text, why, mend)];
      }
      throw error;
    }
  },
};

export const sudo: Check = {
  id: "sudo",
  async run(probes) {
    const say = speaker("sudo");
    const why = "Every user's session is opened through sudo and su.";
    try {
      const answer = await probes.tool(["sudo", "-n", "--", "true"], sudoLimitMs);
      if (answer.code !== 0) {
        const mend = "echo 'root ALL=(ALL:ALL) ALL' > /etc/sudoers.d/00-root && chmod 440 /etc/sudoers.d/00-root";
        return [say.error(`root may not use sudo here: ${answer.stderr.slice(0, 200)}`, why, mend)];
      }
      const seconds = (answer.ms / 1000).toFixed(1);
      if (answer.ms > sudoSlowMs) {
        const cause = `${why} A slow one is DNS or a directory service that does not answer.`;
        return [
          say.warn(`sudo takes ${seconds} s.`, cause, 'sudo -n true; getent hosts "$(hostname)"; getent passwd root'),
        ];
      }
      return [say.ok(`sudo takes ${seconds} s.`)];
    } catch (error) {
      if (error instanceof ProbeFault && error.kind === "missing") {
        return [say.error("sudo is not installed.", why, "apt-get install -y sudo")];
      }
      throw error;
    }
  },
};
