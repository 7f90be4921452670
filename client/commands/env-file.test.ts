/** Files of variables: what python-dotenv makes of them, and errors that name the line and never the value. */
import { expect, test } from "vitest";
import { parseEnvFile } from "./env-file.ts";

const parse = (text: string): [string, string][] => parseEnvFile(text, "a.env", { HOME: "/home/alice" });

test.each([
  ["A=1\nB = two words \n", { A: "1", B: "two words" }],
  ["# note\n\nexport A=x # why\nB=a#b\nC=#x\nD=", { A: "x", B: "a#b", C: "", D: "" }],
  ["A='a b' # why\nB=\"x\\ty\\n\\\"z\\\"\"\nC='it\\'s \\n'", { A: "a b", B: 'x\ty\n"z"', C: "it's \\n" }],
  ['A="one\ntwo = 2\n# three"\nB=4', { A: "one\ntwo = 2\n# three", B: "4" }],
  ["A=x\r\nB=${A}/${HOME}/${NONE}${NONE:-y}\r\n", { A: "x", B: "x//home/alice/y" }],
  ["A=1\nA=2", { A: "2" }],
  ["\ufeffA=\\n $HOME", { A: "\\n $HOME" }],
  ["A=a=b", { A: "a=b" }],
])("%j", (text, values) => {
  expect(Object.fromEntries(parse(text))).toEqual(values);
});

test.each([
  ["A", "a.env, line 1: expected KEY=VALUE."],
  ["# x\n1A=hunter2", "a.env, line 2: expected KEY=VALUE."],
  ["A=1\nB='hunter2\nC=2\n", "a.env, line 2: the value's quote is not closed."],
  ["A='x' hunter2", "a.env, line 1: there is text after the value's closing quote."],
])("refused: %j", (text, message) => {
  expect(() => parse(text)).toThrow(message);
});
