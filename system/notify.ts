/**
 * What a daemon tells systemd (sd_notify): that it is ready, what it does, that it lives. Node has no datagram sockets of
 * the unix kind, so socket and sendto are called through koffi; a send never waits. Without systemd all of it does
 * nothing. What systemd put into the environment is taken out of it, so that no child can speak for the daemon or be
 * taken for it. Called by coordinator/main.ts and agent/main.ts.
 */
import koffi from "koffi";

const afUnix = 1;
const sockDgramCloexecNonblock = 2 | 0o2000000 | 0o4000;
const msgNosignal = 0x4000;
/** sizeof sun_path; a path needs one byte for its end, an abstract name does not. */
const pathBytesMax = 108;
const statusMax = 200;
/** A third of the period: two pings in a row may come late. */
const pingsPerPeriod = 3;
/** What systemd gives to a service and no child of it may have. */
const ownVariables =
  /^(NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|MAINPID|MANAGERPID|FDSTORE|LISTEN_\w+|CREDENTIALS_DIRECTORY|(RUNTIME|STATE|CACHE|LOGS|CONFIGURATION)_DIRECTORY|MEMORY_PRESSURE_\w+)$/;

type Send = (text: string) => void;

export class Notifier {
  private readonly send: Send;
  /** Milliseconds between two pings; null: systemd does not watch this process. */
  readonly pingEveryMs: number | null;
  private timer: NodeJS.Timeout | null = null;

  private constructor(send: Send, pingEveryMs: number | null) {
    this.send = send;
    this.pingEveryMs = pingEveryMs;
  }

  /** Takes what systemd said out of the environment; call it before the first child is started. Throws nothing. */
  static open(environment: NodeJS.ProcessEnv = process.env): Notifier {
    const socket = environment["NOTIFY_SOCKET"] ?? "";
    const pingEveryMs = pingPeriod(environment);
    for (const name of Object.keys(environment).filter((each) => ownVariables.test(each))) {
      // oxlint-disable-next-line typescript/no-dynamic-delete -- an environment is a table
      delete environment[name];
    }
    const address = addressOf(socket);
    return address === null ? new Notifier(() => undefined, null) : new Notifier(sender(address), pingEveryMs);
  }

  /** The service does its work; units that wait for it may start. `status` is shown by `systemctl status`. */
  ready(status: string): void {
    this.send(`READY=1\n${statusLine(status)}`);
  }

  status(status: string): void {
    this.send(statusLine(status));
  }

  /** Something is taken over anew; `ready` must follow. */
  reloading(): void {
    this.send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): void {
    this.send("STOPPING=1");
  }

  /**
   * Pings from this event loop for as long as `isWell` says so. A loop that hangs, or a false answer that lasts, makes
   * systemd end and restart the process. Does nothing where systemd does not watch.
   */
  watch(isWell: () => boolean = () => true): void {
    if (this.pingEveryMs === null || this.timer !== null) {
      return;
    }
    const ping = (): void => {
      if (isWell()) {
        this.send("WATCHDOG=1");
      }
    };
    this.timer = setInterval(ping, this.pingEveryMs);
    this.timer.unref();
    ping();
  }
}

function statusLine(status: string): string {
  return `STATUS=${status.replace(/\s+/g, " ").slice(0, statusMax)}`;
}

function pingPeriod(environment: NodeJS.ProcessEnv): number | null {
  const period = Number(environment["WATCHDOG_USEC"] ?? "");
  const pid = environment["WATCHDOG_PID"];
  const isMeant = pid === undefined || pid === String(process.pid);
  return isMeant && Number.isSafeInteger(period) && period > 0 ? Math.ceil(period / 1000 / pingsPerPeriod) : null;
}

/** struct sockaddr_un; null when there is no such socket to speak to. */
function addressOf(socket: string): Buffer | null {
  const name = Buffer.from(socket);
  const isAbstract = socket.startsWith("@");
  const longest = isAbstract ? pathBytesMax : pathBytesMax - 1;
  if ((!isAbstract && !socket.startsWith("/")) || name.length < 2 || name.length > longest) {
    return null;
  }
  const family = Buffer.alloc(2);
  // The kernel reads it in the machine's own order; every platform that a release is made for is little-endian.
  family.writeUInt16LE(afUnix);
  if (isAbstract) {
    name[0] = 0;
  }
  return Buffer.concat([family, name, Buffer.alloc(isAbstract ? 0 : 1)]);
}

/** Best effort, as in systemd's own library: what cannot be sent now is lost, and the next ping follows. */
function sender(address: Buffer): Send {
  const library = koffi.load(null);
  const open = library.func("int socket(int, int, int)") as (domain: number, type: number, protocol: number) => number;
  const sendto = library.func("intptr_t sendto(int, const void *, size_t, int, const void *, uint)") as (
    ...words: [fd: number, data: Buffer, bytes: number, flags: number, to: Buffer, toBytes: number]
  ) => number;
  let fd = -1;
  return (text) => {
    fd = fd >= 0 ? fd : open(afUnix, sockDgramCloexecNonblock, 0);
    if (fd >= 0) {
      const data = Buffer.from(text);
      sendto(fd, data, data.length, msgNosignal, address, address.length);
    }
  };
}
