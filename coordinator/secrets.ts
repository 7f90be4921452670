/**
 * Encryption of what users send: scripts, environment values and secrets lie in the store only as AES-256-GCM under a key
 * that only the coordinator's account can read. It must never log or return the key, and never make a new key beside a
 * state that was written with another. Called by coordinator/store.ts.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SkyError } from "../shared/errors.ts";

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
/** First byte of every sealed text, so that a later form can be told apart. */
const format = 1;

export class Secrets {
  readonly #cipherKey: Buffer;
  readonly #nameKey: Buffer;
  /** Tells two keys apart without telling anything about them. */
  readonly fingerprint: string;

  constructor(key: Buffer) {
    const derive = (purpose: string): Buffer => Buffer.from(hkdfSync("sha256", key, "", `sky-onprem ${purpose}`, 32));
    this.#cipherKey = derive("payloads");
    this.#nameKey = derive("payload names");
    this.fingerprint = createHmac("sha256", derive("fingerprint")).update("1").digest("hex").slice(0, 32);
  }

  /** A name for this content of this user: equal for equal content, unguessable for other users and for who reads the store. */
  nameOf(uid: number, text: string): string {
    return createHmac("sha256", this.#nameKey).update(`${uid}\0`).update(text).digest("hex");
  }

  /** `context` must be the same when it is opened, so a sealed text cannot be moved to another user or name. */
  seal(text: string, context: string): Buffer {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#cipherKey, nonce, { authTagLength: tagBytes });
    cipher.setAAD(Buffer.from(context));
    const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([Buffer.from([format]), nonce, cipher.getAuthTag(), sealed]);
  }

  /** Throws when the bytes are damaged, were sealed with another key or in another context. */
  open(bytes: Buffer, context: string): string {
    if (bytes[0] !== format || bytes.length < 1 + nonceBytes + tagBytes) {
      throw new Error("unknown form of a sealed text");
    }
    const nonce = bytes.subarray(1, 1 + nonceBytes);
    const tag = bytes.subarray(1 + nonceBytes, 1 + nonceBytes + tagBytes);
    const decipher = createDecipheriv("aes-256-gcm", this.#cipherKey, nonce, { authTagLength: tagBytes });
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(tag);
    const plain = [decipher.update(bytes.subarray(1 + nonceBytes + tagBytes)), decipher.final()];
    return Buffer.concat(plain).toString("utf8");
  }
}

/**
 * Reads the key file in this folder, or makes it on first use. It appears under its name only when it is complete and on
 * disk, so a crash leaves either no key or a whole one.
 */
export function openSecrets(stateDir: string): Secrets {
  const path = join(stateDir, "secrets.key");
  const existing = readKey(path);
  if (existing !== null) {
    // Whoever made it may have been killed before it was all on disk, and from here on things are sealed with it.
    syncPath(path);
    syncPath(stateDir);
    return new Secrets(existing);
  }
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const file = openSync(temporary, "wx", 0o600);
  try {
    writeSync(file, randomBytes(keyBytes));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    // link, not rename: it fails when somebody else was faster, and theirs is then the key.
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw error;
    }
  } finally {
    unlinkSync(temporary);
  }
  syncPath(stateDir);
  const made = readKey(path);
  if (made === null) {
    throw new Error(`${path} vanished`);
  }
  return new Secrets(made);
}

/** What this file or folder holds survives a power cut from here on. */
function syncPath(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function readKey(path: string): Buffer | null {
  let key: Buffer;
  try {
    key = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      return null;
    }
    throw error;
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new SkyError("PermissionDeniedError", `${path} can be read by others.`, `Run: chmod 600 ${path}`);
  }
  if (key.length !== keyBytes) {
    throw new SkyError(
      "InternalError",
      `${path} is not a key file (${key.length} bytes; ${keyBytes} expected).`,
      "Restore it from a backup; without it, scripts and secrets of waiting jobs cannot be read.",
    );
  }
  return key;
}
