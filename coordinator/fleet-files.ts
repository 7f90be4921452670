/**
 * The coordinator's side of a node's `files` stream (shared/files.ts): reads questions, one at a time, and answers them
 * from the uploads of the attempt's user. A node may have only what the payload of an attempt that is wanted there names;
 * what it asks beyond that ends the stream. A fault that may pass ends it without a word, so that the node asks again.
 * Called by fleet.ts for each such stream.
 */
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { messageOf, SkyError } from "../shared/errors.ts";
import { filesFrameKinds, type FilesQuestion, filesFramePayloadMax, filesQuestionSchema } from "../shared/files.ts";
import type { AttemptId, NodeName, Uid } from "../shared/ids.ts";
import { FrameError, LineReader, parseFrame } from "../shared/lines.ts";
import { Slots } from "./files/slots.ts";
import type { FileGrant, FleetOwner } from "./parts.ts";

/** Bytes of one question: 256 hashes and what is around them. */
const questionBytesMax = 32 * 1024;
/** Without a question for this long, or without taking anything of an answer, the stream ends; the node opens another. */
const idleMs = 120_000;
const stallMs = 30_000;
/**
 * Answers on the way: each holds a few MB in memory. By user as well as by node: a user who takes answers slowly or not at
 * all, on however many nodes, holds up nobody else's files.
 */
const userLimits = { perOwner: 8, all: 32, waitingPerOwner: 4_096 };
const nodeLimits = { perOwner: 16, all: 32, waitingPerOwner: 4_096 };

/** One frame of an answer, see `send`. */
type Give = (kind: number, parts: readonly Uint8Array[]) => Promise<void>;

/** The reason is the node's fault or final: it is told. */
function refusal(text: string): SkyError {
  return new SkyError("PermissionDeniedError", text);
}

export class FileRelay {
  readonly #owner: Pick<FleetOwner, "files" | "filesFor">;
  readonly #log: Logger;
  readonly #users = new Slots<Uid>(userLimits);
  readonly #nodes = new Slots<NodeName>(nodeLimits);

  constructor(owner: Pick<FleetOwner, "files" | "filesFor">, log: Logger) {
    this.#owner = owner;
    this.#log = log;
  }

  /** Answers until the stream ends. Never rejects. */
  async serve(node: NodeName, attempt: AttemptId, channel: Duplex): Promise<void> {
    const idle = setTimeout(() => channel.destroy(), idleMs);
    try {
      const grant = await this.#owner.filesFor(node, attempt);
      const reader = new LineReader(questionBytesMax);
      for await (const piece of channel.iterator({ destroyOnReturn: false })) {
        for (const line of reader.push(piece as Uint8Array)) {
          const question = parseFrame(filesQuestionSchema, line);
          if (grant === null || !grant.isWanted()) {
            throw refusal(`node '${node}' is not to run attempt ${attempt}`);
          }
          const give: Give = (kind, parts) => {
            idle.refresh();
            return send(channel, kind, parts);
          };
          const answer = (): Promise<void> => this.#answer(question, grant, give);
          await this.#users.run(grant.uid, () => this.#nodes.run(node, answer));
        }
      }
    } catch (error) {
      await this.#fail(channel, error, { node, attempt });
    } finally {
      clearTimeout(idle);
      channel.end();
    }
  }

  async #answer(question: FilesQuestion, grant: FileGrant, give: Give): Promise<void> {
    const { files } = this.#owner;
    if (question.get === "manifest") {
      if (!grant.manifests.has(question.id)) {
        throw refusal("this job has no such list of files");
      }
      for await (const piece of files.readManifest(grant.uid, question.id)) {
        await give(filesFrameKinds.manifest, [piece]);
      }
    } else {
      for await (const { hash, bytes } of files.readChunks(grant.uid, question.hashes, grant.manifests)) {
        if (!grant.isWanted()) {
          throw refusal("this job has ended");
        }
        await give(filesFrameKinds.chunk, [Buffer.from(hash, "hex"), bytes]);
      }
    }
    await give(filesFrameKinds.end, []);
  }

  async #fail(channel: Duplex, error: unknown, fields: { node: NodeName; attempt: AttemptId }): Promise<void> {
    if (channel.destroyed) {
      return;
    }
    const isFinal =
      error instanceof FrameError || (error instanceof SkyError && error.type !== "ServerUnavailableError");
    this.#log.warn({ ...fields, fault: messageOf(error).slice(0, 500), isFinal }, "files were not given to a node");
    if (isFinal) {
      const text = error instanceof SkyError && error.hint !== null ? `${error.message} ${error.hint}` : error.message;
      await send(channel, filesFrameKinds.fault, [Buffer.from(text.slice(0, 1000))]).catch(() => {});
    }
  }
}

/** One frame; resolves when there is room for the next. Rejects when the stream is cut or takes nothing for long. */
async function send(channel: Duplex, kind: number, parts: readonly Uint8Array[]): Promise<void> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > filesFramePayloadMax) {
    throw new Error(`a frame of ${length} bytes`);
  }
  const head = Buffer.alloc(5);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(length, 1);
  channel.cork();
  channel.write(head);
  const hasRoom = parts.map((part) => channel.write(part)).at(-1) ?? true;
  channel.uncork();
  if (channel.destroyed || channel.writableEnded) {
    throw new Error("the stream was closed");
  }
  if (!hasRoom) {
    await room(channel);
  }
}

function room(channel: Duplex): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (fault: string | null): void => {
      clearTimeout(timer);
      channel.off("drain", onDrain);
      channel.off("close", onClose);
      if (fault === null) {
        resolve();
      } else {
        reject(new Error(fault));
      }
    };
    const onDrain = (): void => finish(null);
    const onClose = (): void => finish("the stream was closed");
    const timer = setTimeout(() => {
      finish("the node takes nothing");
      channel.destroy();
    }, stallMs);
    channel.once("drain", onDrain);
    channel.once("close", onClose);
  });
}
