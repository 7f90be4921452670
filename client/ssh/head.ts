/**
 * What a way to a cluster's head is, whichever transport made it. Types only, so that the transports and the choice
 * between them need not know each other. Used by the files beside it and by client/sdk.
 */
import type { Duplex } from "node:stream";
import type { SFTPWrapper } from "ssh2";

/** One authenticated way to the head. */
export interface HeadConnection {
  /**
   * A new stream of raw bytes to the coordinator's API socket. Rejects with SkyError("ConnectionError"), or with
   * "NotSupportedError" when the head's sshd leaves no way and trying again is no use.
   */
  openStream(): Promise<Duplex>;
  /** The caller's files there (SFTP); absent: this way has none. Rejects with SkyError("ConnectionError"). */
  openSftp?(): Promise<SFTPWrapper>;
  /** There is no way in between: the head is this machine, and this account the one to be. */
  isHere?: true;
  /** For messages: `ssh alice@head:22`. */
  readonly how: string;
  /** Ends all streams. Idempotent. */
  close(): void;
}
