/** SkyPilot's forms of amounts: each accepted one with its value, each refused one with its text. */
import { describe, expect, test } from "vitest";
import { formatAmount, readAccelerators, readCpus, readMemory } from "./units.ts";

describe("cpus", () => {
  test.each([
    [4, { value: 4, exact: true }],
    ["4", { value: 4, exact: true }],
    ["4+", { value: 4, exact: false }],
    [0.5, { value: 0.5, exact: true }],
    ["0.5+", { value: 0.5, exact: false }],
    [" 2 ", { value: 2, exact: true }],
  ])("%j", (source, amount) => {
    expect(readCpus(source)).toEqual(amount);
  });

  test.each([[0], [-1], ["x"], ["4x"], ["++"], [""], [null], [true], [["4"]], [Number.NaN], ["1e99"]])(
    "refuses %j",
    (source) => {
      expect(() => readCpus(source)).toThrow(
        /^The "cpus" field should be either a number or a string "<number>\+"\. Found: /,
      );
    },
  );
});

describe("memory in GiB", () => {
  test.each([
    [16, { value: 16, exact: true }],
    ["16+", { value: 16, exact: false }],
    ["16GB", { value: 16, exact: true }],
    ["16gb+", { value: 16, exact: false }],
    ["16 GiB", { value: 16, exact: true }],
    ["512MB", { value: 0.5, exact: true }],
    ["1048576KB", { value: 1, exact: true }],
    ["1TB", { value: 1024, exact: true }],
    ["1PB", { value: 1024 * 1024, exact: true }],
  ])("%j", (source, amount) => {
    expect(readMemory(source)).toEqual(amount);
  });

  test.each([["16XB"], ["GB"], ["0GB"], [{}], ["16G+B"]])("refuses %j", (source) => {
    expect(() => readMemory(source)).toThrow(/^The "memory" field should be either a number .* Found: /);
  });
});

describe("accelerators", () => {
  test.each([
    ["V100", { kind: "V100", count: 1 }],
    ["V100:4", { kind: "V100", count: 4 }],
    ["V100: 4", { kind: "V100", count: 4 }],
    ["V100:0.5", { kind: "V100", count: 0.5 }],
    ["A100-80GB:8", { kind: "A100-80GB", count: 8 }],
    [{ V100: 4 }, { kind: "V100", count: 4 }],
    [{ V100: "4" }, { kind: "V100", count: 4 }],
    [{ "V100:4": null }, { kind: "V100", count: 4 }],
    [["V100:2"], { kind: "V100", count: 2 }],
    [null, null],
    [{}, null],
  ])("%j", (source, accelerators) => {
    expect(readAccelerators(source)).toEqual(accelerators);
  });

  test.each([
    ["V100:4:2", /should be <name> or <name>:<cnt>/],
    ["V100:x", /should be <name> or <name>:<cnt>/],
    ["V100:0", /should be <name> or <name>:<cnt>/],
    ["V100:-1", /should be <name> or <name>:<cnt>/],
    ["", /should be <name> or <name>:<cnt>/],
    [4, /should be <name> or <name>:<cnt>/],
    ["V100:1.5", /must be whole, or below 1/],
    ["80GB+", /by device memory are not supported yet/],
    ["80GB:2", /by device memory are not supported yet/],
    ["NVIDIA:80GB+:2", /by device memory are not supported yet/],
    [{ A100: 1, V100: 1 }, /choice between several accelerators is not supported yet/],
  ])("refuses %j", (source, text) => {
    expect(() => readAccelerators(source)).toThrow(text);
  });
});

test("amounts are written as they are read", () => {
  expect(formatAmount({ value: 4, exact: true })).toBe("4");
  expect(formatAmount({ value: 0.5, exact: false })).toBe("0.5+");
});
