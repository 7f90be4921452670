/** The bytes of the pickler, read back by Python itself as SkyPilot's client does. Needs python3. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PickleValue, pickle, pickledError } from "./pickle.ts";

function readByPython(bytes: Buffer): unknown {
  const program = "import sys,pickle,json; print(json.dumps(pickle.loads(sys.stdin.buffer.read())))";
  return JSON.parse(execFileSync("python3", ["-c", program], { input: bytes, encoding: "utf8" }));
}

describe("pickle", () => {
  it("is read by Python as the dict that SkyPilot's client expects", () => {
    const bytes = Buffer.from(pickledError("ClusterDoesNotExist", "Cluster 'ü' not found"), "base64");
    expect(readByPython(bytes)).toEqual({
      type: "ClusterDoesNotExist",
      message: "Cluster 'ü' not found",
      args: ["Cluster 'ü' not found"],
      attributes: {},
      stacktrace: null,
    });
  });

  it("is read back by Python unchanged", () => {
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
