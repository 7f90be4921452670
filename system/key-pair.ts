/**
 * New ed25519 key pairs in OpenSSH's form. ssh2 writes about one pair in two hundred that nobody can read (it drops a
 * leading zero byte of the key), so every pair is read back and tried before it is given out. Used by the agent, which
 * makes its own keys, and by scripts and tests.
 */
import ssh2 from "ssh2";
import type { ParsedKey } from "ssh2";

export interface KeyPair {
  /** OpenSSH's private format, not encrypted. */
  private: string;
  /** `ssh-ed25519 BASE64`, and the comment where there is one. */
  public: string;
}

/** Drawn pairs that may be bad in a row; each is with a chance of one in two hundred. */
const triesMax = 20;
/** Bytes of a public ed25519 key on the wire: two length fields, its type's name, 32 bytes. Source: RFC 8709. */
const publicBytes = 51;
const proof = Buffer.from("sky-onprem");

function parsed(text: string): ParsedKey | null {
  const key = ssh2.utils.parseKey(text);
  const one = Array.isArray(key) ? key[0] : key;
  return one === undefined || one instanceof Error ? null : one;
}

function isGood(pair: KeyPair): boolean {
  const [secret, open] = [parsed(pair.private), parsed(pair.public)];
  if (secret === null || open === null || open.getPublicSSH().length !== publicBytes) {
    return false;
  }
  const signature: unknown = secret.sign(proof);
  // ssh2 returns an Error object for what it cannot do; only `true` proves anything.
  const verified: unknown = Buffer.isBuffer(signature) && open.verify(proof, signature);
  return verified === true;
}

/** Makes a pair. Throws when this Node.js cannot. */
export function makeKeyPair(comment = ""): KeyPair {
  for (let left = triesMax; left > 0; left -= 1) {
    const { private: secret, public: open } = ssh2.utils.generateKeyPairSync("ed25519", { comment });
    const pair = { private: secret, public: open.trim() };
    if (isGood(pair)) {
      return pair;
    }
  }
  throw new Error("this Node.js cannot make an ed25519 key");
}
