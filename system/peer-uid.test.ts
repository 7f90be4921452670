import { spawn } from "node:child_process";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { peerUid } from "./peer-uid.ts";

it.runIf(process.getuid?.() === 0)(
  "tells the uid of each of many callers, and nothing for a closed socket",
  async () => {
    const dir = await mkdtemp(join(tmpdir(), "sky-peer-"));
    await chmod(dir, 0o755);
    const path = join(dir, "s");
    const sockets: Socket[] = [];
    const seen: (number | null)[] = [];
    const server = createServer((socket) => {
      seen.push(peerUid(socket));
      sockets.push(socket);
      socket.end();
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await chmod(path, 0o666);
    const code = "require('net').connect(process.argv[1]).on('connect',function(){this.end()})";
    const uids = [0, 1001, 65533, 4294967294];
    for (const uid of uids) {
      const child = spawn("setpriv", ["--reuid", String(uid), "--clear-groups", process.execPath, "-e", code, path]);
      const exit = await new Promise((resolve) => child.on("exit", resolve));
      expect(exit).toBe(0);
    }
    expect(seen).toEqual(uids);
    const client = connect(path);
    await new Promise((resolve) => client.on("close", resolve).resume());
    expect(peerUid(client)).toBeNull();
    server.close();
    await rm(dir, { recursive: true });
  },
);
