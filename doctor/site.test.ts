/** What the doctor takes from configs: all that can be used, but never a guess at whom the machine may run as. */
import { expect, test } from "vitest";
import { recorded } from "../test/help/recorded-probes.ts";
import { usersPolicySchema } from "../shared/users-policy.ts";
import { readSite } from "./site.ts";

const agentFile = "/etc/sky-onprem/agent.yaml";
const headFile = "/etc/sky-onprem/coordinator.yaml";
const policyOf = async (files: Record<string, string>): Promise<unknown> =>
  (await readSite(recorded({ files }), agentFile, headFile, null)).policy;
const usual = usersPolicySchema.parse({});

test("the agent's own policy counts, on a head without an agent the coordinator's, without any file the usual one", async () => {
  const agent = { [agentFile]: "node: n1\nusers: {deny: [bob]}\n" };
  const head = { [headFile]: "users: {deny: [carol]}\n" };
  expect(await policyOf({ ...agent, ...head })).toEqual({ ...usual, deny: ["bob"] });
  expect(await policyOf(head)).toEqual({ ...usual, deny: ["carol"] });
  expect(await policyOf({ [agentFile]: "node: n1\n" })).toEqual(usual);
  expect(await policyOf({})).toEqual(usual);
});

test.each([
  ["no YAML", "node: [\n"],
  ["no map", "- 1\n"],
  ["nothing", ""],
  ["a policy with a key that nobody knows", "users: {denny: [bob]}\n"],
  ["a policy of a wrong kind", "users: bob\n"],
  ["no policy", "users:\n"],
])("a config that is %s lets nobody be logged in as", async (_name, text) => {
  expect(await policyOf({ [agentFile]: text })).toBeNull();
});
