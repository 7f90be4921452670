/**
 * The bytes under an SSH connection: TCP to the first machine on the way, a forwarded channel to each later one. It knows
 * no SSH beyond that. Called by client/ssh/ssh2-head.ts.
 */
import { connect as connectTcp, type Socket } from "node:net";
import type { Client, ClientChannel } from "ssh2";
import { broken, type Place, unreachable } from "./faults.ts";

const connectLimitMs = 15_000;

/** A connection that is begun before it is certain where to: almost always the file's own address is right. */
export class EarlySocket {
  private readonly guess: Place;
  private socket: Promise<Socket> | null;

  constructor(guess: Place) {
    this.guess = guess;
    this.socket = dial(guess);
    this.socket.catch(() => undefined);
  }

  /** The connection, when it leads where it should. */
  take(destination: Place): Promise<Socket> | undefined {
    const { socket } = this;
    if (socket === null || destination.host !== this.guess.host || destination.port !== this.guess.port) {
      return undefined;
    }
    this.socket = null;
    return socket;
  }

  /** Ends it when nobody took it. */
  drop(): void {
    this.socket?.then(
      (socket) => socket.destroy(),
      () => undefined,
    );
    this.socket = null;
  }
}

/** A byte stream to a server's sshd: TCP, or a channel of the hop before it. */
export async function reach(destination: Place, through: Client | null): Promise<Socket | ClientChannel> {
  if (through === null) {
    return dial(destination);
  }
  return new Promise((resolve, reject) => {
    through.forwardOut("127.0.0.1", 0, destination.host, destination.port, (error, channel) => {
      if (error === undefined) {
        resolve(channel);
      } else {
        reject(broken(destination, new Error(`the jump host cannot reach it: ${error.message}`)));
      }
    });
  });
}

function dial(place: Place): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host: place.host, port: place.port, noDelay: true, autoSelectFamily: true });
    const limit = setTimeout(
      () => socket.destroy(Object.assign(new Error("timed out"), { code: "ETIMEDOUT" })),
      connectLimitMs,
    );
    const onError = (error: Error): void => {
      clearTimeout(limit);
      reject(unreachable(place, innermost(error)));
    };
    socket.once("error", onError);
    socket.once("connect", () => {
      clearTimeout(limit);
      socket.off("error", onError);
      // Nobody may be listening yet when an early connection breaks; its taker sees that it is closed.
      socket.on("error", () => undefined);
      resolve(socket);
    });
  });
}

/** Several addresses of one name fail with an AggregateError; the first says why. */
function innermost(error: Error): unknown {
  return error instanceof AggregateError ? (error.errors[0] ?? error) : error;
}
