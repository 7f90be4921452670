/**
 * One SSH handshake: which algorithms are offered, whether the host's key is right, which keys are shown, and what is
 * said when it fails. Modern algorithms only, no password, no agent forwarding. Called by client/ssh/ssh2-head.ts for
 * each server on the way.
 */
import type { Socket } from "node:net";
import type * as ssh2Module from "ssh2";
import type { AnyAuthMethod, Client, ClientChannel, ConnectConfig } from "ssh2";
import type { SkyError } from "../../shared/errors.ts";
import { broken, permissionDenied, unreachable } from "./faults.ts";
import { type Ask, HostKeyCheck } from "./host-key.ts";
import { KeyOffers } from "./keys.ts";
import type { Destination } from "./resolve.ts";

/** ssh2 itself, handed in because it is loaded lazily. */
export type Ssh2 = typeof ssh2Module;

const keepaliveMs = 20_000;
/** An authentication by sshd takes longest when the name service hangs. */
const handshakeLimitMs = 30_000;

/** Authenticated ciphers first; ssh2's own code makes them fast. Compression costs more than it saves here. */
const algorithms = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
  ],
  cipher: [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
  ],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"],
  compress: ["none"],
};

/** An authenticated connection over `sock`. Rejects with SkyError("ConnectionError"). */
export async function connectClient(
  ssh2: Ssh2,
  destination: Destination,
  sock: Socket | ClientChannel,
  ask: Ask,
): Promise<Client> {
  const client = new ssh2.Client();
  const limit = new Limit(handshakeLimitMs);
  const patientAsk: Ask = {
    interactive: ask.interactive,
    confirmHostKey: (...words) => limit.suspend(() => ask.confirmHostKey(...words)),
    passphrase: (path) => limit.suspend(() => ask.passphrase(path)),
  };
  const hostKey = new HostKeyCheck(destination, patientAsk);
  const keys = new KeyOffers(destination, (data, passphrase) => ssh2.utils.parseKey(data, passphrase), patientAsk);
  let methodsLeft: readonly string[] = [];
  const config: ConnectConfig = {
    sock,
    username: destination.user,
    algorithms: { ...algorithms, serverHostKey: hostKey.algorithms() } as NonNullable<ConnectConfig["algorithms"]>,
    hostVerifier: (key: Buffer, verify: (valid: boolean) => void) => {
      hostKey.accepts(key).then(verify, () => verify(false));
    },
    // No `none` first: it costs a round trip, and its answer is always no.
    authHandler: (left, _partial, next) => {
      methodsLeft = left ?? [];
      const offer = left !== null && !left.includes("publickey") ? Promise.resolve(null) : keys.next();
      // `false`, which ssh2's types forget, ends the attempts.
      const proceed = (method: AnyAuthMethod | null): void => next(method ?? (false as never));
      offer.then(proceed, () => proceed(null));
    },
    readyTimeout: 0,
    keepaliveInterval: keepaliveMs,
    keepaliveCountMax: 3,
    strictVendor: false,
  };
  // After the handshake too: an emitter without a listener would end the program.
  client.on("error", () => undefined);
  return new Promise((resolve, reject) => {
    const fail = (error: SkyError): void => {
      limit.stop();
      client.destroy();
      reject(error);
    };
    limit.start(() => fail(unreachable(destination, Object.assign(new Error("timed out"), { code: "ETIMEDOUT" }))));
    client.once("ready", () => {
      limit.stop();
      resolve(client);
    });
    client.on("error", (error: Error & { level?: string }) => {
      if (error.level === "agent") {
        return;
      }
      if (hostKey.refusal !== null) {
        fail(hostKey.refusal);
      } else if (error.level === "client-authentication" || /too many authentication failures/i.test(error.message)) {
        fail(permissionDenied(destination, keys.tried, methodsLeft));
      } else {
        fail(broken(destination, error));
      }
    });
    client.once("close", () =>
      fail(broken(destination, new Error("the server closed the connection during the handshake"))),
    );
    client.connect(config);
  });
}

/** A time limit that does not run while a person is being asked. */
class Limit {
  private readonly ms: number;
  private timer: NodeJS.Timeout | undefined;
  private onPassed: () => void = () => undefined;

  constructor(ms: number) {
    this.ms = ms;
  }

  start(onPassed: () => void): void {
    this.onPassed = onPassed;
    this.timer = setTimeout(onPassed, this.ms);
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  async suspend<T>(wait: () => Promise<T>): Promise<T> {
    this.stop();
    try {
      return await wait();
    } finally {
      this.start(this.onPassed);
    }
  }
}
