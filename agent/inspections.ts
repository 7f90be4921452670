/**
 * Answers what an admin asks of this machine by starting sky-doctor and joining what it prints to a stream of the
 * coordinator. All that is looked at lies in doctor/; the agent only starts it, with the question on its standard input,
 * and bounds its time, its output and how many there are. Where systemd runs, it is a unit of its own: in the agent's
 * sandbox it would see another machine than jobs do. Called by agent/agent.ts.
 */
import { Transform } from "node:stream";
import type { Logger } from "pino";
import type { ClientChannel } from "ssh2";
import type { Inspect } from "../shared/agent-wire.ts";
import { messageOf } from "../shared/errors.ts";
import type { Reporter } from "./spawn.ts";

/** The doctor ends by itself after half a minute; this is for one that does not. */
const limitMs = 45_000;
const outputBytesMax = 32 * 1024 * 1024;
/** Journals are read beside each other; a doctor opens users' sessions, so there is one at a time. */
const journalsMax = 4;

export interface InspectionsOwner {
  /** Absolute paths of sky-doctor's bundle and of the agent's config; null: this agent cannot answer. */
  doctor: { program: string; configFile: string } | null;
  /** Starts the program with the question on its standard input; `id` is unique among those that run. */
  launch(words: string[], question: string, id: string): Reporter;
  openStream(id: string): Promise<ClientChannel>;
  failed(id: string, error: string): void;
  log: Logger;
}

export class Inspections {
  private readonly owner: InspectionsOwner;
  private readonly running: Record<Inspect["request"]["kind"], number> = { doctor: 0, journal: 0 };

  constructor(owner: InspectionsOwner) {
    this.owner = owner;
  }

  /** Starts the answer. Never throws: what is wrong is told to the coordinator. */
  async start({ id, request }: Inspect): Promise<void> {
    const { owner, running } = this;
    const { kind } = request;
    if (owner.doctor === null) {
      owner.failed(id, "this agent runs without root or without sky-doctor beside it.");
      return;
    }
    if (running[kind] >= (kind === "doctor" ? 1 : journalsMax)) {
      owner.failed(id, `this node is already answering such a question. Try again in half a minute.`);
      return;
    }
    running[kind] += 1;
    try {
      owner.log.info({ inspection: kind }, "an admin looks into this machine");
      await this.carry(id, JSON.stringify(request), owner.doctor);
    } catch (error) {
      owner.log.warn({ inspection: kind, error: messageOf(error) }, "an admin's question was not answered");
      owner.failed(id, messageOf(error).slice(0, 500));
    } finally {
      running[kind] -= 1;
    }
  }

  /** Resolves when the answer has ended; rejects when it could not begin. */
  private async carry(id: string, question: string, doctor: { program: string; configFile: string }): Promise<void> {
    const channel = await this.owner.openStream(id);
    const words = [process.execPath, doctor.program, "--inspect", "--config", doctor.configFile];
    await join(this.owner.launch(words, question, id), channel);
  }
}

/**
 * The doctor's output into the channel, with back-pressure; whichever ends first ends the other. Resolves when the doctor
 * has ended and not before: whoever asks and goes away could otherwise have any number of them.
 */
function join(reporter: Reporter, channel: ClientChannel): Promise<void> {
  let bytes = 0;
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      done(bytes > outputBytesMax ? new Error("too much output") : null, chunk);
    },
  });
  return new Promise((resolve) => {
    const timer = setTimeout(() => reporter.end(), limitMs);
    channel.once("close", () => reporter.end());
    if (channel.destroyed) {
      reporter.end();
    }
    // Nothing is expected from there; unread, its end would never be seen.
    channel.resume();
    bounded.once("error", () => {
      reporter.end();
      channel.end();
    });
    reporter.output.pipe(bounded).pipe(channel);
    void reporter.ended.then(() => {
      clearTimeout(timer);
      // The channel closes once the coordinator has taken the rest; whether it does is nobody's concern here.
      channel.end();
      resolve();
    });
  });
}
