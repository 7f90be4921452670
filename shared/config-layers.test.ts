/**
 * The layers of SkyPilot's config as tables: what wins, what is appended, where each value came from, what a server takes
 * from a client, and what a person is told about a faulty file.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type ConfigTree,
  configForRequest,
  leavesOf,
  mergeLayers,
  mergeTrees,
  readConfig,
  readOverrides,
  runOptionsOf,
} from "./config-layers.ts";
import { configSections, idleReason } from "./config-sections.ts";

describe("merging", () => {
  test.each<[string, ConfigTree, ConfigTree, ConfigTree]>([
    ["maps deeply", { aws: { a: 1, b: 2 } }, { aws: { b: 3 } }, { aws: { a: 1, b: 3 } }],
    [
      "lists are replaced",
      { docker: { run_options: ["-a"] } },
      { docker: { run_options: ["-b"] } },
      { docker: { run_options: ["-b"] } },
    ],
    ["a value over a map", { aws: { a: 1 } }, { aws: null }, { aws: null }],
    [
      "lists of pods are appended",
      { kubernetes: { pod_config: { spec: { tolerations: [1] } } } },
      { kubernetes: { pod_config: { spec: { tolerations: [2] } } } },
      { kubernetes: { pod_config: { spec: { tolerations: [1, 2] } } } },
    ],
    [
      "containers and their variables by name",
      { kubernetes: { pod_config: { containers: [{ name: "ray", env: [{ name: "A", value: "1" }], args: ["x"] }] } } },
      {
        kubernetes: {
          pod_config: { containers: [{ name: "ray", env: [{ name: "A", value: "2" }, { name: "B" }], args: ["y"] }] },
        },
      },
      {
        kubernetes: {
          pod_config: { containers: [{ name: "ray", env: [{ name: "A", value: "2" }, { name: "B" }], args: ["y"] }] },
        },
      },
    ],
  ])("%s", (_, under, over, result) => {
    const before = JSON.stringify([under, over]);
    expect(mergeTrees(under, over)).toEqual(result);
    expect(JSON.stringify([under, over])).toBe(before);
  });

  const leaf = fc.oneof(fc.integer(), fc.string(), fc.constant(null), fc.array(fc.integer(), { maxLength: 2 }));
  const tree = fc.dictionary(
    fc.constantFrom("aws", "gcp", "docker"),
    fc.dictionary(fc.constantFrom("a", "b"), leaf, { minKeys: 1, maxKeys: 2 }),
    { maxKeys: 3 },
  );
  test("every value of the highest layer holds, and every leaf has the origin that gave it", () => {
    fc.assert(
      fc.property(fc.array(tree, { minLength: 1, maxLength: 4 }), (trees) => {
        const layers = trees.map((one, index) => ({ origin: `layer ${index}`, tree: one }));
        const all = mergeLayers(layers);
        expect([...all.origins.keys()].sort()).toEqual([...leavesOf(all.tree).keys()].sort());
        for (const [path, value] of leavesOf(all.tree)) {
          const index = trees.findLastIndex((one) => leavesOf(one).has(path));
          expect(all.origins.get(path)).toBe(`layer ${index}`);
          expect(leavesOf(trees[index] ?? {}).get(path)).toEqual(value);
        }
      }),
    );
  });

  test("what was joined from two layers names both", () => {
    const layer = (origin: string, item: number): { origin: string; tree: ConfigTree } => ({
      origin,
      tree: { kubernetes: { pod_config: { list: [item] } } },
    });
    const all = mergeLayers([layer("server", 1), layer("~/.sky/config.yaml", 2)]);
    expect(all.origins.get("kubernetes.pod_config.list")).toBe("server, ~/.sky/config.yaml");
  });
});

describe("reading a file", () => {
  test.each([
    ["", {}],
    ["# nothing\n", {}],
    ["docker:\n  run_options: [--shm-size=8g]\n", { docker: { run_options: ["--shm-size=8g"] } }],
    ["aws:\n  vpc_name: yes\n", { aws: { vpc_name: true } }],
  ])("%j", (text, tree) => {
    expect(readConfig(text, "f")).toEqual(tree);
  });

  test.each([
    ["dokcer:\n  run_options: x\n", "Invalid config YAML f:1: unknown key 'dokcer'. Did you mean 'docker'?"],
    [
      "docker:\n  run_option: x\n",
      "Invalid config YAML f:2: unknown key 'docker.run_option'. Did you mean 'docker.run_options'?",
    ],
    [
      "docker:\n  run_options: {a: 1}\n",
      "Invalid config YAML f:2: 'docker.run_options' must be options as on a command line, or a list of these.",
    ],
    [
      `docker:\n  run_options: [${"-a, ".repeat(101)}]\n`,
      "Invalid config YAML f:2: 'docker.run_options' has more than 100 words or longer ones than 1000.",
    ],
    ["docker: x\n", "Invalid config YAML f:1: 'docker' must be a mapping of keys to values."],
    ["- x\n", "Invalid config YAML f:1: it must be a mapping of keys to values."],
    ["aws: {}\n---\ngcp: {}\n", "Invalid config YAML f: it must be one document."],
    ["aws: {}\naws: {}\n", "f:2"],
    ["constructor: 1\n", "Invalid config YAML f:1: unknown key 'constructor'"],
  ])("%j is refused", (text, message) => {
    expect(() => readConfig(text, "f")).toThrow(message);
  });
});

describe("--config key=value", () => {
  test("later ones win, values are YAML", () => {
    const tree = readOverrides(["docker.run_options=[-a, -b]", "aws.x=1", "aws.x=two words"]);
    expect(tree).toEqual({ docker: { run_options: ["-a", "-b"] }, aws: { x: "two words" } });
    expect(runOptionsOf(readOverrides(["docker.run_options=--shm-size=8g --label 'a b'"]))).toEqual([
      "--shm-size=8g",
      "--label",
      "a b",
    ]);
  });

  test.each(["nothing", "=x", "a..b=1", "aws.__proto__.x=1", " =1"])("%j is refused", (option) => {
    expect(() => readOverrides([option])).toThrow(/^Invalid config override: .*Please use the format: key=value/);
  });

  test("an unknown key names its near match", () => {
    expect(() => readOverrides(["dockr.run_options=x"])).toThrow("unknown key 'dockr'. Did you mean 'docker'?");
  });
});

test("a server takes nothing from a client that only it may say, and warns where that differs", () => {
  const server = { allowed_clouds: ["ssh"], docker: { run_options: ["-s"] } };
  const client = {
    allowed_clouds: ["aws"],
    admin_policy: "http://evil.example",
    docker: { run_options: ["-c"] },
    jobs: { controller: { consolidation_mode: true, other: 1 } },
  };
  const { tree, warning } = configForRequest(server, client);
  expect(tree).toEqual({
    allowed_clouds: ["ssh"],
    docker: { run_options: ["-c"] },
    jobs: { controller: { other: 1 } },
  });
  expect(warning).toMatch(
    /^The following keys \(\['allowed_clouds', 'admin_policy', 'jobs.controller.consolidation_mode'\]\) have different values in the client SkyPilot config with the server and will be ignored/,
  );
  expect(configForRequest(server, { allowed_clouds: ["ssh"] }).warning).toBeNull();
});

test("every section says whether it does anything here", () => {
  expect(idleReason("docker.run_options")).toBeNull();
  expect(idleReason("aws.vpc_name")).toMatch(/cloud/);
  expect([...configSections].filter(([, { idle }]) => idle === undefined).map(([name]) => name)).toEqual([
    "admin_policy",
    "docker",
  ]);
});
