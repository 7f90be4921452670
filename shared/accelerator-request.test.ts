/** SkyPilot's forms of accelerators: each accepted one with what it asks for, each refused one with its text. */
import { describe, expect, test } from "vitest";
import { formatAccelerator, readAccelerators } from "./accelerator-request.ts";

const gb80 = { kind: "80GB", count: 1, memory: { gb: 80, orMore: false } };
const gb80plus = { kind: "80GB", count: 1, memory: { gb: 80, orMore: true } };

describe("one way", () => {
  test.each([
    ["V100", { kind: "V100", count: 1 }],
    ["V100:4", { kind: "V100", count: 4 }],
    ["V100: 4", { kind: "V100", count: 4 }],
    ["V100:0.5", { kind: "V100", count: 0.5 }],
    ["A100-80GB:8", { kind: "A100-80GB", count: 8 }],
    ["A100-MIG-1g.10gb:2", { kind: "A100-MIG-1g.10gb", count: 2 }],
    [{ V100: 4 }, { kind: "V100", count: 4 }],
    [{ V100: "4" }, { kind: "V100", count: 4 }],
    [{ "V100:4": null }, { kind: "V100", count: 4 }],
    [["V100:2"], { kind: "V100", count: 2 }],
    [["V100:2", "V100:2"], { kind: "V100", count: 2 }],
    ["80GB", gb80],
    ["80GB+", gb80plus],
    ["80gb+", gb80plus],
    ["80GB:2", { ...gb80, count: 2 }],
    ["80GB+:2", { ...gb80plus, count: 2 }],
    ["24GB+:0.25", { kind: "24GB", count: 0.25, memory: { gb: 24, orMore: true } }],
    ["NVIDIA:80GB", { ...gb80, vendor: "NVIDIA" }],
    ["nvidia:80GB+:2", { ...gb80plus, count: 2, vendor: "NVIDIA" }],
    ["Habana:96GB", { kind: "96GB", count: 1, memory: { gb: 96, orMore: false }, vendor: "Intel" }],
    [{ "80GB+": 2 }, { ...gb80plus, count: 2 }],
    ["16384MB+", { kind: "16384MB", count: 1, memory: { gb: 16, orMore: true } }],
    ["1TB", { kind: "1TB", count: 1, memory: { gb: 1024, orMore: false } }],
  ])("%j", (source, request) => {
    expect(readAccelerators(source)).toEqual({ requests: [request], anyOrder: false });
    expect(readAccelerators(formatAccelerator(request)).requests).toEqual([request]);
  });

  test.each([[null], [undefined], [{}], [[]]])("%j asks for none", (source) => {
    expect(readAccelerators(source)).toEqual({ requests: [], anyOrder: false });
  });
});

describe("several ways", () => {
  const both = [
    { kind: "H100", count: 2 },
    { kind: "A100", count: 1 },
  ];

  test("a list is in order of preference", () => {
    expect(readAccelerators(["H100:2", "A100"])).toEqual({ requests: both, anyOrder: false });
  });

  test.each([[{ "H100:2": null, "A100:1": null }], [{ H100: 2, A100: 1 }], [{ "H100:2": null, A100: 1 }]])(
    "%j is a set: any of them",
    (source) => {
      expect(readAccelerators(source)).toEqual({ requests: both, anyOrder: true });
    },
  );
});

describe("refused", () => {
  test.each([
    ["V100:4:2", /should be <name> or <name>:<cnt>/],
    ["V100:x", /should be <name> or <name>:<cnt>/],
    ["V100:0", /should be <name> or <name>:<cnt>/],
    ["V100:-1", /should be <name> or <name>:<cnt>/],
    ["NVIDIA:V100:1", /should be <name> or <name>:<cnt>/],
    ["80GB+:x", /should be <name> or <name>:<cnt>/],
    ["80GB:2:3", /should be <name> or <name>:<cnt>/],
    ["1:80GB", /should be <name> or <name>:<cnt>/],
    ["80GB++", /should be <name> or <name>:<cnt>/],
    ["0GB", /"memory" field/],
    ["", /should be <name> or <name>:<cnt>/],
    [4, /should be <name> or <name>:<cnt>/],
    [[{ V100: 1 }], /should be <name> or <name>:<cnt>/],
    ["V100:1.5", /must be whole, or below 1/],
    ["V100:5000", /No node has more than 1024/],
  ])("%j", (source, text) => {
    expect(() => readAccelerators(source)).toThrow(text);
  });
});
