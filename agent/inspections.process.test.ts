/** An admin's questions on a node: what the program says arrives, and whoever asks cannot have many of them at once. */
import { PassThrough } from "node:stream";
import { pino } from "pino";
import type { ClientChannel } from "ssh2";
import { expect, test } from "vitest";
import type { Inspect } from "../shared/agent-wire.ts";
import { until } from "../test/help/until.ts";
import { Inspections, type InspectionsOwner } from "./inspections.ts";
import { type Reporter, startReporter } from "./spawn.ts";

const question = (number: number): Inspect => ({
  ...{ type: "inspect", id: String(number).padStart(16, "q") },
  request: { kind: "doctor", users: [] },
});

/** An agent whose doctor is this script; `launch` may start it in another way. */
function agentWith(
  script: string,
  launch: InspectionsOwner["launch"] = (words, text) => startReporter(words, text, null),
) {
  const channels = new Map<string, PassThrough>();
  const failures = new Map<string, string>();
  const inspections = new Inspections({
    doctor: { program: "-e", configFile: "/nonexistent" },
    launch: ([node = ""], text, id) => launch([node, "-e", script], text, id),
    openStream: async (id) => {
      const channel = new PassThrough();
      channels.set(id, channel);
      return channel as unknown as ClientChannel;
    },
    failed: (id, error) => failures.set(id, error),
    log: pino({ level: "silent" }),
  });
  return { inspections, channels, failures };
}

test("the question goes in, the answer comes out, and the next one is answered", async () => {
  const { inspections, channels, failures } = agentWith("process.stdin.pipe(process.stdout)");
  for (const number of [1, 2]) {
    const asked = question(number);
    const running = inspections.start(asked);
    await until(() => channels.has(asked.id), "the stream");
    let said = "";
    channels.get(asked.id)?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    await running;
    expect(JSON.parse(said)).toEqual(asked.request);
  }
  expect(failures.size).toBe(0);
});

test("who asks and goes away at once has not more than one program running", async () => {
  // As a unit of systemd, which takes a while to end.
  let running = 0;
  const ends: (() => void)[] = [];
  const slow = (): Reporter => {
    running += 1;
    let over = (): void => {};
    const ended = new Promise<void>((resolve) => {
      over = resolve;
    });
    const end = (): void => {
      ends.push(() => {
        running -= 1;
        over();
      });
    };
    return { output: new PassThrough(), ended, end };
  };
  const { inspections, channels, failures } = agentWith("", slow);
  const first = inspections.start(question(0));
  await until(() => channels.size === 1, "the first stream");
  channels.get(question(0).id)?.destroy();
  await until(() => ends.length > 0, "the first to be ended");
  for (let number = 1; number < 20; number += 1) {
    await inspections.start(question(number));
  }
  expect([running, failures.size]).toEqual([1, 19]);
  ends.shift()?.();
  await first;
  void inspections.start(question(99));
  await until(() => channels.has(question(99).id), "the next stream");
});

test.each([
  ["prints without end", "setInterval(() => process.stdout.write('x'.repeat(1e6)), 0)"],
  ["neither prints nor ends", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6)"],
])("one that %s is over when nobody listens any more", async (_name, script) => {
  const { inspections, channels } = agentWith(script);
  const running = inspections.start(question(1));
  await until(() => channels.size === 1, "the stream");
  channels.get(question(1).id)?.destroy();
  await running;
});
