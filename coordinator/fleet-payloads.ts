/**
 * Which payloads go ahead of the orders on one node's connection: those of attempts that are to start there, small and
 * at hand, each once, and never so many that the frame could grow too long. Whatever is left out the node asks for. It
 * must never send one for an attempt of which the node has begun. Called by fleet-session.ts.
 */
import type { Desired, GivenPayloads } from "../shared/agent-wire.ts";
import type { AttemptId } from "../shared/ids.ts";
import type { Payload } from "../shared/job.ts";

/** Bytes of payloads in one message: as text in text they grow, and a frame has room for four times as much. */
const bytesMax = 1024 * 1024;
const countMax = 1_000;

export class SentPayloads {
  /** Attempts of the last order whose payload has gone over this connection. */
  private sent = new Set<AttemptId>();

  /** What is to be sent before this order; null: nothing. `atHand` gives the payloads that can be sent. */
  before(order: Desired, atHand: (attempt: AttemptId) => Payload | null): GivenPayloads | null {
    const sent = new Set<AttemptId>();
    const payloads: GivenPayloads["payloads"] = [];
    let left = bytesMax;
    for (const { attempt, started } of order.wanted) {
      if (this.sent.has(attempt)) {
        sent.add(attempt);
        continue;
      }
      const payload = started || left <= 0 || payloads.length >= countMax ? null : atHand(attempt);
      if (payload !== null) {
        const text = JSON.stringify(payload);
        left -= Buffer.byteLength(text);
        sent.add(attempt);
        payloads.push({ attempt, text });
      }
    }
    this.sent = sent;
    return payloads.length === 0 ? null : { type: "payloads", payloads };
  }
}
