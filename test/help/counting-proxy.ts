/**
 * A TCP relay on loopback that counts what goes through, holds it back above a mark, and cuts it: what a client really
 * sends, whatever is encrypted inside. Used by tests of uploads.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface CountingProxy {
  port: number;
  /** Bytes from clients to the server, of all connections since `reset`. */
  up: () => number;
  /** Counts from 0 again; the mark goes away. */
  reset: () => void;
  /** Above this many bytes nothing more goes up until `reset`. */
  holdAt: (bytes: number) => void;
  /** So many bytes a second go up from now on; null: as many as can. */
  pace: (bytesPerSecond: number | null) => void;
  /** Ends all connections at once. */
  cut: () => void;
  stop: () => Promise<void>;
}

function carryDown(target: Socket, client: Socket): void {
  target.on("data", (bytes) => {
    if (!client.write(bytes)) {
      target.pause();
      client.once("drain", () => target.resume());
    }
  });
  client.once("close", () => target.destroy());
  target.once("close", () => client.destroy());
}

export async function startCountingProxy(targetPort: number): Promise<CountingProxy> {
  let up = 0;
  let mark = Number.POSITIVE_INFINITY;
  const sockets = new Set<Socket>();
  const held = new Set<Socket>();
  let perSecond: number | null = null;
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => {
      sockets.delete(socket);
      held.delete(socket);
    });
  };
  const server = createServer((client) => {
    const target = connect(targetPort, "127.0.0.1");
    track(client);
    track(target);
    client.on("data", (bytes) => {
      up += bytes.length;
      const room = target.write(bytes);
      if (up >= mark) {
        held.add(client);
        client.pause();
      } else if (perSecond !== null) {
        client.pause();
        setTimeout(() => client.resume(), (bytes.length * 1000) / perSecond);
      } else if (!room) {
        client.pause();
        target.once("drain", () => {
          if (!held.has(client)) {
            client.resume();
          }
        });
      }
    });
    carryDown(target, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const socket of sockets) {
      socket.destroy();
    }
  };
  return {
    port: (server.address() as AddressInfo).port,
    up: () => up,
    reset() {
      up = 0;
      mark = Number.POSITIVE_INFINITY;
      for (const socket of held) {
        socket.resume();
      }
      held.clear();
    },
    holdAt(bytes) {
      mark = bytes;
    },
    pace(bytesPerSecond) {
      perSecond = bytesPerSecond;
    },
    cut,
    async stop() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
