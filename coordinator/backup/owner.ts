/**
 * Working in the coordinator's own folders with the rights of the account that they belong to, also when root has given
 * the command: what that account could have put there, a link for example, must never lead root anywhere. Entering and
 * leaving changes the whole process, so it is for a program that does one thing. Used by take.ts, put-back.ts and
 * main.ts.
 */
import { statSync } from "node:fs";
import { messageOf, SkyError } from "../../shared/errors.ts";

export class Owner {
  readonly uid: number;
  readonly gid: number;
  readonly #switches: boolean;

  private constructor(uid: number, gid: number) {
    this.uid = uid;
    this.gid = gid;
    this.#switches = process.getuid?.() === 0 && uid !== 0;
  }

  /** The account that this folder belongs to. Throws SkyError when it is neither the caller nor one that root can be. */
  static of(folder: string): Owner {
    let facts: { uid: number; gid: number };
    try {
      facts = statSync(folder);
    } catch (error) {
      throw new SkyError("ValueError", `${folder} cannot be used: ${messageOf(error)}.`, "Run it as root on the head.");
    }
    const me = process.getuid?.() ?? 0;
    if (me !== 0 && me !== facts.uid) {
      throw new SkyError("PermissionDeniedError", `${folder} belongs to uid ${facts.uid}, you are ${me}.`, "Use sudo.");
    }
    return new Owner(facts.uid, facts.gid);
  }

  /** Root becomes the owner, for files and sockets. */
  enter(): void {
    if (this.#switches) {
      process.setgroups?.([this.gid]);
      process.setegid?.(this.gid);
      process.seteuid?.(this.uid);
    }
  }

  /** What enter() did is undone. */
  leave(): void {
    if (this.#switches) {
      process.seteuid?.(0);
      process.setegid?.(0);
    }
  }

  /** Does this one synchronous thing with the rights of the caller, e.g. starts a process. */
  outside<T>(work: () => T): T {
    this.leave();
    try {
      return work();
    } finally {
      this.enter();
    }
  }

  /** Flags for setpriv: a child that is the owner for good, and ends with this process. */
  setprivFlags(): string[] {
    const ids = [`--reuid=${this.uid}`, `--regid=${this.gid}`, "--clear-groups", "--no-new-privs"];
    return [...(this.#switches ? ids : []), "--pdeathsig=KILL"];
  }
}
