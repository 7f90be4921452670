/**
 * POST /logs: streams a job's text in the reply that carries the request's id; the exit code is that request's result.
 * A client that was cut off says how many bytes it has and gets the rest. It must never hold output for a reader that
 * does not read, nor go on for one that has gone.
 */
import type { ServerResponse } from "node:http";
import { headers, logsBodySchema } from "../../shared/api.ts";
import { SkyError } from "../../shared/errors.ts";
import { explain } from "../core/explain.ts";
import { liveParts } from "./job-watch.ts";
import { ReaderGone, type TextSink } from "./log-rank.ts";
import { streamLogs } from "./logs.ts";
import { cancelledByUser } from "./request-entry.ts";
import { requestedId } from "./requests.ts";
import { type Route, type RouteCall, type RouteReply, route } from "./route.ts";
import type { z } from "zod";

/** Writes to the reply with back-pressure, leaving out what the reader has. */
class ReplySink implements TextSink {
  skip: number;
  readonly #outgoing: ServerResponse;
  #drained: Promise<void> | null = null;

  constructor(outgoing: ServerResponse, skip: number) {
    this.#outgoing = outgoing;
    this.skip = skip;
  }

  async write(bytes: Buffer): Promise<void> {
    const left = Math.min(this.skip, bytes.length);
    this.skip -= left;
    if (left === bytes.length) {
      return;
    }
    if (this.#outgoing.destroyed) {
      throw new ReaderGone("the reader has gone");
    }
    if (!this.#outgoing.write(left === 0 ? bytes : bytes.subarray(left))) {
      this.#drained ??= this.#untilDrained();
      await this.#drained;
    }
  }

  #untilDrained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const onDrain = (): void => {
        this.#outgoing.off("close", onClose);
        this.#drained = null;
        resolve();
      };
      const onClose = (): void => {
        this.#outgoing.off("drain", onDrain);
        reject(new ReaderGone("the reader has gone"));
      };
      this.#outgoing.once("drain", onDrain);
      this.#outgoing.once("close", onClose);
    });
  }
}

function skipOf(header: string | undefined): number {
  if (header === undefined) {
    return 0;
  }
  if (!/^[0-9]{1,15}$/.test(header)) {
    throw new SkyError("ValueError", `The header ${headers.skipBytes} is not a number of bytes.`);
  }
  return Number(header);
}

async function logs(call: RouteCall<z.infer<typeof logsBodySchema>>): Promise<RouteReply> {
  const { context, account, body, outgoing } = call;
  liveParts(context.parts);
  const sink = new ReplySink(outgoing, skipOf(call.header(headers.skipBytes.toLowerCase())));
  const entry = context.requests.start(
    {
      name: "logs",
      cluster: body.cluster_name,
      account,
      id: requestedId(call.header(headers.requestId.toLowerCase())),
      readOnly: true,
      stream: true,
    },
    async (running) => {
      outgoing.writeHead(200, {
        "Content-Type": "text/plain; charset=utf-8",
        [headers.requestId]: running.id,
        [headers.streamRequestId]: running.id,
      });
      outgoing.flushHeaders();
      return streamLogs({
        parts: context.parts,
        account,
        jobId: body.job_id,
        follow: body.follow,
        tail: body.tail,
        colors: body.colors,
        sink,
        signal: running.signal,
        notices: context.notices,
        why: (state, reader, id) => explain(state, reader.uid, id, Date.now()).reason,
        times: context.logTimes,
      });
    },
  );
  const hangUp = (): void => entry.abort.abort();
  outgoing.once("close", hangUp);
  await entry.done;
  outgoing.off("close", hangUp);
  // The error itself is the request's result; text after the output would count as output when the client resumes.
  const isCancelled = entry.abort.signal.reason === cancelledByUser;
  const isUnfinished = entry.status === "CANCELLED" || entry.error?.type === "ServerUnavailableError";
  if (isUnfinished && !isCancelled) {
    // Closing, or without Redis: a broken reply tells the client that this is not the end.
    outgoing.destroy();
  } else {
    outgoing.end();
  }
  return { kind: "streamed" };
}

export const logRoutes: Route[] = [
  route({
    method: "POST",
    path: "/logs",
    identity: "account",
    summary: "Streams a job's output; the request's result is the exit code (0, 100 to 103).",
    body: logsBodySchema,
    reply: "text",
    handle: logs,
  }),
];
