/**
 * Who a uid is: name, home, shell and groups, asked from the name service through getent and id as children with a time
 * limit, because directory services can hang and Node has no such call. It must never use a shell, and never take a
 * hanging or failing directory for "no such user". Answers are kept for a short while. Called by the API for each caller.
 */
import { execFile } from "node:child_process";
import { SkyError } from "../shared/errors.ts";
import { type Uid, userNameSchema } from "../shared/ids.ts";
import type { Account } from "../shared/users-policy.ts";
import { Gate } from "./gate.ts";
import type { Accounts } from "./parts.ts";

/** Milliseconds that one child may take. */
const childLimitMs = 5_000;
/** How long an answer is used: an account, and that there is none (it may be about to be created). */
const keptMs = 30_000;
const absenceKeptMs = 3_000;
/** Children at once, and callers who wait for one; a hanging directory must not fill the machine with processes. */
const childrenMax = 8;
const waitingMax = 1_000;
const entriesMax = 10_000;

/** Runs a program: its exit code and stdout. Rejects when it cannot be started or takes too long. */
export type RunChild = (program: string, args: readonly string[]) => Promise<{ code: number; stdout: string }>;

interface Entry {
  answer: Promise<Account | null>;
  until: number;
}

export class SystemAccounts implements Accounts {
  readonly #run: RunChild;
  readonly #now: () => number;
  readonly #entries = new Map<Uid, Entry>();
  readonly #children = new Gate(childrenMax);

  /** `run` and `now` (any milliseconds that only grow) are for tests. */
  constructor(run: RunChild = runChild, now: () => number = () => performance.now()) {
    this.#run = run;
    this.#now = now;
  }

  /** Null: there is no such account. Throws SkyError when the name service does not answer. */
  byUid(uid: Uid, anew?: "anew"): Promise<Account | null> {
    const kept = this.#entries.get(uid);
    const until = kept?.until ?? 0;
    if (kept !== undefined && (anew === undefined ? until > this.#now() : until === Number.POSITIVE_INFINITY)) {
      return kept.answer;
    }
    if (this.#children.waiting >= waitingMax) {
      const text = "Too many callers wait for the name service of the head machine.";
      return Promise.reject(new SkyError("ServerUnavailableError", text, "Try again in a moment."));
    }
    if (this.#entries.size >= entriesMax) {
      this.#entries.clear();
    }
    const entry: Entry = { answer: this.#children.run(() => this.#look(uid)), until: Number.POSITIVE_INFINITY };
    this.#entries.set(uid, entry);
    entry.answer.then(
      (account) => {
        entry.until = this.#now() + (account === null ? absenceKeptMs : keptMs);
      },
      () => {
        if (this.#entries.get(uid) === entry) {
          this.#entries.delete(uid);
        }
      },
    );
    return entry.answer;
  }

  async #look(uid: Uid): Promise<Account | null> {
    const found = await this.#ask(uid, "getent", ["passwd", String(uid)]);
    // 2 is getent's "not found"; anything else is a name service that could not say.
    if (found.code === 2) {
      return null;
    }
    const fields = (found.stdout.split("\n")[0] ?? "").split(":");
    const [name = "", , uidText, gidText, , home = "", shell = ""] = fields;
    if (found.code !== 0 || fields.length < 7 || Number(uidText) !== uid) {
      throw unanswered(uid, `getent passwd ${uid} ended with code ${found.code}`);
    }
    if (!userNameSchema.safeParse(name).success) {
      throw new SkyError("PermissionDeniedError", `The account of uid ${uid} has a name that is not supported.`);
    }
    // Zero bytes between them: a directory's group names may hold spaces, and half a name could be another group's.
    const listed = await this.#ask(uid, "id", ["-Gnz", "--", name]);
    const groups = listed.stdout.split("\0").filter((group) => group !== "");
    // id says 1 and still prints when one of the groups has no name.
    if (groups.length === 0) {
      throw unanswered(uid, `id -Gnz ${name} ended with code ${listed.code}`);
    }
    return { uid, gid: Number(gidText), name, home, shell, groups };
  }

  async #ask(uid: Uid, program: string, args: string[]): Promise<{ code: number; stdout: string }> {
    try {
      return await this.#run(program, args);
    } catch (error) {
      throw unanswered(uid, error instanceof Error ? error.message : String(error));
    }
  }
}

function unanswered(uid: Uid, cause: string): SkyError {
  return new SkyError(
    "ServerUnavailableError",
    `The name service of the head machine could not say who uid ${uid} is (${cause}).`,
    "Try again; an admin should look at nsswitch.conf and the directory service.",
  );
}

/** Runs a program of the system with a fixed environment and a time limit. */
export function runChild(program: string, args: readonly string[]): Promise<{ code: number; stdout: string }> {
  const options = {
    timeout: childLimitMs,
    killSignal: "SIGKILL" as const,
    maxBuffer: 1024 * 1024,
    encoding: "utf8" as const,
  };
  // A fixed locale and path: the answer is parsed, and the coordinator's own environment is nobody's business.
  const env = { PATH: "/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL: "C.UTF-8" };
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { ...options, env }, (error, stdout) => {
      if (error === null) {
        resolve({ code: 0, stdout });
      } else if (typeof error.code === "number") {
        resolve({ code: error.code, stdout });
      } else {
        reject(
          new Error(error.killed === true ? `${program} took longer than ${childLimitMs / 1000} s` : error.message),
        );
      }
    });
  });
}
