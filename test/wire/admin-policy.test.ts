/** The wire format of admin policies against recorded bodies: what SkyPilot's client posts, what servers in Python answer. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  answerBody,
  answerText,
  bodyOf,
  type PolicyAnswer,
  type PolicyQuestion,
  questionText,
  readAnswer,
  readQuestion,
  WireFault,
} from "../../shared/admin-policy/wire.ts";

interface Recorded<T> {
  name: string;
  body: string;
  read: T;
}
const recorded = JSON.parse(readFileSync(join(import.meta.dirname, "admin-policy.json"), "utf8")) as {
  requests: Recorded<PolicyQuestion>[];
  replies: Recorded<PolicyAnswer>[];
};

describe.each(recorded.requests)("a request: $name", ({ body, read }) => {
  test("is read, and comes back as the same when it is sent on", () => {
    expect(readQuestion(body)).toEqual(read);
    expect(readQuestion(bodyOf(questionText(read)))).toEqual(read);
  });

  test("its reply has its form", () => {
    const answer = { task: { run: "echo 2" }, config: { a: { b: 1 } } };
    const reply: unknown = JSON.parse(answerBody(answer, body));
    expect(typeof reply).toBe(typeof JSON.parse(body));
    expect(readAnswer(JSON.stringify(reply))).toEqual(answer);
  });
});

test.each(recorded.replies)("a reply is read: $name", ({ body, read }) => {
  expect(readAnswer(body)).toEqual(read);
  expect(readAnswer(bodyOf(answerText(read)))).toEqual(read);
});

test("what is sent is JSON inside a JSON string, with SkyPilot's fields and YAML inside", () => {
  const [{ read }] = recorded.requests as [Recorded<PolicyQuestion>];
  const inner = JSON.parse(JSON.parse(bodyOf(questionText(read))) as string) as Record<string, unknown>;
  expect(inner).toEqual({
    task: "name: sky-cmd\nresources:\n  cpus: 1+\n  disk_size: 256\nnum_nodes: 1\nrun: |\n  echo a\n  echo 'b: c'\nenvs:\n  A: \"1\"\n",
    skypilot_config: "kubernetes:\n  allowed_contexts:\n    - one\n",
    request_name: "launch",
    request_options: { cluster_name: "test", idle_minutes_to_autostop: null, down: false, dryrun: false },
    at_client_side: false,
    user: "id: f0e1d2c3\nname: ann\n",
    client_api_version: 56,
    client_version: "0.13.0",
  });
});

test.each([
  ["nothing", ""],
  ["no JSON", "<html>"],
  ["a number", "7"],
  ["text that is no JSON", '"hello"'],
  ["three times encoded", JSON.stringify(JSON.stringify(JSON.stringify({ task: "a: 1", skypilot_config: "" })))],
  ["an empty object", "{}"],
  ["without a config", '{"task":"run: a"}'],
  ["a task that is null", '{"task":null,"skypilot_config":"{}"}'],
  ["a task that is a list", '{"task":"- a","skypilot_config":"{}"}'],
  ["a task that is a number", '{"task":7,"skypilot_config":"{}"}'],
  ["YAML that is none", '{"task":"a: [","skypilot_config":"{}"}'],
  ["a tag that makes objects in Python", '{"task":"!!python/object:os.system {}","skypilot_config":"{}"}'],
])("no answer is made of %s", (_, body) => {
  expect(() => readAnswer(body)).toThrow(WireFault);
  expect(() => readQuestion(body)).toThrow(WireFault);
});

const noise = fc.oneof(
  fc.string(),
  fc.json(),
  fc.json().map((text) => JSON.stringify(text)),
  fc
    .record({ task: fc.oneof(fc.string(), fc.jsonValue()), skypilot_config: fc.oneof(fc.string(), fc.jsonValue()) })
    .map((value) => JSON.stringify(value)),
);

test("whatever comes is an answer or a fault, and an answer is a task and a config", () => {
  fc.assert(
    fc.property(noise, (body) => {
      for (const read of [readAnswer, readQuestion]) {
        try {
          const { task, config } = read(body);
          expect([typeof task, typeof config, Array.isArray(task)]).toEqual(["object", "object", false]);
        } catch (error) {
          expect(error).toBeInstanceOf(WireFault);
        }
      }
    }),
    { numRuns: 500 },
  );
});

const scalar = fc.oneof(
  fc.string(),
  fc.constantFrom(
    "yes",
    "1:30",
    "1e3",
    "0x1f",
    "null",
    "~",
    "2026-01-01",
    "- a",
    "a: b",
    "#c",
    "",
    " a ",
    "a\n\nb\n",
    "é\u2028",
  ),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const tree = fc.dictionary(
  fc.string({ minLength: 1 }).filter((key) => key !== "__proto__" && key !== "<<"),
  fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { depthSize: "small" },
      scalar,
      fc.array(tie("node")),
      fc.dictionary(fc.constantFrom("a", "b c", "1"), tie("node")),
    ),
  })).node,
);

test("values survive the way through YAML", () => {
  fc.assert(
    fc.property(tree, tree, (task, config) => {
      expect(readAnswer(bodyOf(answerText({ task, config })))).toEqual({ task, config });
    }),
    { numRuns: 40 },
  );
});
