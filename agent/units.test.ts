/** Names and words of users' units: made of numbers, different for each agent of a machine, refused where they could mean more. */
import { expect, it } from "vitest";
import { installedRuntimeDir } from "./config.ts";
import type { SkyletCommand } from "./spawn.ts";
import { unitPrefix, Units } from "./units.ts";

const command: SkyletCommand = {
  ...{ script: "/s", node: "/n", bundle: "/b", version: "1", socket: "/x", dir: "/d", idleSeconds: 1, agentUid: 0 },
};

it("an agent's units carry its mark, so that two agents of one machine never meet", () => {
  expect(new Units(installedRuntimeDir).nameOf(1001)).toBe("sky-u1001");
  const prefixes = [installedRuntimeDir, "/tmp/dev/nodes/n1/run", "/tmp/dev/nodes/n2/run", "/run/../run/sky-onprem"];
  expect(new Set(prefixes.map(unitPrefix)).size).toBe(prefixes.length);
  for (const prefix of prefixes.map(unitPrefix)) {
    expect(prefix).toMatch(/^sky-([0-9a-f]{8}-)?$/);
  }
});

it.each(["--uid=0", "a b", "$USER", "%H", "a;b", "", "../x y"])("opens no session for a user named %j", (name) => {
  const account = { uid: 1001, gid: 1001, name, home: "/", shell: "/bin/sh", groups: [] };
  expect(() => new Units(installedRuntimeDir).start(account, command)).toThrow(
    "cannot be given to a login shell safely",
  );
});
