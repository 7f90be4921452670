/** OpenSSH's notation for jump hosts. */
import { expect, test } from "vitest";
import { parseJumps } from "./jumps.ts";

test.each([
  ["gate", [{ user: null, host: "gate", port: null }]],
  ["al@gate.lab:2222", [{ user: "al", host: "gate.lab", port: 2222 }]],
  ["ssh://al@gate:22", [{ user: "al", host: "gate", port: 22 }]],
  [
    "a@h1,b@[::1]:23",
    [
      { user: "a", host: "h1", port: null },
      { user: "b", host: "::1", port: 23 },
    ],
  ],
  ["none", []],
  ["", []],
])("%s", (text, jumps) => {
  expect(parseJumps(text)).toEqual(jumps);
});

test.each(["a b", "-oProxyCommand=x", "a@-b", "h:0", "h:70000", "h;x", Array(9).fill("h").join(",")])(
  "refuses %s",
  (text) => {
    expect(() => parseJumps(text)).toThrow(/jump host/);
  },
);
