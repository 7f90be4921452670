/**
 * Jump hosts as OpenSSH writes them: `[user@]host[:port]`, several with commas, `[::1]:22` for IPv6. Pure. Called where
 * registration files are checked and where the way to the head is resolved; it must never look a name up.
 */
import { SkyError } from "../../shared/errors.ts";

export interface Jump {
  /** Null: as `~/.ssh/config` says for that host, else the caller's own name. */
  user: string | null;
  host: string;
  port: number | null;
}

/** More hops than this are a mistake. */
const jumpsMax = 8;
const jumpPattern =
  /^(?:ssh:\/\/)?(?:([A-Za-z0-9_][A-Za-z0-9_.@+\\-]*)@)?(?:\[([0-9A-Fa-f:.%a-z]+)\]|([A-Za-z0-9_][A-Za-z0-9._-]*))(?::(\d{1,5}))?\/?$/;

/** The hops in order, the first being the one that is dialled directly; `none` or nothing: no hop. Throws SkyError. */
export function parseJumps(text: string): Jump[] {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed.toLowerCase() === "none") {
    return [];
  }
  const jumps = trimmed.split(",").map((part) => {
    const match = jumpPattern.exec(part.trim());
    const port = match?.[4] === undefined ? null : Number(match[4]);
    const host = match?.[2] ?? match?.[3];
    if (host === undefined || (port !== null && (port < 1 || port > 65535))) {
      throw new SkyError("ValueError", `'${part.trim().slice(0, 80)}' is not a jump host; write user@host:port.`);
    }
    return { user: match?.[1] ?? null, host, port };
  });
  if (jumps.length > jumpsMax) {
    throw new SkyError("ValueError", `${jumps.length} jump hosts are too many; the limit is ${jumpsMax}.`);
  }
  return jumps;
}
