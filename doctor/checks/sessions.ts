/**
 * What systemd-logind does to users without an open session: without linger it ends their processes (KillUserProcesses)
 * or removes their shared memory (RemoveIPC) under running jobs. Looked at for the users who have a folder of ours here.
 */
import { type Check, parsePasswd, some, speaker } from "../check.ts";

export const linger: Check = {
  id: "linger",
  async run(probes, site) {
    const say = speaker("linger");
    if (
      (await probes.list("/run/systemd/seats")) === null &&
      (await probes.file("/usr/lib/systemd/systemd-logind")) === null
    ) {
      return [say.ok("systemd-logind does not run here: nobody ends users' processes.")];
    }
    const rules = await Promise.all(
      ["KillUserProcesses", "RemoveIPC"].map(async (name) => {
        const path = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"] as const;
        const answer = await probes.tool(["busctl", "--system", "get-property", ...path, name], 5_000);
        return { name, isOn: answer.stdout.trim() === "b true", isKnown: answer.code === 0 };
      }),
    );
    if (rules.every((rule) => !rule.isKnown)) {
      return [say.unknown("systemd-logind does not answer.", undefined, "systemctl restart systemd-logind")];
    }
    const on = rules.filter((rule) => rule.isOn).map((rule) => `${rule.name}=yes`);
    if (on.length === 0) {
      return [say.ok("logind ends nothing of users who log out.")];
    }
    const uids = ((await probes.list(site.runtimeDir)) ?? [])
      .filter((name) => /^[0-9]{1,10}$/.test(name))
      .slice(0, 500);
    const lingering = new Set((await probes.list("/var/lib/systemd/linger")) ?? []);
    const rows = uids.length === 0 ? [] : parsePasswd((await probes.tool(["getent", "passwd", ...uids])).stdout);
    const without = rows.filter((row) => row.uid !== 0 && !lingering.has(row.name)).map((row) => row.name);
    if (without.length === 0) {
      return [say.ok(`logind has ${on.join(" and ")}; every user with jobs here lingers.`)];
    }
    const text = `logind has ${on.join(" and ")}, and these users do not linger: ${some(without)}.`;
    const why = on.includes("KillUserProcesses=yes")
      ? "When their last session ends, logind may end their jobs and remove their shared memory."
      : "When their last session ends, logind removes shared memory (/dev/shm) that running jobs use.";
    const names = without.filter((name) => /^[A-Za-z0-9_][A-Za-z0-9_.@-]*$/.test(name)).slice(0, 20);
    return [say.warn(text, why, `loginctl enable-linger ${names.join(" ")}`)];
  },
};
