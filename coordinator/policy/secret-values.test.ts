/** `SECRET:name,key`: what is put in, from where, what is left as it is, and how a missing one is told. */
import { expect, test } from "vitest";
import { MemoryPolicyStore } from "../../test/help/memory-policy-store.ts";
import { hasReferences, withSecrets } from "./secret-values.ts";

const bare = { setup: null, run: "true" };

async function storeWith(): Promise<MemoryPolicyStore> {
  const store = new MemoryPolicyStore();
  await store.saveSecret({ project: null, name: "registry" }, { user: "all", password: "shared" });
  await store.saveSecret({ project: "nlp", name: "registry" }, { password: "nlp's" });
  return store;
}

test("the project's own key stands over everybody's, and goes the way of secrets", async () => {
  const store = await storeWith();
  const payload = {
    ...{ ...bare, envs: { USER: "SECRET:registry,user", PASSWORD: "SECRET: registry , password ", PLAIN: "x" } },
    secrets: { TOKEN: "SECRET:registry,password", OWN: "y" },
  };
  expect(await withSecrets(payload, "nlp", store)).toEqual({
    ...{ ...bare, envs: { PLAIN: "x" } },
    secrets: { TOKEN: "nlp's", OWN: "y", USER: "all", PASSWORD: "nlp's" },
  });
  expect((await withSecrets(payload, null, store)).secrets).toMatchObject({ PASSWORD: "shared" });
  // What was stored is never changed.
  expect(payload.envs.USER).toBe("SECRET:registry,user");
});

test("a secret of the task stands over a variable of the same name", async () => {
  const store = await storeWith();
  const made = await withSecrets({ ...bare, envs: { A: "SECRET:registry,user" }, secrets: { A: "own" } }, null, store);
  expect([made.envs, made.secrets]).toEqual([{}, { A: "own" }]);
});

test("what only looks like it is plain text", async () => {
  const store = await storeWith();
  const envs = {
    A: "SECRET",
    B: "SECRET:x",
    C: "secret:registry,user",
    D: "a SECRET:registry,user",
    E: "SECRET:,user",
  };
  expect(hasReferences({ envs })).toBe(false);
  const payload = { ...bare, envs };
  expect(await withSecrets(payload, "nlp", store)).toBe(payload);
});

test("a missing secret, key or name is told with the variable, and never with another's value", async () => {
  const store = await storeWith();
  const of = (value: string): Promise<unknown> => withSecrets({ ...bare, envs: { MYPASSWORD: value } }, "cv", store);
  await expect(of("SECRET:my-secret,password")).rejects.toThrow('MYPASSWORD: secret "my-secret" has no key "password"');
  await expect(of("SECRET:registry,token")).rejects.toThrow('MYPASSWORD: secret "registry" has no key "token"');
  await expect(of("SECRET:registry,toString")).rejects.toThrow("has no key");
  await expect(of("SECRET:nlp/registry,password")).rejects.toThrow('secret "nlp/registry" has no key');
});
