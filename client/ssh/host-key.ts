/**
 * Whether the machine at the other end is the one it should be: a pinned key, else known_hosts, else the person is asked.
 * A key that differs from what is known is refused, always. It must never accept a key silently. Called by
 * client/ssh/ssh2-head.ts during each key exchange.
 */
import { createHash } from "node:crypto";
import { messageOf, SkyError } from "../../shared/errors.ts";
import { addKnownKey, knownHostsName, knownKeys, type KnownKey } from "./known-hosts.ts";
import type { Destination } from "./resolve.ts";

/** What a connection may ask the person; the terminal implements it. */
export interface Ask {
  /** True: the person compared the fingerprint and says yes. Called only when `interactive`. */
  confirmHostKey(host: string, keyType: string, fingerprint: string): Promise<boolean>;
  /** The passphrase of a key file, or null when the person gives none. Called only when `interactive`. */
  passphrase(keyPath: string): Promise<string | null>;
  /** There is a person at a terminal. */
  interactive: boolean;
}

/** Best first; nothing with SHA-1, DSA or NIST curves below what OpenSSH offers itself. */
const algorithmsOfType: Record<string, string[]> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
};

export class HostKeyCheck {
  private readonly destination: Destination;
  private readonly ask: Ask;
  private readonly name: string;
  private readonly known: KnownKey[];
  /** Why the key was refused. ssh2 itself only says that it was. */
  refusal: SkyError | null = null;

  constructor(destination: Destination, ask: Ask) {
    this.destination = destination;
    this.ask = ask;
    this.name = destination.alias ?? knownHostsName(destination.host, destination.port);
    const files = [...destination.userKnownHosts, ...destination.globalKnownHosts];
    this.known = destination.pinnedKey === null ? knownKeys(files, this.name) : [];
  }

  /** Host key algorithms to offer: those of known keys first, so that a server with several keys shows a known one. */
  algorithms(): string[] {
    const { pinnedKey } = this.destination;
    if (pinnedKey !== null) {
      return algorithmsOfType[pinnedKey.split(" ")[0] ?? ""] ?? [];
    }
    const types = this.known.filter((known) => !known.revoked).map((known) => known.type);
    return [...new Set([...types, ...Object.keys(algorithmsOfType)].flatMap((type) => algorithmsOfType[type] ?? []))];
  }

  /** The verdict on the key that the server proved to have. */
  async accepts(blob: Buffer): Promise<boolean> {
    this.refusal = await this.judge(blob);
    return this.refusal === null;
  }

  private async judge(blob: Buffer): Promise<SkyError | null> {
    const key = blob.toString("base64");
    const type = blob.subarray(4, 4 + blob.readUInt32BE(0)).toString("latin1");
    const fingerprint = `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
    const { pinnedKey } = this.destination;
    const where = `${this.destination.host}:${this.destination.port}`;
    if (pinnedKey !== null) {
      return pinnedKey.split(" ")[1] === key
        ? null
        : new SkyError(
            "ConnectionError",
            `The host key of ${where} is not the one pinned in the cluster's file (auth.host_key). It shows ${type} ${fingerprint}.`,
            "Ask the admin whether the machine was installed anew. If not, somebody may be listening: do not connect.",
          );
    }
    const revoked = this.known.find((known) => known.revoked && known.key === key);
    if (revoked !== undefined) {
      return new SkyError(
        "ConnectionError",
        `The host key of ${where} is marked @revoked in ${revoked.file}:${revoked.line}.`,
      );
    }
    const trusted = this.known.filter((known) => !known.revoked);
    if (trusted.some((known) => known.key === key)) {
      return null;
    }
    const other = trusted.find((known) => known.type === type);
    if (other !== undefined) {
      return new SkyError(
        "ConnectionError",
        `The host key of ${where} has changed: it shows ${type} ${fingerprint}, but ${other.file}:${other.line} says another. ` +
          "Either the machine was installed anew, or somebody is listening.",
        `If the admin confirms the new key: ssh-keygen -R '${this.name}' -f ${other.file}`,
      );
    }
    return this.unknown(where, type, key, fingerprint);
  }

  private async unknown(where: string, type: string, key: string, fingerprint: string): Promise<SkyError | null> {
    const [file] = this.destination.userKnownHosts;
    if (!this.ask.interactive) {
      return new SkyError(
        "ConnectionError",
        `The host key of ${where} is not known: ${type} ${fingerprint}. Nobody is there to confirm it.`,
        `Compare the fingerprint with the admin's, then: echo '${this.name} ${type} ${key}' >> ${file ?? "~/.ssh/known_hosts"}`,
      );
    }
    if (!(await this.ask.confirmHostKey(where, type, fingerprint))) {
      return new SkyError("ConnectionError", `The host key of ${where} was not accepted.`);
    }
    if (file !== undefined) {
      try {
        addKnownKey(file, this.name, type, key, this.destination.hashKnownHosts);
      } catch (error) {
        return new SkyError(
          "ConnectionError",
          `The host key of ${where} cannot be kept in ${file}: ${messageOf(error)}.`,
        );
      }
    }
    return null;
  }
}
