/**
 * Who is at the other end of a unix socket, from the kernel (SO_PEERCRED). Node has no call for it, so getsockopt is
 * called through koffi. Anything but a clean answer is null, and the caller destroys the socket; the peer's pid is never
 * used, because it may belong to another process by now. Called by agent/skylets.ts and coordinator/api/server.ts for
 * every connection, at once when it is accepted.
 */
import type { Socket } from "node:net";
import koffi from "koffi";
import type { Uid } from "../shared/ids.ts";

const solSocket = 1;
const soPeercred = 17;
/** struct ucred: pid, uid, gid, four bytes each. */
const credentialBytes = 12;
const noUser = 0xffff_ffff;

let getsockopt: ((fd: number, level: number, name: number, value: Buffer, length: Buffer) => number) | null = null;

/** The uid of the process that made the connection; null when the kernel does not say so cleanly. */
export function peerUid(socket: Socket): Uid | null {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  if (typeof fd !== "number" || fd < 0) {
    return null;
  }
  getsockopt ??= koffi.load(null).func("int getsockopt(int, int, int, _Out_ void *, _Inout_ void *)");
  // Fresh buffers for each call: a reused one would keep the last caller's uid when the call fails.
  const value = Buffer.alloc(credentialBytes, 0xff);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(credentialBytes);
  if (getsockopt(fd, solSocket, soPeercred, value, length) !== 0 || length.readUInt32LE() !== credentialBytes) {
    return null;
  }
  const uid = value.readUInt32LE(4);
  return uid === noUser ? null : uid;
}
