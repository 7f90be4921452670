/** `sky gate` and its other end: the mark, both directions, noise before it, and what happens when nobody answers. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex, PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { gateMark, gateSocketFailed, runGate } from "./gate.ts";
import { awaitMark, gateCommand } from "./gate-call.ts";

let dir: string;
let socket: string;
let server: Server;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "sky-gate-"));
  socket = join(dir, "api.sock");
  server = createServer({ allowHalfOpen: true }, (peer) => {
    peer.on("error", () => undefined);
    peer.pipe(peer);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});
afterEach(() => {
  server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function text(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

test("the mark comes first, then every byte, also when the input ends early", async () => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const answer = text(output);
  const code = runGate(socket, input, output, new PassThrough());
  const data = randomBytes(3_000_000);
  input.end(data);
  expect(await code).toBe(0);
  expect((await answer).equals(Buffer.concat([Buffer.from(gateMark), data]))).toBe(true);
});

test("no socket: an exit code of its own, and the reason", async () => {
  const errors = new PassThrough();
  const code = await runGate(join(dir, "none"), new PassThrough(), new PassThrough(), errors);
  expect(code).toBe(gateSocketFailed);
  expect(String(errors.read())).toContain(`cannot reach ${join(dir, "none")}: ENOENT`);
});

test("the coordinator ends: the gate ends", async () => {
  server.close();
  const ending = createServer((peer) => peer.end("bye"));
  const other = join(dir, "ending.sock");
  await new Promise<void>((resolve) => ending.listen(other, resolve));
  const output = new PassThrough();
  const answer = text(output);
  expect(await runGate(other, new PassThrough(), output, new PassThrough())).toBe(0);
  expect((await answer).toString()).toBe(`${gateMark}bye`);
  ending.close();
});

test("noise before the mark is dropped, what follows it is kept", async () => {
  const far = new PassThrough();
  const stream = Duplex.from({ readable: far, writable: new PassThrough() });
  far.write("motd\nnoise ");
  const waiting = awaitMark(stream, new Promise(() => undefined));
  far.write(gateMark.slice(0, 4));
  far.write(`${gateMark.slice(4)}first`);
  await waiting;
  far.end(" second");
  expect((await text(stream)).toString()).toBe("first second");
});

test("a command that ends before the mark, or prints without end", async () => {
  const quiet = Duplex.from({ readable: new PassThrough(), writable: new PassThrough() });
  await expect(awaitMark(quiet, Promise.resolve(127))).rejects.toThrow("exit code 127");
  const far = new PassThrough();
  const loud = Duplex.from({ readable: far, writable: new PassThrough() });
  far.end(Buffer.alloc(300 * 1024, "x"));
  await expect(awaitMark(loud, new Promise(() => undefined))).rejects.toThrow("prints without end");
});

test("the command's words are quoted for any shell", () => {
  expect(gateCommand("sky", "/run/sky-coordinator/api.sock")).toBe("sky gate --socket /run/sky-coordinator/api.sock");
  expect(gateCommand("/opt/my sky/it's", "/run/$(x)")).toBe(`'/opt/my sky/it'\\''s' gate --socket '/run/$(x)'`);
});
