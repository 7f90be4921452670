/** What this machine can hold jobs to, tried with the real programs: what is said must be so for an ordinary user. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { userMechanisms } from "./mechanisms.ts";

const isRoot = process.getuid?.() === 0;

it("says what an ordinary user's processes can be held to here, and nothing that fails when it is done", async () => {
  const found = await userMechanisms(isRoot ? "plain" : "own");
  const drop = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : ["env"];
  const [file = "", ...argv] = drop;
  const works = (words: string[]): boolean => spawnSync(file, [...argv, ...words], { stdio: "ignore" }).status === 0;
  expect(found.includes("no-new-privileges")).toBe(works(["setpriv", "--no-new-privs", "true"]));
  const mount = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"];
  expect(found.includes("mount-namespace")).toBe(works(mount));
});

it("says nothing where the trial itself cannot be run", async () => {
  // Without systemd there is nobody who would open a session.
  const isBooted = existsSync("/run/systemd/system");
  expect((await userMechanisms("session")).length > 0).toBe(isBooted);
});
