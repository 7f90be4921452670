/**
 * Asks machines what an admin wants to know and reads their answers: JSON lines of sky-doctor over a stream. A machine
 * may be broken or taken over, so every line is parsed by a strict schema, lines, bytes and time are bounded, and what
 * does not fit ends the reading of that machine only. It decides nothing. Called by the API's routes for admins.
 */
import type { Duplex } from "node:stream";
import type { InspectRequest } from "../shared/agent-wire.ts";
import { type DoctorLine, doctorLineBytesMax, doctorLineSchema } from "../shared/doctor.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import type { NodeName } from "../shared/ids.ts";
import { LineReader, parseFrame } from "../shared/lines.ts";
import type { Fleet } from "./parts.ts";

/** Bytes of one machine's whole answer: as values they take a multiple of it, and many machines answer at one time. */
const answerBytesMax = 8 * 1024 * 1024;

export interface Answer {
  node: NodeName;
  lines: DoctorLine[];
  /** How far the machine's clock is ahead of this one, in milliseconds, the way here included; null when it did not say. */
  skewMs: number | null;
  /** The machine's own name for itself; null when it did not say. */
  host: string | null;
  /** Why the answer is not complete, for people; null when it is. */
  fault: { message: string; hint: string | null } | null;
}

export interface AnswerLimits {
  lines: number;
  ms: number;
}

/** Reads until the line `end`, the end of the stream or a limit. */
function readLines(stream: Duplex, limits: AnswerLimits, take: (line: DoctorLine) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const reader = new LineReader(doctorLineBytesMax);
    let lines = 0;
    let bytes = 0;
    const finish = (fault: string | null): void => {
      clearTimeout(timer);
      stream.off("data", onData);
      stream.destroy();
      if (fault === null) {
        resolve();
      } else {
        reject(new SkyError("ServerUnavailableError", fault));
      }
    };
    const timer = setTimeout(() => finish(`did not answer completely within ${limits.ms / 1000} s`), limits.ms);
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > answerBytesMax) {
        finish(`sent more than ${answerBytesMax / 1024 / 1024} MB`);
        return;
      }
      try {
        for (const text of reader.push(chunk)) {
          const line = parseFrame(doctorLineSchema, text);
          lines += 1;
          if (line.type === "end") {
            finish(null);
            return;
          }
          if (lines > limits.lines) {
            finish(`sent more than ${limits.lines} lines`);
            return;
          }
          take(line);
        }
      } catch (error) {
        finish(`sent what no doctor says: ${messageOf(error)}`);
      }
    };
    if (stream.destroyed) {
      finish("was cut off before it could answer");
      return;
    }
    stream.on("data", onData);
    stream.once("error", () => finish("was cut off in the middle of its answer"));
    stream.once("close", () => finish("ended before its answer was complete"));
    stream.once("end", () => finish("ended before its answer was complete; its sky-doctor may be missing or older"));
  });
}

/** Asks one node. Never rejects: what is wrong stands in `fault`. */
export async function askNode(
  fleet: Fleet,
  node: NodeName,
  request: InspectRequest,
  limits: AnswerLimits,
): Promise<Answer> {
  const answer: Answer = { node, lines: [], skewMs: null, host: null, fault: null };
  try {
    const stream = await fleet.openInspection(node, request);
    await readLines(stream, limits, (line) => {
      if (line.type === "begin") {
        answer.skewMs ??= line.clockMs - Date.now();
        answer.host ??= line.host;
      }
      answer.lines.push(line);
    });
  } catch (error) {
    const hint = error instanceof SkyError ? error.hint : null;
    const message = messageOf(error);
    answer.fault = {
      message: message.startsWith("Node ") ? message : `Node '${node}' ${message}.`.replace(/\.\.$/, "."),
      hint,
    };
  }
  return answer;
}
