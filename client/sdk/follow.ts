/**
 * Following a job's text: POST /logs streams it, GET /api/get gives the exit code. When the connection is lost the stream
 * is opened again where it stopped, for up to a minute without progress; nobody's job is touched by any of this. Bytes go
 * to the caller as they came. Used by sdk/calls.ts.
 */
import { randomUUID } from "node:crypto";
import type { z } from "zod";
import { headers, type logsBodySchema, logsResultSchema } from "../../shared/api.ts";
import { callHeaders, fetchResult, type Patience, persist } from "./requests.ts";
import { replyFailure } from "./replies.ts";
import { LostConnection, type Transport } from "./transport.ts";

/** How following ended: with the exit code to end with, or because the person had seen enough. */
export type FollowResult = { kind: "ended"; exitCode: number } | { kind: "stopped" };

/** Milliseconds of trying again since the last byte that came. */
const reconnectLimitMs = 60_000;
const errorBytesMax = 64 * 1024;

async function* chunksOf(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* stream;
  } catch (error) {
    throw new LostConnection(error, "coordinator");
  }
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = "";
  for await (const chunk of chunksOf(stream)) {
    text += chunk.toString("utf8");
    if (text.length > errorBytesMax) {
      break;
    }
  }
  return text;
}

/** One following: what was asked, and how much of the text has come. */
interface Following {
  transport: Transport;
  body: z.input<typeof logsBodySchema> & { tail: number };
  /** One id for all tries: the coordinator ends the stream that was cut when the next one begins. */
  requestId: string;
  received: number;
  write: (chunk: Buffer) => Promise<void>;
  say: (text: string) => void;
}

/** One stream, from where the text stopped to its end. */
async function streamOnce(following: Following): Promise<FollowResult> {
  const { transport, body, requestId, write, say } = following;
  // The last lines are counted from the end, which has moved: they are shown again, not resumed.
  const resumed = following.received > 0;
  if (resumed && body.tail > 0) {
    say(`The last ${body.tail} lines follow again.`);
  }
  const reply = await transport.open({
    method: "POST",
    path: "/logs",
    body: JSON.stringify(body),
    headers: {
      ...callHeaders(),
      [headers.requestId]: requestId,
      ...(resumed && body.tail === 0 ? { [headers.skipBytes]: String(following.received) } : {}),
    },
    silenceMs: null,
  });
  if (reply.statusCode !== 200) {
    throw replyFailure(transport.clusterName, reply.statusCode ?? 0, await textOf(reply));
  }
  for await (const chunk of chunksOf(reply)) {
    following.received += chunk.length;
    await write(chunk);
  }
  const exitCode = await fetchResult(transport, requestId, logsResultSchema);
  return { kind: "ended", exitCode };
}

/** Streams again after each cut. Text that arrived is progress: the minute without any starts anew. */
async function streamToTheEnd(following: Following, signal: AbortSignal): Promise<FollowResult> {
  const { transport, say } = following;
  const patience: Patience = {
    limitMs: reconnectLimitMs,
    say,
    afterGivingUp: "The job itself goes on; follow it again with `sky logs` when the cluster answers.",
  };
  for (;;) {
    const before = following.received;
    try {
      return await persist(transport, patience, async () => {
        try {
          return await streamOnce(following);
        } catch (error) {
          signal.throwIfAborted();
          if (following.received > before && error instanceof LostConnection) {
            throw new Progressed(error);
          }
          throw error;
        }
      });
    } catch (error) {
      if (!(error instanceof Progressed)) {
        throw error;
      }
      say(`Cluster '${transport.clusterName}': ${error.message}; following again...`);
      transport.close();
    }
  }
}

/** Streams until the job's text ends or `signal` fires. Rejects with a SkyError. */
export async function follow(
  transport: Transport,
  body: z.input<typeof logsBodySchema> & { tail: number },
  write: (chunk: Buffer) => Promise<void>,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<FollowResult> {
  const stopped = new Promise<FollowResult>((resolve) => {
    const stop = (): void => {
      transport.close();
      resolve({ kind: "stopped" });
    };
    if (signal.aborted) {
      stop();
    } else {
      signal.addEventListener("abort", stop, { once: true });
    }
  });
  const result = streamToTheEnd({ transport, body, requestId: randomUUID(), received: 0, write, say }, signal);
  // After a stop the stream's error is of no interest to anybody.
  result.catch(() => undefined);
  return Promise.race([result, stopped]);
}

class Progressed extends Error {
  constructor(lost: LostConnection) {
    super(lost.message);
  }
}
