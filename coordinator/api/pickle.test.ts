/** The bytes of the pickler, against the recipe of SkyPilot's client. Python itself reads them in pickle.process.test.ts. */
import { describe, expect, it } from "vitest";
import { type PickleValue, PickleTuple, pickle, pickledNone } from "./pickle.ts";

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
});
