/**
 * The calls that fetch a job's log files as they are. A stream that is cut goes on where it stopped. It must never write
 * files; `write` gets the bytes. Used by client/files/download-logs.ts.
 */
import { SkyError } from "../../shared/errors.ts";
import {
  type LogFile,
  logFaultTrailer,
  type LogFilesResult,
  logFilesResultSchema,
} from "../../shared/log-files-api.ts";
import { printable } from "../../shared/printable.ts";
import { replyFailure } from "./replies.ts";
import { callHeaders, type Patience, persist, read } from "./requests.ts";
import { LostConnection, type Transport } from "./transport.ts";

export interface LogFileCalls {
  files(job: number): Promise<LogFilesResult>;
  /** Passes on the bytes of one file; resolves with null when these are all, else with the reason why not. */
  fetch(
    job: number,
    attempt: string,
    file: Pick<LogFile, "rank" | "part">,
    write: (bytes: Buffer) => Promise<void>,
  ): Promise<string | null>;
}

const readLimitMs = 15_000;
const silenceMs = 60_000;
const errorBytesMax = 64 * 1024;

/** The calls over one transport. `say` gets a line for the person each time a lost call is sent again. */
export function createLogFileCalls(transport: Transport, say: (text: string) => void): LogFileCalls {
  const patience: Patience = { limitMs: readLimitMs, say, afterGivingUp: "What had come is kept; try again later." };
  return {
    files: (job) => read(transport, `/onprem/logs/files?job=${job}`, logFilesResultSchema, patience),
    async fetch(job, attempt, { rank, part }, write) {
      let offset = 0;
      return persist(transport, patience, async () => {
        const words = new URLSearchParams({
          job: String(job),
          attempt,
          rank: String(rank),
          part,
          offset: String(offset),
        });
        const path = `/onprem/logs/raw?${words.toString()}`;
        const reply = await transport.open({ method: "GET", path, body: null, headers: callHeaders(), silenceMs });
        let refusal = "";
        try {
          for await (const chunk of reply as AsyncIterable<Buffer>) {
            if (reply.statusCode !== 200) {
              refusal = (refusal + chunk.toString("utf8")).slice(0, errorBytesMax);
            } else {
              await write(chunk);
              offset += chunk.length;
            }
          }
        } catch (error) {
          throw new LostConnection(error, "coordinator");
        }
        if (reply.statusCode !== 200) {
          const failure = replyFailure(transport.clusterName, reply.statusCode ?? 0, refusal);
          if (failure instanceof SkyError) {
            // Not thrown: other files are on their way over the same connection.
            return failure.message;
          }
          throw failure;
        }
        const fault = reply.trailers[logFaultTrailer.toLowerCase()] ?? "";
        return fault === "" ? null : printable(decodeURIComponent(fault));
      });
    },
  };
}
