/**
 * What an ill-willed user can run: a small program with a user's own ids that speaks to our sockets, byte by byte. It
 * has no more rights than any job of that user, and its report is one JSON value on stdout. Used by the attack tests.
 */
import { runAs } from "./sky.ts";
import type { TestUser } from "./users.ts";

/** Words that every attack may use. `arg` is what the test passed; `report` ends the program. */
const prelude = `
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
const arg = JSON.parse(readFileSync(0, "utf8"));
const report = (value) => process.stdout.write(JSON.stringify(value), () => process.exit(0));
const open = (path) => new Promise((resolve, reject) => {
  const socket = connect(path);
  socket.got = "";
  socket.on("data", (chunk) => { socket.got = (socket.got + chunk).slice(-1e6); });
  socket.on("error", reject);
  socket.on("close", () => { socket.gone = true; });
  socket.once("connect", () => resolve(socket));
});
const say = (socket, value) => socket.write(JSON.stringify(value) + "\\n");
const control = async (path, version) => {
  const socket = await open(path);
  say(socket, { type: "hello", role: "control", version, pid: process.pid });
  return socket;
};
const frames = (socket) => socket.got.split("\\n").slice(0, -1).map((line) => JSON.parse(line));
const waitFor = async (look, limit = 10_000) => {
  for (const end = Date.now() + limit; Date.now() < end; await delay(10)) {
    const found = look();
    if (found) return found;
  }
  return null;
};
const call = (path, method, url, body, headers = {}) => new Promise((resolve, reject) => {
  const text = body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body);
  const all = { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...headers };
  const sent = request({ socketPath: path, method, path: url, headers: all }, (reply) => {
    let got = "";
    reply.on("data", (chunk) => { got += chunk; });
    reply.on("end", () => resolve({ status: reply.statusCode, headers: reply.headers, body: got }));
  });
  sent.on("error", reject);
  sent.end(text);
});
const result = async (path, method, url, body, headers) => {
  const first = await call(path, method, url, body, headers);
  const id = first.headers["x-skypilot-request-id"];
  return id === undefined ? first : call(path, "GET", "/api/get?request_id=" + id);
};
`;

/** Runs JavaScript as the user; returns what it reported. */
export async function attack<T>(user: TestUser, arg: unknown, source: string, limitMs = 60_000): Promise<T> {
  const argv = [process.execPath, "--input-type=module", "-e", prelude + source];
  const ended = await runAs(user, argv, { input: JSON.stringify(arg), limitMs });
  if (ended.code !== 0 || ended.stdout === "") {
    throw new Error(`the attack itself failed: ${ended.stdout}\n${ended.stderr}`);
  }
  return JSON.parse(ended.stdout) as T;
}
