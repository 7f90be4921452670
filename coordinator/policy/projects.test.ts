/** Projects: who is in which, which one counts, and the scopes that bind; what is mistyped is told with what there is. */
import { expect, test } from "vitest";
import { coordinatorConfigSchema } from "../config.ts";
import { isKnownScope, projectFor, projectsOf, scopeFor, scopesOf, scopesOfUser } from "./projects.ts";

const place = coordinatorConfigSchema.parse({
  ...{ cluster: "lab", host_key: "/k", redis: { socket: "/r" }, state_dir: "/s", nodes: [{ name: "n", key: "k" }] },
  policies: {
    tenant: "uni",
    projects: [
      { name: "nlp", group: "prof-ada", department: "cs" },
      { name: "vision" },
      { name: "bio", department: "med" },
    ],
  },
});

function account(...groups: string[]) {
  return { uid: 1001, gid: 1001, name: "eve", home: "/h", shell: "/bin/sh", groups };
}

test("a user is in the projects of their groups, in the config's order; the first counts for a task that names none", () => {
  expect(projectsOf(account("bio", "prof-ada", "nlp"), place)).toEqual(["nlp", "bio"]);
  expect(projectFor(account("bio", "prof-ada"), null, place)).toBe("nlp");
  expect(projectFor(account("bio", "prof-ada"), "bio", place)).toBe("bio");
  expect(projectFor(account("users"), null, place)).toBeNull();
});

test("another's project is refused, whether it exists or not", () => {
  expect(() => projectFor(account("bio"), "nlp", place)).toThrow("Project 'nlp' is none of eve's.");
  expect(() => projectFor(account("bio"), "nosuch", place)).toThrow("Project 'nosuch' is none of eve's.");
  // The group's name is not the project's, and a project's name no group.
  expect(() => projectFor(account("nlp"), "nlp", place)).toThrow("is none of eve's");
});

test("scopes go from the widest to the narrowest", () => {
  const base = ["system builtin", "tenant uni", "cluster lab"];
  const shown = (scopes: { level: string; id: string }[]): string[] => scopes.map(({ level, id }) => `${level} ${id}`);
  expect(shown(scopesOf("nlp", place))).toEqual([...base, "department cs", "project nlp"]);
  expect(shown(scopesOf("vision", place))).toEqual([...base, "project vision"]);
  expect(shown(scopesOf(null, place))).toEqual(base);
  expect(shown(scopesOfUser(account("bio", "prof-ada"), place))).toEqual([
    ...[...base, "department cs", "project nlp", "department med", "project bio"],
  ]);
});

test("a document's place is found, or refused with what there is", () => {
  const of = (level: "tenant" | "cluster" | "department" | "project", id: string | null) => () =>
    scopeFor({ level, id, kinds: [] }, place);
  expect([of("tenant", null)(), of("cluster", null)(), of("department", "med")()]).toEqual([
    { level: "tenant", id: "uni" },
    { level: "cluster", id: "lab" },
    { level: "department", id: "med" },
  ]);
  expect(of("project", "nlpp")).toThrow("target: there is no project 'nlpp' here.");
  expect(of("cluster", "other")).toThrow("target: there is no cluster 'other' here.");
  expect(of("project", null)).toThrow("target: say which project the policy is for.");
  expect(isKnownScope({ level: "department", id: "gone" }, place)).toBe(false);
});
