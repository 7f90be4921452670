/** What the person reads when a call could not be made, by how far the connection came. */
import { describe, expect, it } from "vitest";
import { SkyError } from "../../shared/errors.ts";
import { failureOf, replyFailure, Unavailable } from "./replies.ts";
import { explained, type Patience, persist } from "./requests.ts";
import { LostConnection, Transport } from "./transport.ts";

const change: Patience = { limitMs: 0, say: () => undefined, afterGivingUp: "`sky queue lab` shows it." };
const reading: Patience = { ...change, afterGivingUp: null };
const refused = new SkyError("ConnectionError", "Cannot connect to alice@head:22: nothing listens.", "Check sshd.");

it("nothing that a terminal would act on comes out of a failure, whoever has put it in", () => {
  const nasty = "Node 'n1'\u001b]0;x\u0007\u001b[2J\u009b31m\u202e says:\n\tno\r";
  const texts = [
    failureOf(JSON.stringify({ object: "o", type: "ServerUnavailableError", message: nasty, hint: nasty }), "FAILED"),
    replyFailure("lab", 500, JSON.stringify({ detail: nasty })),
    replyFailure("lab", 422, JSON.stringify({ detail: { type: "ValueError", message: nasty, hint: nasty } })),
  ].flatMap((failure) => [failure.message, failure.hint ?? ""]);
  for (const text of texts) {
    expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
  }
  expect(texts[0]).toContain("says:\n\tno");
});

describe("explained", () => {
  it.each([
    ["the way itself", new LostConnection(refused, "nowhere"), change, refused.message, "Check sshd."],
    ["no coordinator", new LostConnection(refused, "head"), reading, refused.message, "Check sshd."],
    [
      "a change that was cut off and cannot be repeated",
      new LostConnection(refused, "coordinator"),
      change,
      `The connection was lost. ${refused.message}`,
      "`sky queue lab` shows it.",
    ],
    [
      "a cut",
      new LostConnection(new Error("read ECONNRESET"), "coordinator"),
      change,
      "Lost the connection to cluster 'lab': read ECONNRESET. Gave up after 3 s.",
      "`sky queue lab` shows it.",
    ],
    [
      "a full disk",
      new Unavailable("The coordinator's disk is nearly full.", "An admin must free space there."),
      change,
      "The coordinator of cluster 'lab' cannot serve now: The coordinator's disk is nearly full.",
      "An admin must free space there.",
    ],
  ])("%s", (_, error, patience, message, hint) => {
    expect(explained("lab", error, patience, 3000)).toMatchObject({ message, hint });
  });
});

describe("persist", () => {
  const transport = new Transport("lab", () => Promise.reject(new Error("not used")));

  it("tries what may pass until the limit, and nothing else", async () => {
    let tries = 0;
    const said: string[] = [];
    const patience: Patience = { ...reading, limitMs: 150, say: (text) => said.push(text) };
    const failing = persist(transport, patience, async () => {
      tries += 1;
      throw new LostConnection(new Error("cut"), "coordinator");
    });
    await expect(failing).rejects.toThrow("Lost the connection to cluster 'lab': cut. Gave up after 0 s.");
    expect(tries).toBeGreaterThan(1);
    expect(said).toEqual(["Cluster 'lab': cut; trying again (for up to 1 s more)..."]);
    tries = 0;
    const refusing = persist(transport, patience, async () => {
      tries += 1;
      throw refused;
    });
    await expect(refusing).rejects.toBe(refused);
    expect(tries).toBe(1);
  });
});

describe("replies", () => {
  it.each([
    [
      403,
      '{"detail":{"type":"PermissionDeniedError","message":"Not you.","hint":"Ask."}}',
      "PermissionDeniedError",
      "Not you.",
    ],
    [400, '{"error":"version_mismatch","message":"Too old."}', "ValueError", "Too old."],
    [422, '{"detail":"no"}', "ValueError", "no"],
    [500, "<html>", "InternalError", "Cluster 'lab' answered with HTTP status 500"],
    [404, '{"detail":{"type":"NewKind","message":"x"}}', "InternalError", "x"],
  ])("%i %s", (status, text, type, message) => {
    expect(replyFailure("lab", status, text)).toMatchObject({ type, message });
  });

  it.each([503, 429])("%i may pass", (status) => {
    const text = '{"detail":{"type":"ServerUnavailableError","message":"Busy.","hint":"Wait."}}';
    const error = replyFailure("lab", status, text);
    expect(error).toBeInstanceOf(Unavailable);
    expect(error).toMatchObject({ message: "Busy", hint: "Wait." });
  });

  it.each(["UserRequestRejectedByPolicy", "InvalidPolicyError"])("what policies say keeps its name: %s", (type) => {
    const text = JSON.stringify({ object: "", type, message: "no", hint: null });
    expect(failureOf(text, "FAILED")).toMatchObject({ type, message: "no" });
    expect(replyFailure("lab", 400, JSON.stringify({ detail: { type, message: "no" } }))).toMatchObject({ type });
  });

  it("a request that failed because the store was away may pass too", () => {
    const text = JSON.stringify({ object: "", type: "ServerUnavailableError", message: "Redis.", hint: null });
    expect(failureOf(text, "FAILED")).toBeInstanceOf(Unavailable);
    expect(failureOf("null", "CANCELLED")).toMatchObject({ type: "RequestCancelled" });
  });
});
