/** Registration files: SkyPilot On-prem's schema and texts, the optional keys, and folders with faults in them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findCluster, listClusters, readRegistration, requireFilledIn } from "./registered.ts";

const plain = (name: string, user = "alice"): string =>
  `cluster:\n  ips: [10.0.0.1, 10.0.0.2]\n  name: ${name}\nauth:\n  ssh_user: ${user}\n  ssh_private_key: ~/.ssh/id\n`;

function faultOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("accepted");
}

describe("one file", () => {
  test("the old schema", () => {
    const text = `${plain("lab")}python: /usr/bin/python3\n`;
    expect(readRegistration(text, "/h/.sky/local/lab.yml", "/h")).toEqual({
      name: "lab",
      file: "/h/.sky/local/lab.yml",
      user: "alice",
      hosts: [
        { host: "10.0.0.1", user: null, port: null },
        { host: "10.0.0.2", user: null, port: null },
      ],
      headIp: "10.0.0.1",
      privateKey: "/h/.ssh/id",
      port: null,
      jumpHost: null,
      hostKey: null,
      transport: "ssh2",
      socket: "/run/sky-coordinator/api.sock",
      gate: "sky",
    });
  });

  test("the optional keys", () => {
    const text = [
      "cluster:",
      "  name: lab",
      "  ips:",
      "  - {host: head.lab, user: al, port: 2200}",
      "  - node2",
      "auth:",
      "  ssh_user: alice",
      "  port: 2222",
      "  jump_host: al@gate.lab:22",
      "  host_key: ssh-ed25519 AAAAC3Nz head",
      "transport: openssh",
      "coordinator: {socket: /tmp/x/api.sock, gate: /opt/sky/bin/sky}",
    ].join("\n");
    expect(readRegistration(text, "f", "/h")).toMatchObject({
      user: "al",
      port: 2200,
      headIp: "head.lab",
      privateKey: null,
      jumpHost: "al@gate.lab:22",
      hostKey: "ssh-ed25519 AAAAC3Nz head",
      transport: "openssh",
      socket: "/tmp/x/api.sock",
      gate: "/opt/sky/bin/sky",
    });
  });

  test("one bare string for the machines", () => {
    expect(readRegistration("cluster: {name: a, ips: head}\nauth: {ssh_user: u}\n", "f").hosts).toEqual([
      { host: "head", user: null, port: null },
    ]);
  });

  test.each([
    [
      "cluster: {name: a, ips: [h], color: x}\nauth: {ssh_user: u}\n",
      "Invalid cluster YAML: f.yml:1: unknown key 'cluster.color'.",
    ],
    [
      "cluster: {name: a, ips: [h]}\nauth:\n  ssh_user: u\n  prt: 1\n",
      "Invalid cluster YAML: f.yml:4: unknown key 'auth.prt'. Did you mean 'port'?",
    ],
    ["cluster: {name: a}\nauth: {ssh_user: u}\n", "Invalid cluster YAML: f.yml:1: key 'cluster.ips' is missing."],
    ["cluster: {name: a, ips: []}\nauth: {ssh_user: u}\n", "Invalid cluster YAML: f.yml:1: key 'cluster.ips'"],
    [
      "cluster: {name: a, ips: ['-oProxyCommand=x']}\nauth: {ssh_user: u}\n",
      "Invalid cluster YAML: f.yml:1: key 'cluster.ips",
    ],
    [
      "cluster: {name: a, ips: [h]}\nauth: {ssh_user: '-x'}\n",
      "Invalid cluster YAML: f.yml:2: key 'auth.ssh_user': is not a user name.",
    ],
    ["cluster: {name: ../a, ips: [h]}\nauth: {ssh_user: u}\n", "Invalid cluster YAML: f.yml:1: key 'cluster.name'"],
    [
      "cluster: {name: a, ips: [h]}\nauth: {ssh_user: u, jump_host: 'a b'}\n",
      "Invalid cluster YAML: f.yml:2: key 'auth.jump_host': 'a b' is not a jump host; write user@host:port.",
    ],
    [
      "cluster: {name: a, ips: [h]}\nauth: {ssh_user: u}\ntransport: telnet\n",
      "Invalid cluster YAML: f.yml:3: key 'transport'",
    ],
    ["", "Invalid cluster YAML: f.yml:1: key 'cluster' is missing."],
    ["a: [", "Invalid cluster YAML: f.yml:"],
  ])("refuses %j", (text, start) => {
    expect(faultOf(() => readRegistration(text, "f.yml")).slice(0, start.length)).toBe(start);
  });

  test.each([
    ["PLACEHOLDER", "~/.ssh/id"],
    ["alice", "PLACEHOLDER"],
  ])("PLACEHOLDER %s %s", (user, key) => {
    const cluster = readRegistration(
      `cluster: {name: a, ips: [h]}\nauth: {ssh_user: ${user}, ssh_private_key: ${key}}\n`,
      "/l/a.yml",
    );
    const text = faultOf(() => requireFilledIn(cluster));
    expect(text).toContain("`ssh_user` and `ssh_private_key` under the `auth`");
    expect(text).toContain("/l/a.yml");
  });
});

describe("the folder", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sky-local-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);

  test("both endings count, others and folders do not", () => {
    put("b.yaml", plain("b"));
    put("a.yml", plain("a"));
    put("c.yml.bak", plain("c"));
    put(".d.yml", plain("d"));
    mkdirSync(join(folder, "e.yml"));
    const { clusters, problems } = listClusters(folder);
    expect(clusters.map((cluster) => cluster.name)).toEqual(["a", "b"]);
    expect(problems).toEqual([]);
    expect(findCluster(folder, "b")?.file).toBe(join(folder, "b.yaml"));
    expect(findCluster(folder, "c")).toBeNull();
  });

  test("no folder is no cluster", () => {
    expect(listClusters(join(folder, "none"))).toEqual({ clusters: [], problems: [] });
    expect(findCluster(join(folder, "none"), "a")).toBeNull();
  });

  test("the name in the file counts, not the file's", () => {
    put("other.yml", plain("lab"));
    expect(findCluster(folder, "lab")?.name).toBe("lab");
  });

  test("PLACEHOLDER is listed, but cannot be used", () => {
    put("lab.yml", plain("lab", "PLACEHOLDER"));
    expect(listClusters(folder).clusters).toHaveLength(1);
    expect(faultOf(() => findCluster(folder, "lab"))).toContain("Please fill aforementioned fields in");
  });

  test("two files with one name: both paths are named, other clusters work", () => {
    put("a.yml", plain("lab"));
    put("b.yaml", plain("lab"));
    put("c.yml", plain("other"));
    const text = faultOf(() => findCluster(folder, "lab"));
    expect(text).toContain("Multiple configs in ~/.sky/local/ have the same cluster name 'lab'.");
    expect(text).toContain(join(folder, "a.yml"));
    expect(text).toContain(join(folder, "b.yaml"));
    expect(findCluster(folder, "other")?.name).toBe("other");
    expect(listClusters(folder).problems.map((problem) => problem.message)).toEqual([text]);
  });

  test("a damaged file is a problem of its own cluster only", () => {
    put("bad.yml", "cluster: [\n");
    put("good.yml", plain("good"));
    const { clusters, problems } = listClusters(folder);
    expect(clusters.map((cluster) => cluster.name)).toEqual(["good"]);
    expect(problems[0]?.message).toContain(join(folder, "bad.yml"));
    expect(findCluster(folder, "good")?.name).toBe("good");
    expect(faultOf(() => findCluster(folder, "bad"))).toContain("Invalid cluster YAML: ");
  });
});
