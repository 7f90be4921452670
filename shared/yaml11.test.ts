/**
 * YAML 1.1 as PyYAML reads it. The expected texts were printed by PyYAML 6.0.3 (`str(yaml.safe_load("v: X")["v"])`).
 */
import { describe, expect, test } from "vitest";
import { lineAt, nodeAt, plainValue, readYaml, type YamlNode } from "./yaml11.ts";

function only(text: string): YamlNode {
  const documents = readYaml(text, "f.yaml");
  expect(documents).toHaveLength(1);
  return documents[0] as YamlNode;
}

function scalar(text: string): { value: unknown; text: string } {
  const node = nodeAt(only(`v: ${text}\n`), ["v"]);
  if (node?.kind !== "scalar") {
    throw new Error(`${text} is a ${node?.kind}`);
  }
  return { value: node.value, text: node.text };
}

function faultOf(text: string): string {
  try {
    readYaml(text, "f.yaml");
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("accepted");
}

describe("scalars as PyYAML's safe loader prints them", () => {
  test.each([
    ["YES", "True"],
    ["on", "True"],
    ["off", "False"],
    ["No", "False"],
    ["true", "True"],
    ["y", "y"],
    ["n", "n"],
    ["Y", "Y"],
    ["yEs", "yEs"],
    ["010", "8"],
    ["08", "08"],
    ["-010", "-8"],
    ["0o10", "0o10"],
    ["1e3", "1e3"],
    ["1.0e3", "1.0e3"],
    ["1.0e+3", "1000.0"],
    ["3:00", "180"],
    ["12:30:45", "45045"],
    ["1:60", "1:60"],
    ["01:30", "01:30"],
    ["190:20:30.15", "685230.15"],
    ["2024-01-01", "2024-01-01"],
    ["2024-1-1", "2024-1-1"],
    ["2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43.100000-05:00"],
    ["2001-12-15T02:59:43Z", "2001-12-15 02:59:43+00:00"],
    ["2001-12-15 2:59:43", "2001-12-15 02:59:43"],
    ["1_000", "1000"],
    ["0x1F", "31"],
    ["0b1_0", "2"],
    ["+1", "1"],
    ["1.10", "1.1"],
    ["1.", "1.0"],
    [".5", "0.5"],
    ["0.0001", "0.0001"],
    ["0.00001", "1e-05"],
    ["1.0e+16", "1e+16"],
    ["100000000000000000.0", "1e+17"],
    ["1234567.0", "1234567.0"],
    ["-0.0", "-0.0"],
    [".inf", "inf"],
    ["-.INF", "-inf"],
    [".nan", "nan"],
    ["9007199254740993", "9007199254740993"],
    ["123456789012345678901234567890", "123456789012345678901234567890"],
    ["~", "None"],
    ["", "None"],
    ["Null", "None"],
    ["A100:8", "A100:8"],
    ["2+", "2+"],
    ["10m", "10m"],
    ["~/x", "~/x"],
    ["'YES'", "YES"],
    ['"010"', "010"],
    ["!!str 010", "010"],
    ["!!int '8'", "8"],
    ["!!float 8", "8.0"],
  ])("%s → %s", (source, text) => {
    expect(scalar(source).text).toBe(text);
  });

  test("types for schemas", () => {
    expect(plainValue(only("{a: yes, b: 010, c: 1.5, d: ~, e: x, f: [1, '1'], 1080: 2}"))).toEqual({
      a: true,
      b: 8,
      c: 1.5,
      d: null,
      e: "x",
      f: [1, "1"],
      "1080": 2,
    });
    expect(scalar("2024-01-01").value).not.toBeTypeOf("string");
  });

  test("blocks are text and keep every line", () => {
    expect(plainValue(only("run: |\n  echo 1\n\n  echo 2\nsetup: |-\n  010\n"))).toEqual({
      run: "echo 1\n\necho 2\n",
      setup: "010",
    });
  });
});

describe("structure", () => {
  test("set form of accelerators", () => {
    expect(plainValue(only("{A100:1, V100:2}"))).toEqual({ "A100:1": null, "V100:2": null });
  });

  test("merge keys yield to own keys, earlier sources win", () => {
    const text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc:\n  y: 3\n  <<: [*a, *b]\n";
    expect(plainValue(nodeAt(only(text), ["c"]) as YamlNode)).toEqual({ x: 1, y: 3, z: 2 });
  });

  test("anchors may be defined again", () => {
    expect(plainValue(only("- &a 1\n- *a\n- &a 2\n- *a\n"))).toEqual([1, 1, 2, 2]);
  });

  test("documents", () => {
    expect(readYaml("", "f")).toEqual([]);
    expect(readYaml("# only a comment\n", "f")).toEqual([]);
    expect(readYaml("---\n", "f").map(plainValue)).toEqual([null]);
    expect(readYaml("name: x\n---\nrun: a\n---\nrun: b\n", "f").map(plainValue)).toEqual([
      { name: "x" },
      { run: "a" },
      { run: "b" },
    ]);
  });

  test("JSON is YAML", () => {
    const value = { a: "x\n\t\"'\\ é 😀 \u2028 \u0007", b: [1.5, true, null, {}], "": "k" };
    expect(plainValue(only(JSON.stringify(value)))).toEqual(value);
  });

  test("a key named __proto__ is only a key", () => {
    const value = plainValue(only("__proto__: {polluted: 1}\n"));
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

describe("lines", () => {
  const root = only("name: x\nresources:\n  cpus: 4\n  accelerators:\n    V100: 1\nenvs:\n- 1\n- {a: 2}\n");

  test.each([
    [["name"], 1],
    [["resources", "cpus"], 3],
    [["resources", "accelerators", "V100"], 5],
    [["resources", "nothing"], 2],
    [["envs", 1, "a"], 8],
    [["nothing"], 1],
  ])("%j stands in line %i", (path, line) => {
    expect(lineAt(root, path)).toBe(line);
  });
});

describe("refused with file and line", () => {
  test.each([
    ["a: 1\nb: 2\na: 3\n", "f.yaml:3: duplicate key 'a' (first in line 1)"],
    ['{"a": 1,\n "a": 2}', "f.yaml:2: duplicate key 'a' (first in line 1)"],
    ["a: 1\nb: *x\n", "f.yaml:2: alias '*x' has no anchor"],
    ["a: &x\n  b: *x\n", "f.yaml:2: alias '*x' stands inside its own anchor"],
    [
      "a: 1\nb: !!python/object:os.system x\n",
      "f.yaml:2: tag 'tag:yaml.org,2002:python/object:os.system' is not supported",
    ],
    ["a: !include x\n", "f.yaml:1: tag '!include' is not supported"],
    ["x: 1\nd: 2024-02-30\n", "f.yaml:2: '2024-02-30' looks like a date but is none; put it in quotes"],
    ["? [a]\n: 1\n", "f.yaml:1: a list or mapping cannot be a key"],
    ["a: b: c\n", "f.yaml:1: "],
    ["a: 1\n  b: 2\n", "f.yaml:"],
    ["a: [1, 2\n", "f.yaml:"],
    ["[".repeat(90_000), "f.yaml:1: the YAML is nested too deeply"],
    [`a: ${"9".repeat(5000)}`, "f.yaml:1: a number has more than 4300 digits"],
    ["x".repeat(20 * 1024 * 1024 + 1), "f.yaml is larger than 20 MB."],
    [`[${",".repeat(600_000)}`, "f.yaml:1: the YAML has more than 100000 words and separators"],
  ])("%#", (text, start) => {
    expect(faultOf(text).slice(0, start.length)).toBe(start);
  });

  test("an expansion of aliases stops at the limit", () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let level = 1; level < 12; level++) {
      lines.push(
        `a${level}: &a${level} [${Array(10)
          .fill(`*a${level - 1}`)
          .join(", ")}]`,
      );
    }
    expect(faultOf(lines.join("\n"))).toContain("more than 50000 values");
  });
});
