/** Cluster files that somebody else wrote, as ansible gets them: nothing in them may be a template or an option. */
import { expect, test } from "vitest";
import { readRegistration } from "../local/registered.ts";
import { type Inventory, inventoryOf } from "./inventory.ts";

const releases = { x64: "/home/admin/sky-onprem-1.0.0-linux-x64.tar.gz" };
const text = (changes: { ips?: unknown; auth?: object; name?: string } = {}): string =>
  JSON.stringify({
    cluster: { ips: changes.ips ?? ["10.0.0.1", { host: "n2", user: "bob", port: 2222 }], name: changes.name ?? "lab" },
    auth: { ssh_user: "root", ssh_private_key: "~/my keys/id", ...changes.auth },
  });
const inventory = (changes?: Parameters<typeof text>[0]): Inventory =>
  inventoryOf(readRegistration(text(changes), "/f.yml", "/home/admin"), releases);

test("the first machine is the head, all are nodes; a key's path may hold blanks", () => {
  const { all } = inventory({ auth: { jump_host: "me@door:2022" } });
  expect(Object.keys(all.children["sky_head"]?.hosts ?? {})).toEqual(["10.0.0.1"]);
  expect(all.children["sky_nodes"]?.hosts["n2"]).toEqual({
    ...{ ansible_host: "n2", ansible_user: "bob", ansible_become: true, ansible_port: 2222 },
  });
  expect(all.vars).toMatchObject({
    ansible_ssh_private_key_file: "/home/admin/my keys/id",
    ansible_ssh_common_args: "-o StrictHostKeyChecking=accept-new -o ProxyJump=me@door:2022",
  });
});

test.each([
  ["a key that is a template", { auth: { ssh_private_key: "{{ lookup('pipe', 'touch /tmp/x') }}" } }],
  ["a key that is a statement", { auth: { ssh_private_key: "/k{% set x = 1 %}" } }],
  ["a key that is a comment", { auth: { ssh_private_key: "/k{# x #}" } }],
  ["a key over two lines", { auth: { ssh_private_key: "/k\nProxyCommand=x" } }],
  ["a user that is a template", { auth: { ssh_user: "{{ x }}" } }],
  ["a user that is an option", { auth: { ssh_user: "-oProxyCommand=x" } }],
  ["a host that is a template", { ips: ["{{ x }}"] }],
  ["a host that is an option", { ips: ["-oProxyCommand=x"] }],
  ["a host of two lines", { ips: ["n1\nn2"] }],
  ["a jump host with a second option", { auth: { jump_host: "door -o ProxyCommand=x" } }],
  ["a name that is a path", { name: "../../etc/cron.d/x" }],
  ["a name that is a template", { name: "{{ x }}" }],
])("%s is refused before ansible sees it", (_name, changes) => {
  expect(() => inventory(changes)).toThrow(/ansible would act on|Invalid cluster YAML/);
});

test("a release in a folder whose name is a template is refused", () => {
  const cluster = readRegistration(text(), "/f.yml", "/home/admin");
  expect(() => inventoryOf(cluster, { x64: "/a/{{ x }}/r.tar.gz" })).toThrow("The path of the release holds");
});
