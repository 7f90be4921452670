/** The bytes of the pickler: against the recipe of SkyPilot's client, and against Python itself where it is installed. */
import { execFileSync, spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PickleValue, PickleTuple, pickle, pickledError, pickledNone } from "./pickle.ts";

const hasPython = spawnSync("python3", ["-c", "import pickle"]).status === 0;

function readByPython(bytes: Buffer): unknown {
  const program = "import sys,pickle,json; print(json.dumps(pickle.loads(sys.stdin.buffer.read())))";
  return JSON.parse(execFileSync("python3", ["-c", program], { input: bytes, encoding: "utf8" }));
}

describe("pickle", () => {
  it.each([
    [null, "80024e2e"],
    [true, "8002882e"],
    [false, "8002892e"],
    [1, "80024a010000002e"],
    [-2, "80024afeffffff2e"],
    [0.5, "8002473fe00000000000002e"],
    ["ä", "80025802000000c3a42e"],
    [[1], "80025d284a01000000652e"],
    [new PickleTuple(["a"]), "800228580100000061742e"],
    [{ a: null }, "80027d285801000000614e752e"],
    [{}, "80027d28752e"],
  ] as [PickleValue, string][])("writes %j", (value, hex) => {
    expect(pickle(value).toString("hex")).toBe(hex);
  });

  it("knows the constant for None", () => {
    expect(Buffer.from(pickledNone, "base64").toString("hex")).toBe("80044e2e");
  });

  it("refuses what is nested without end", () => {
    const loop: PickleValue[] = [];
    loop.push(loop);
    expect(() => pickle(loop)).toThrow("nested deeper");
  });

  it.skipIf(!hasPython)("is read by Python as the dict that SkyPilot's client expects", () => {
    const bytes = Buffer.from(pickledError("ClusterDoesNotExist", "Cluster 'ü' not found"), "base64");
    expect(readByPython(bytes)).toEqual({
      type: "ClusterDoesNotExist",
      message: "Cluster 'ü' not found",
      args: ["Cluster 'ü' not found"],
      attributes: {},
      stacktrace: null,
    });
  });

  it.skipIf(!hasPython)("is read back by Python unchanged", () => {
    const value = fc.letrec<{ node: PickleValue }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 3 },
        fc.constant(null),
        fc.boolean(),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).filter((number) => !Object.is(number, -0)),
        fc.string({ unit: "grapheme" }),
        fc.array(tie("node"), { maxLength: 4 }),
        fc.dictionary(
          fc.string({ minLength: 1 }).filter((key) => key !== "__proto__"),
          tie("node"),
          { maxKeys: 4 },
        ),
      ),
    })).node;
    const values = fc.sample(value, { numRuns: 200, seed: 7 });
    expect(readByPython(pickle(values))).toEqual(JSON.parse(JSON.stringify(values)));
  });
});
