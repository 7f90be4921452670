/**
 * This node's key, and how it is exchanged for a new one without a moment in which no key counts. The new key lies beside
 * the present one (`KEY.new`) until the coordinator has said that it knows it; then it takes the present one's place.
 * Whenever the agent ends in between, it finds both, offers both, and goes on from there. The private part never leaves
 * this folder. Wishes are carried out one after the other. Used by agent/link.ts, and by agent/orders.ts for the
 * coordinator's wishes.
 */
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Logger } from "pino";
import ssh2 from "ssh2";
import type { ParsedKey } from "ssh2";
import type { FromAgent, ToAgent } from "../shared/agent-wire.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import { sshKeyType } from "../shared/ssh-algorithms.ts";
import { makeKeyPair } from "../system/key-pair.ts";

/** Wishes that wait for their turn; a coordinator that sends more gets an error. */
const waitingMax = 16;

interface Key {
  /** OpenSSH's format. */
  private: Buffer;
  /** `ssh-ed25519 BASE64`. */
  public: string;
}

export function parseEd25519(text: Buffer | string): ParsedKey | null {
  const parsed = ssh2.utils.parseKey(text);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  return key === undefined || key instanceof Error || key.type !== sshKeyType ? null : key;
}

function keyOf(text: Buffer): Key | null {
  const parsed = parseEd25519(text);
  return parsed?.isPrivateKey() === true
    ? { private: text, public: `${sshKeyType} ${parsed.getPublicSSH().toString("base64")}` }
    : null;
}

/** Writes a file so that after a power cut it is there with all of its bytes or not at all. */
async function writeWhole(file: string, text: string, mode: number): Promise<void> {
  const temporary = `${file}.tmp`;
  await rm(temporary, { force: true });
  const handle = await open(temporary, "wx", mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncFolderOf(file);
}

async function syncFolderOf(file: string): Promise<void> {
  const handle = await open(dirname(file), "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readIfThere(file: string): Promise<Buffer | null> {
  try {
    return await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      return null;
    }
    throw error;
  }
}

export class NodeKey {
  readonly #file: string;
  readonly #name: string;
  #present: Key;
  /** Made and not in the present one's place yet. */
  #next: Key | null;
  /** The coordinator has let this node in by the new key: the present one counts no more, wherever they lie. */
  #proved = false;
  /** Ends when all wishes that came before have been carried out. */
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  private constructor(file: string, name: string, present: Key, next: Key | null) {
    this.#file = file;
    this.#name = name;
    this.#present = present;
    this.#next = next;
  }

  /**
   * Reads what lies at `file` (the config's key) and beside it; `name` is the node's, for the comment of the public part.
   * Throws a SkyError when the present key is not usable.
   */
  static async open(file: string, name: string): Promise<NodeKey> {
    const unreadable = (error: unknown): never => {
      throw new SkyError("ValueError", `The node's key ${file} cannot be read: ${messageOf(error)}`);
    };
    if (((await stat(file).catch(unreadable)).mode & 0o077) !== 0) {
      throw new SkyError("ValueError", `The node's key ${file} can be read by others.`, `Run: chmod 600 ${file}`);
    }
    const present = keyOf(await readFile(file).catch(unreadable));
    if (present === null) {
      const text = `The node's key ${file} is not an ed25519 private key without a passphrase.`;
      throw new SkyError("ValueError", text, `Make one with: ssh-keygen -t ed25519 -N '' -f ${file}`);
    }
    const text = await readIfThere(`${file}.new`).catch(unreadable);
    return new NodeKey(file, name, present, text === null ? null : keyOf(text));
  }

  /** Private keys to offer, in this order. */
  get offers(): Buffer[] {
    return this.#next === null ? [this.#present.private] : [this.#present.private, this.#next.private];
  }

  /** The public part of the key that counts here. */
  get present(): string {
    return this.#present.public;
  }

  /** Mends what a power cut between two steps left behind: the public part follows the private one. */
  async tidy(log: Logger): Promise<void> {
    try {
      const text = (await readIfThere(`${this.#file}.pub`))?.toString();
      if (text !== undefined && !text.startsWith(this.#present.public)) {
        await this.#writePublic();
      }
    } catch (error) {
      log.warn({ error: messageOf(error) }, "the public part of the node's key could not be brought up to date");
    }
  }

  /** Two at a time would exchange the files of each other, and the node would come back with a key that nobody knows. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax) {
      return Promise.reject(new Error("too many wishes about this node's key at one time"));
    }
    this.#waiting += 1;
    const result = this.#last.then(work);
    this.#last = result
      .catch(() => undefined)
      .then(() => {
        this.#waiting -= 1;
      });
    return result;
  }

  /** Makes a new key beside the present one, in place of one that was never used; returns its public part, on disk by then. */
  make(): Promise<string> {
    return this.#inTurn(() => this.#make());
  }

  /** The coordinator knows this key: it takes the present one's place. False: it is not one that lies here. */
  use(key: string): Promise<boolean> {
    return this.#inTurn(() => this.#use(key));
  }

  async #make(): Promise<string> {
    if (this.#proved) {
      throw new Error("the last new key could not be put into its place yet");
    }
    const pair = makeKeyPair();
    const next = keyOf(Buffer.from(pair.private));
    if (next === null) {
      throw new Error("the new key cannot be read back");
    }
    await writeWhole(`${this.#file}.new`, pair.private, 0o600);
    this.#next = next;
    return next.public;
  }

  async #use(key: string): Promise<boolean> {
    if (key === this.#present.public) {
      return true;
    }
    const next = this.#next;
    if (next === null || next.public !== key) {
      return false;
    }
    const text = await readIfThere(`${this.#file}.new`);
    if (text === null || keyOf(text)?.public !== key) {
      throw new Error(`${this.#file}.new is not the key that was made`);
    }
    await rename(`${this.#file}.new`, this.#file);
    await syncFolderOf(this.#file);
    this.#present = next;
    this.#next = null;
    this.#proved = false;
    await this.#writePublic();
    return true;
  }

  /** A connection was made with this one of the offers: if that was the new key, the coordinator knows it. */
  async proved(offer: Buffer): Promise<void> {
    if (this.#next?.private === offer) {
      this.#proved = true;
      await this.use(this.#next.public);
    }
  }

  async #writePublic(): Promise<void> {
    await writeWhole(`${this.#file}.pub`, `${this.#present.public} ${this.#name}\n`, 0o644);
  }
}

export interface KeyWishParts {
  key: NodeKey;
  log: Logger;
  sendCoordinator(message: FromAgent): void;
  /** Ends the present connection and dials anew. */
  redial(): void;
}

/** Makes a new key, or puts the one that was made into the present one's place. The coordinator may repeat either. */
export async function followKeyWish(
  parts: KeyWishParts,
  wish: ToAgent & { type: "makeKey" | "useKey" },
): Promise<void> {
  const { key, log } = parts;
  try {
    if (wish.type === "makeKey") {
      parts.sendCoordinator({ type: "newKey", id: wish.id, key: await key.make() });
      log.info("a new key was made; the present one counts until the coordinator knows it");
    } else if (await key.use(wish.key)) {
      log.info("the new key takes the old one's place");
      parts.redial();
    } else {
      log.error("the coordinator expects a key that does not lie here; let an admin rotate this node's key again");
    }
  } catch (error) {
    log.error({ error: messageOf(error) }, "the node's key could not be exchanged");
    if (wish.type === "makeKey") {
      parts.sendCoordinator({
        type: "streamFailed",
        id: wish.id,
        error: `no new key: ${messageOf(error)}`.slice(0, 1000),
      });
    }
  }
}
