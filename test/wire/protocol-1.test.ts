/**
 * Versions that are one apart understand each other. `protocol-1/` holds the strict schemas of the version before as they
 * were, and its examples: what it sends must be understood here, and what is sent to it must fit its own schemas.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Accelerator,
  type Desired,
  type FromAgent,
  fromAgentSchema,
  type Report,
  type ToAgent,
  toAgentSchema,
} from "../../shared/agent-wire.ts";
import { fromAgentIn, offeredProtocols, protocolOf, subsystemOf, toAgentIn } from "../../shared/protocols.ts";
import { fromSkyletSchema, skyletHelloSchema, toSkyletSchema } from "../../shared/skylet-wire.ts";
import * as old from "./protocol-1/agent-wire.ts";
import * as oldSkylet from "./protocol-1/skylet-wire.ts";

function examples<T>(file: string): Record<string, T> {
  return JSON.parse(readFileSync(join(import.meta.dirname, `${file}.json`), "utf8")) as Record<string, T>;
}

const toAgent = examples<ToAgent>("to-agent");
const fromAgent = examples<FromAgent>("from-agent");
const desired = toAgent["desired"] as Desired;

describe("a session of protocol 1", () => {
  it("is asked for after the newest, by the subsystem that the version before serves", () => {
    expect(offeredProtocols).toEqual([2, 1]);
    expect(offeredProtocols.map(subsystemOf)).toEqual(["sky-agent-2", "sky-agent"]);
    expect([protocolOf("sky-agent"), protocolOf("sky-agent-2"), protocolOf("sky-agent-3")]).toEqual([1, 2, null]);
  });

  it("understands every message of the version before", () => {
    for (const message of Object.values(examples<ToAgent>("protocol-1/to-agent"))) {
      expect(old.toAgentSchema.parse(message)).toEqual(message);
      const parsed = toAgentSchema.parse(message);
      expect(toAgentIn(1, parsed)).toBe(parsed);
    }
    for (const message of Object.values(examples<FromAgent>("protocol-1/from-agent"))) {
      expect(old.fromAgentSchema.parse(message)).toEqual(message);
      const parsed = fromAgentSchema.parse(message);
      expect(fromAgentIn(1, parsed)).toBe(parsed);
    }
  });

  it("sends nothing that the version before would refuse, and drops only what it does not know", () => {
    const dropped: string[] = [];
    for (const message of Object.values(toAgent)) {
      const sent = toAgentIn(1, message);
      expect(sent === null || old.toAgentSchema.parse(sent)).toEqual(sent ?? true);
      dropped.push(...(sent === null ? [message.type] : []));
    }
    for (const message of Object.values(fromAgent)) {
      const sent = fromAgentIn(1, message);
      expect(sent === null || old.fromAgentSchema.parse(sent)).toEqual(sent ?? true);
      dropped.push(...(sent === null ? [message.type] : []));
    }
    const added = (all: object, before: object): string[] => Object.keys(all).filter((name) => !(name in before));
    expect(dropped.sort()).toEqual(
      [
        ...added(toAgent, examples("protocol-1/to-agent")),
        ...added(fromAgent, examples("protocol-1/from-agent")),
      ].sort(),
    );
  });

  it("orders no attempt that needs a lease or a limit, unless it runs there already", () => {
    const [example] = desired.wanted;
    const one = fc.record({
      started: fc.boolean(),
      lease: fc.option(fc.integer({ min: 1, max: 86_400 })),
      limits: fc.option(fc.record({ memoryBytes: fc.integer({ min: 1, max: 2 ** 31 - 1 }) })),
    });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 5 }), (cases) => {
        const wanted = cases.map(({ started, lease, limits }, at) => {
          const { leaseSeconds: _, limits: __, ...rest } = example as Desired["wanted"][number];
          const own = { ...rest, attempt: `abcdefgh-${at + 1}`, started, ...(limits === null ? {} : { limits }) };
          return lease === null ? own : { ...own, leaseSeconds: lease };
        });
        const sent = old.toAgentSchema.parse(toAgentIn(1, { ...desired, wanted }));
        expect(sent).toMatchObject({ type: "desired", seq: desired.seq, ended: desired.ended });
        const ids = (sent as { wanted: { attempt: string }[] }).wanted.map(({ attempt }) => attempt);
        expect(ids).toEqual(
          wanted
            .filter((each, at) => each.started || (cases[at]?.lease === null && cases[at].limits === null))
            .map((each) => each.attempt),
        );
        expect(toAgentIn(2, { ...desired, wanted })).toEqual({ ...desired, wanted });
      }),
    );
  });

  it("reports only devices that may be granted by their index, and nothing of them that is new", () => {
    const report = fromAgent["report"] as Report;
    const accelerators: Accelerator[] = [
      {
        index: 0,
        kind: "H100",
        memoryMb: 81_559,
        name: "NVIDIA H100 80GB HBM3",
        vendor: "NVIDIA",
        pci: "0000:1a:00.0",
      },
      { index: 1, kind: "H100", memoryMb: 81_559, fault: "fallen off the bus" },
      { index: 2, kind: "A100-MIG-1g.10gb", memoryMb: 10_240, visible: "MIG-1" },
      { index: 3, kind: "H100", memoryMb: null },
    ];
    const sent = fromAgentIn(1, {
      ...report,
      inventory: { ...report.inventory, accelerators, driver: "550.90.07", containers: ["podman"] },
    });
    expect(old.fromAgentSchema.parse(sent)).toMatchObject({ inventory: { mixedAllowed: false } });
    expect((sent as Report).inventory.accelerators).toEqual([
      { index: 0, kind: "H100", memoryMb: 81_559 },
      { index: 3, kind: "H100", memoryMb: null },
    ]);
    expect(fromAgentIn(2, report)).toBe(report);
  });

  it("names itself in hello and welcome", () => {
    for (const protocol of offeredProtocols) {
      expect(toAgentIn(protocol, toAgent["welcome"] as ToAgent)).toMatchObject({ protocol });
      expect(fromAgentIn(protocol, fromAgent["hello"] as FromAgent)).toMatchObject({ protocol });
    }
  });
});

describe("a skylet of the version before", () => {
  it("is understood as far as it is spoken to: its hello, its ready, and the word that retires it", () => {
    const hello = examples("protocol-1/skylet-hello")["control"];
    expect(skyletHelloSchema.parse(hello)).toEqual(hello);
    const ready = examples("protocol-1/from-skylet")["ready"];
    expect(fromSkyletSchema.parse(ready)).toEqual(ready);
    const retire = toSkyletSchema.parse({ type: "retire" });
    expect(oldSkylet.toSkyletSchema.parse(retire)).toEqual(retire);
    // And after a rollback the other way round.
    const own = { hello: examples("skylet-hello")["control"], ready: examples("from-skylet")["ready"] };
    expect(oldSkylet.skyletHelloSchema.parse(own.hello)).toEqual(own.hello);
    expect(oldSkylet.fromSkyletSchema.parse(own.ready)).toEqual(own.ready);
  });
});
