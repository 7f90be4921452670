/**
 * Who may use the tunnel's port. A port of loopback is open to everybody on this machine and to every page in its
 * browsers, so a call needs the tunnel's own random credential, must be meant for this very address, and must not come
 * from a browser. It must never say which of these was wrong. Pure; called by server.ts.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/** Of the credential's two parts, the one that is no secret. */
export const tunnelUser = "sky";

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** Equal in constant time, whatever the lengths. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other));
}

/** A decision for each call on a tunnel of this port and secret. */
export class Guard {
  readonly #hosts: readonly string[];
  readonly #authorization: string;

  constructor(port: number, secret: string) {
    this.#hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
    this.#authorization = Buffer.from(`${tunnelUser}:${secret}`).toString("base64");
  }

  /** `raw`: names and values in turn, as they came: a header that stands there twice is none. */
  allows(headers: IncomingHttpHeaders, raw: readonly string[]): boolean {
    const names = raw.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    const isOnce = (name: string): boolean => names.filter((one) => one === name).length === 1;
    const scheme = /^basic +([A-Za-z0-9+/=]+)$/i.exec(headers.authorization ?? "");
    const isKnown = isSame(scheme?.[1] ?? "", this.#authorization);
    const isFromBrowser = names.some(
      (name) => name === "origin" || name === "referer" || name.startsWith("sec-fetch-"),
    );
    const isMeant = this.#hosts.includes((headers.host ?? "").toLowerCase());
    return isKnown && isMeant && !isFromBrowser && isOnce("host") && isOnce("authorization");
  }
}
