/**
 * Which keys are offered to a server, in which order: the file that the cluster's file names, or the agent's keys and
 * then the default files. Encrypted files are opened only when their turn comes, so that nobody is asked in vain. It
 * must never write a key or passphrase anywhere. Called by client/ssh/ssh2-head.ts for each server on the way.
 */
import { readFile } from "node:fs/promises";
import type { AnyAuthMethod, ParsedKey } from "ssh2";
import { messageOf } from "../../shared/errors.ts";
import type { Ask } from "./host-key.ts";
import type { Destination } from "./resolve.ts";

/** ssh2's parser, handed in because ssh2 is loaded lazily. */
export type ParseKey = (data: Buffer, passphrase?: string) => ParsedKey | Error;

const keyBytesMax = 64 * 1024;
const passphraseTries = 3;

interface Offer {
  label: string;
  /** The method to try, or a text that says why it cannot be tried. `last`: nothing else is left to try. */
  method(last: boolean): Promise<AnyAuthMethod | string>;
}

/** An encrypted file waits until everything that asks nobody was tried: the agent may hold the same key. */
const later = "later";

export class KeyOffers {
  /** What was offered so far, and what could not be and why; for messages. */
  readonly tried: string[] = [];
  private readonly destination: Destination;
  private readonly parseKey: ParseKey;
  private readonly ask: Ask;
  private readonly offers: Offer[];
  private readonly postponed: Offer[] = [];

  constructor(destination: Destination, parseKey: ParseKey, ask: Ask) {
    this.destination = destination;
    this.parseKey = parseKey;
    this.ask = ask;
    const files = destination.identities.map((path) => this.fileOffer(path));
    const { agent } = destination;
    const agentOffer: Offer[] =
      agent === null
        ? []
        : [
            {
              label: "the keys of the agent",
              method: async () => ({ type: "agent", username: destination.user, agent }),
            },
          ];
    // A key that was named comes first: it is the right one, and servers count failed tries.
    this.offers = destination.identities.length === 1 ? [...files, ...agentOffer] : [...agentOffer, ...files];
  }

  /** The next method, or null when nothing is left. */
  async next(): Promise<AnyAuthMethod | null> {
    for (;;) {
      const offer = this.offers.shift() ?? this.postponed.shift();
      if (offer === undefined) {
        return null;
      }
      const method = await offer.method(this.offers.length === 0);
      if (method === later) {
        this.postponed.push(offer);
        continue;
      }
      if (typeof method !== "string") {
        this.tried.push(offer.label);
        return method;
      }
      this.tried.push(`${offer.label} (${method})`);
    }
  }

  private fileOffer(path: string): Offer {
    return {
      label: path,
      method: async (last) => {
        let data: Buffer;
        try {
          data = await readFile(path);
        } catch (error) {
          const code = (error as NodeJS.ErrnoException).code;
          return code === "ENOENT" ? "no such file" : code === "EACCES" ? "you may not read it" : messageOf(error);
        }
        if (data.length > keyBytesMax) {
          return "not a private key";
        }
        const key = await this.open(path, data, last);
        if (typeof key === "string") {
          return key;
        }
        return { type: "publickey", username: this.destination.user, key: key as unknown as Buffer };
      },
    };
  }

  private async open(path: string, data: Buffer, last: boolean): Promise<ParsedKey | string> {
    let parsed = this.parsed(data);
    if (parsed instanceof Error && /encrypted|passphrase/i.test(parsed.message)) {
      if (!this.ask.interactive) {
        return "it has a passphrase, and nobody is there to give it; use ssh-add";
      }
      if (!last) {
        return later;
      }
      for (let attempt = 0; attempt < passphraseTries && parsed instanceof Error; attempt++) {
        const passphrase = await this.ask.passphrase(path);
        if (passphrase === null) {
          return "no passphrase given";
        }
        parsed = this.parsed(data, passphrase);
      }
      if (parsed instanceof Error) {
        return "wrong passphrase";
      }
    }
    if (parsed instanceof Error) {
      return /sk-(ssh|ecdsa)/.test(data.toString("latin1")) || /unsupported/i.test(parsed.message)
        ? "a kind of key that needs `transport: openssh`"
        : "not a private key";
    }
    return parsed.isPrivateKey() ? parsed : "not a private key";
  }

  private parsed(data: Buffer, passphrase?: string): ParsedKey | Error {
    const parsed = this.parseKey(data, passphrase);
    return Array.isArray(parsed) ? (parsed[0] as ParsedKey) : parsed;
  }
}
