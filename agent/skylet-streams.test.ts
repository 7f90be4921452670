/** Who may ask for files on the users' socket, and what comes back, over real sockets at both ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { ClientChannel } from "ssh2";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../test/help/until.ts";
import type { Uid } from "../shared/ids.ts";
import type { LedgerEntry } from "./core/state.ts";
import { CommandRefused } from "./link.ts";
import { SkyletStreams } from "./skylet-streams.ts";
import { UserLog } from "./user-log.ts";

const uid = 1001 as Uid;
const attempt = "abcd-1" as never;
let root = "";
let server: Server;
let phase: LedgerEntry["phase"] = "go";
/** The coordinator's end of what was opened. */
const heads: Socket[] = [];
const asked: string[] = [];
let refusal: Error | null = null;

function streams(): SkyletStreams {
  const no = async (): Promise<never> => await Promise.reject(new Error("not asked for here"));
  return new SkyletStreams(
    {
      entry: (id) => (id === attempt ? ({ wanted: { uid }, phase } as LedgerEntry) : undefined),
      openStream: no,
      openPayload: no,
      openFiles: async (id) => {
        asked.push(id);
        if (refusal !== null) {
          throw refusal;
        }
        const [near, far] = await pair();
        heads.push(far);
        return near as unknown as ClientChannel;
      },
      streamFailed: () => undefined,
    },
    new UserLog(pino({ level: "silent" })),
  );
}

/** Two connected sockets. */
async function pair(): Promise<[Socket, Socket]> {
  const taken = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const near = connect({ path: join(root, "sock"), allowHalfOpen: true });
  near.on("error", () => undefined);
  return [near, await taken];
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "sky-files-"));
  server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(join(root, "sock"), resolve));
  [heads.length, asked.length, refusal] = [0, 0, null];
  phase = "go";
});

afterEach(() => {
  heads.forEach((head) => head.destroy());
  server.close();
  rmSync(root, { recursive: true });
});

/** What the program at the user's end has received, once its connection has ended. */
async function receivedBy(who: Uid, id = attempt as string): Promise<string> {
  const [near, far] = await pair();
  let text = "";
  near.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  const closed = new Promise((resolve) => near.once("close", resolve));
  near.on("end", () => near.end());
  near.write("a question\n");
  await streams().carry(who, { type: "hello", role: "files", attempt: id }, far);
  await closed;
  return text;
}

test("questions and answers pass raw both ways, and the end of one side ends the other", async () => {
  const [near, far] = await pair();
  let text = "";
  near.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  await streams().carry(uid, { type: "hello", role: "files", attempt }, far);
  const head = heads[0] as Socket;
  near.write("question");
  let heard = "";
  head.on("data", (chunk: Buffer) => {
    heard += chunk.toString();
    head.write("answer");
  });
  await until(() => heard === "question" && text === "answer", "both ways");
  near.destroy();
  await until(() => head.readableEnded || head.destroyed, "the coordinator's end to hear of it");
  expect(asked).toEqual([attempt]);
});

test("another user's attempt, one that has ended and one that is not there are refused and never asked for", async () => {
  expect(await receivedBy(1002)).toMatch(/^X.*not a job of this user/su);
  expect(await receivedBy(uid, "abcd-2")).toMatch(/^X.*not a job of this user/su);
  phase = "exited";
  expect(await receivedBy(uid)).toMatch(/^X.*not a job of this user/su);
  expect(asked).toEqual([]);
});

test("a coordinator that does not know the command is named; one that is away is asked again by whoever needs it", async () => {
  refusal = new CommandRefused("Unable to exec");
  expect(await receivedBy(uid)).toMatch(/^X.*older version/su);
  refusal = new Error("there is no connection to the coordinator");
  expect(await receivedBy(uid)).toBe("");
});
