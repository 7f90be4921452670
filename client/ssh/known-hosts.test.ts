/** OpenSSH's known_hosts: names in every form, against what ssh-keygen itself writes where that matters. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { addKnownKey, knownHostsName, knownKeys } from "./known-hosts.ts";

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sky-known-"));
  file = join(dir, ".ssh", "known_hosts");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function found(text: string, name: string): string[] {
  const path = join(dir, "kh");
  writeFileSync(path, text);
  return knownKeys([path], name).map(
    (known) => `${known.line} ${known.type} ${known.key}${known.revoked ? " revoked" : ""}`,
  );
}

test("names: bare on port 22, in brackets elsewhere, always in lower case", () => {
  expect(knownHostsName("Head.Lab", 22)).toBe("head.lab");
  expect(knownHostsName("10.0.0.1", 2222)).toBe("[10.0.0.1]:2222");
});

describe("lines", () => {
  test.each([
    ["head ssh-ed25519 AAAA", "head", ["1 ssh-ed25519 AAAA"]],
    ["# head ssh-ed25519 AAAA\n\n  head,10.0.0.1\tssh-rsa  BBBB comment here", "10.0.0.1", ["3 ssh-rsa BBBB"]],
    ["head ssh-ed25519 AAAA\nhead ssh-rsa BBBB\nother ssh-rsa CCCC", "head", ["1 ssh-ed25519 AAAA", "2 ssh-rsa BBBB"]],
    ["*.lab ssh-rsa A", "n1.lab", ["1 ssh-rsa A"]],
    ["*.lab ssh-rsa A", "lab", []],
    ["n?.lab ssh-rsa A", "n1.lab", ["1 ssh-rsa A"]],
    ["n?.lab ssh-rsa A", "n12.lab", []],
    ["*.lab,!n1.lab ssh-rsa A", "n1.lab", []],
    ["*.lab,!n1.lab ssh-rsa A", "n2.lab", ["1 ssh-rsa A"]],
    ["[head]:2222 ssh-rsa A", "[head]:2222", ["1 ssh-rsa A"]],
    ["[head]:2222 ssh-rsa A", "head", []],
    ["@revoked head ssh-rsa A", "head", ["1 ssh-rsa A revoked"]],
    ["@cert-authority head ssh-rsa A", "head", []],
    ["HEAD ssh-rsa A", "head", ["1 ssh-rsa A"]],
    ["head", "head", []],
    ["|1|bad", "head", []],
    ["", "head", []],
  ])("%j for %s", (text, name, keys) => {
    expect(found(text, name)).toEqual(keys);
  });

  test("a pattern of many stars costs no more than its length", () => {
    expect(found(`${"*a".repeat(2000)} ssh-rsa A`, `${"a".repeat(1000)}b`)).toEqual([]);
  });
});

test("a missing file holds nothing", () => {
  expect(knownKeys([join(dir, "none")], "head")).toEqual([]);
});

test.each([false, true])("a key that was added is found, hashed: %s", (hashed) => {
  addKnownKey(file, "[head]:22", "ssh-rsa", "FIRST", hashed);
  writeFileSync(file, readFileSync(file, "utf8").trimEnd());
  addKnownKey(file, "head", "ssh-ed25519", "AAAA", hashed);
  expect(knownKeys([file], "head").map((known) => known.key)).toEqual(["AAAA"]);
  expect(knownKeys([file], "[head]:22").map((known) => known.key)).toEqual(["FIRST"]);
  expect(readFileSync(file, "utf8").includes("head")).toBe(!hashed);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(join(dir, ".ssh")).mode & 0o777).toBe(0o700);
});
