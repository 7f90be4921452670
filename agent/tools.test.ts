/** Which tools root runs: found by the config's folders, and only those that nobody else could have put there. */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../test/help/until.ts";
import { runTool } from "./spawn.ts";
import { askTool, RealMachine } from "./tools.ts";

let dir = "";

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sky-tools-"));
  for (const name of ["first", "second", "elsewhere"]) {
    mkdirSync(join(dir, name), { mode: 0o755 });
  }
});
afterEach(() => rmSync(dir, { recursive: true }));

function tool(folder: string, text: string): string {
  const path = join(dir, folder, "x-smi");
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

const machine = (): RealMachine => new RealMachine([join(dir, "first"), join(dir, "second")], "/var/log/x");

describe("a vendor's tool", () => {
  it("is the first that is found, also behind a link, with an environment of ours", async () => {
    expect(await machine().tool("x-smi", [])).toBeNull();
    tool("second", 'echo second "$@" "$HOME" "$HABANA_LOGS"');
    expect((await machine().tool("x-smi", ["-L"]))?.stdout).toBe("second -L  /var/log/x\n");
    symlinkSync(tool("elsewhere", "echo linked; exit 9"), join(dir, "first/x-smi"));
    expect(await machine().tool("x-smi", [])).toEqual({ code: 9, stdout: "linked\n", stderr: "" });
  });

  it.each([
    ["itself can be written by others", (path: string) => chmodSync(path, 0o777)],
    ["lies in a folder that others may write to", () => chmodSync(join(dir, "first"), 0o777)],
  ])("is not run when it %s", async (_, spoil) => {
    spoil(tool("first", "echo run"));
    await expect(machine().tool("x-smi", [])).rejects.toThrow(/x-smi is not run: .* is not root's alone/);
    expect(await askTool(machine(), "x-smi", [])).toMatch(/is not run/);
  });

  it.runIf(process.getuid?.() === 0)("is not run when it, or what a link leads to, is another's", async () => {
    const path = tool("elsewhere", "echo run");
    symlinkSync(path, join(dir, "first/x-smi"));
    chownSync(path, 65_534, 65_534);
    await expect(machine().tool("x-smi", [])).rejects.toThrow("is not root's alone");
    chownSync(path, 0, 0);
    expect((await machine().tool("x-smi", []))?.stdout).toBe("run\n");
    chownSync(join(dir, "elsewhere"), 65_534, 65_534);
    await expect(machine().tool("x-smi", [])).rejects.toThrow("is not root's alone");
  });
});

it("a tool that cannot be ended holds up nobody, and is not started again beside itself", async () => {
  tool("first", "echo well");
  let end = (): void => undefined;
  let starts = 0;
  // A process that waits in the kernel for a driver does not end, not even when it is killed.
  const inKernel: typeof runTool = async (...words) => {
    starts += 1;
    if (starts === 1) {
      await new Promise<void>((resolve) => {
        end = resolve;
      });
    }
    return await runTool(...words);
  };
  const hanging = new RealMachine([join(dir, "first")], "/var/log/x", inKernel, 50);
  await expect(hanging.tool("x-smi", [])).rejects.toThrow("x-smi did not end within");
  await expect(hanging.tool("x-smi", [])).rejects.toThrow("hangs and cannot be ended");
  expect(starts).toBe(1);
  end();
  await until(async () => (await hanging.tool("x-smi", []).catch(() => null))?.stdout === "well\n", "it to be gone");
});

it("files and folders that are not there are nothing", async () => {
  writeFileSync(join(dir, "file"), "0x10de\n");
  symlinkSync("../drivers/nvidia", join(dir, "driver"));
  expect(await machine().file(join(dir, "file"))).toBe("0x10de\n");
  expect(await machine().link(join(dir, "driver"))).toBe("../drivers/nvidia");
  expect(await machine().list(dir)).toEqual(["driver", "elsewhere", "file", "first", "second"]);
  const none = join(dir, "none");
  expect([await machine().file(none), await machine().link(none), await machine().list(none)]).toEqual([
    null,
    null,
    null,
  ]);
  expect(await machine().file(dir)).toBeNull();
});
