/** Every pair can be read by ssh2 and by OpenSSH; one in two hundred of the library's own cannot. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { expect, it } from "vitest";
import { makeKeyPair } from "./key-pair.ts";

it("gives out only pairs that can be read", () => {
  for (let round = 0; round < 1_000; round += 1) {
    const pair = makeKeyPair();
    expect(ssh2.utils.parseKey(pair.private), pair.private).not.toBeInstanceOf(Error);
    expect(pair.public).toMatch(/^ssh-ed25519 [A-Za-z0-9+/]{68}$/);
  }
});

it("is read by ssh-keygen, which finds the same public part", () => {
  const dir = mkdtempSync(join(tmpdir(), "sky-key-"));
  try {
    const pair = makeKeyPair("n1");
    writeFileSync(join(dir, "key"), pair.private, { mode: 0o600 });
    expect(execFileSync("ssh-keygen", ["-y", "-f", join(dir, "key")], { encoding: "utf8" }).trim()).toBe(pair.public);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
