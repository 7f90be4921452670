/**
 * What SkyPilot's Python client (0.13) sends and reads, byte for byte, against a real API: one file for each command. The
 * client itself needs a package registry that tests do not have.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { logFrame, startTestCluster, streamOf, type TestCluster } from "../help/api-parts.ts";
import { fixtures, playFixture, type Stage } from "../help/skypilot-client.ts";

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startTestCluster(["one"], {}, { protocol: 2 });
});
afterEach(async () => await cluster.close());

const arrange: NonNullable<Stage["arrange"]> = async (step) => {
  if ("log" in step) {
    const frames = [logFrame("pid", "7"), logFrame("run", step.log), logFrame("end", "")];
    cluster.fleet.source = () => streamOf(frames, "end");
  } else {
    await cluster.report(step.node, (attempt) => Object.assign(attempt, step.change));
  }
};

describe("SkyPilot's Python client", () => {
  it.each(fixtures)("%s", async (name) => {
    await playFixture(name, { target: { socketPath: cluster.socket }, user: "root", userHash: "00000000", arrange });
  });

  it("has a fixture for every command that is served", () => {
    expect(fixtures.length).toBeGreaterThanOrEqual(15);
  });
});
