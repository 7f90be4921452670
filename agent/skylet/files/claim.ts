/**
 * Who writes a destination just now: a claim file beside its record, renewed while its owner works, so that ranks that
 * share one home write once and two jobs do not write through one another. Nothing depends on it for being right: a claim
 * that is stale is taken over, one that cannot be made is gone without, and every file is written whole. Called by main.ts.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { randomBytes } from "node:crypto";
import * as z from "zod";
import { livingProcess } from "../processes.ts";

const claimSchema = z.strictObject({
  owner: z.string(),
  attempt: z.string(),
  job: z.number(),
  host: z.string(),
  pid: z.number(),
  /** Rises while the owner works. */
  beat: z.number(),
});
type ClaimText = z.infer<typeof claimSchema>;

const beatEveryMs = 2_000;
const lookEveryMs = 250;
/** A claim whose beat has not risen for this long on the clock of who waits belongs to nobody. */
const staleMs = 30_000;
/** Then it is gone without: both write the same, or the last one wins file by file. */
const waitLimitMs = 30 * 60_000;

export interface Claim {
  /** Attempts whose unfinished files may lie about. */
  abandoned: string[];
  /** Waited for somebody. */
  waited: boolean;
  /** Without effect when it was taken over meanwhile. */
  release(): void;
}

/** Null: there is none. An empty or torn one is as good as a stale one, but gets its time. */
function read(path: string): ClaimText | "torn" | null {
  try {
    const parsed = claimSchema.safeParse(JSON.parse(readFileSync(path, "utf8")));
    return parsed.success ? parsed.data : "torn";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? null : "torn";
  }
}

/** Takes the claim, waiting for its owner where there is one. `say`: a line for the log; `limits` in milliseconds. */
export async function takeClaim(
  path: string,
  own: { attempt: string; job: number },
  say: (line: string) => void,
  limits = { staleMs, waitLimitMs },
): Promise<Claim> {
  const text: ClaimText = {
    owner: randomBytes(8).toString("hex"),
    host: hostname(),
    pid: process.pid,
    beat: 0,
    ...own,
  };
  const abandoned: string[] = [];
  const begin = performance.now();
  let seen = { mark: "", at: begin };
  let said = false;
  for (;;) {
    if (make(path, text) || performance.now() - begin > limits.waitLimitMs) {
      return held(path, text, abandoned, said);
    }
    const other = read(path);
    const mark = JSON.stringify(other);
    seen = mark === seen.mark ? seen : { mark, at: performance.now() };
    const isDead = other !== null && other !== "torn" && other.host === text.host && livingProcess(other.pid) === null;
    if (isDead || performance.now() - seen.at > limits.staleMs) {
      abandoned.push(...(other === null || other === "torn" ? [] : [other.attempt]));
      remove(path, text.owner, mark);
    } else if (other !== null && other !== "torn" && !said) {
      said = true;
      say(
        `${other.attempt === own.attempt ? "another rank of this job" : `job ${other.job}`} on ${other.host} is writing there; waiting for it`,
      );
    }
    // oxlint-disable-next-line no-await-in-loop -- a pause between looks
    await delay(lookEveryMs);
  }
}

/** True also when no claim can be made there at all: what is wrong with the place is said when files are written. */
function make(path: string, text: ClaimText): boolean {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch {
    return true;
  }
  try {
    writeFileSync(path, JSON.stringify(text), { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "EEXIST";
  }
}

/** Renamed first: of two who find it stale, one removes it, and a new one that came meanwhile is mostly left alone. */
function remove(path: string, owner: string, mark: string): void {
  const aside = `${path}.${owner}`;
  try {
    if (JSON.stringify(read(path)) === mark) {
      renameSync(path, aside);
      rmSync(aside, { force: true });
    }
  } catch {
    // Somebody else did it.
  }
}

function held(path: string, text: ClaimText, abandoned: string[], waited: boolean): Claim {
  const isOwn = (): boolean => {
    const now = read(path);
    return now !== null && now !== "torn" && now.owner === text.owner;
  };
  const timer = setInterval(() => {
    text.beat += 1;
    try {
      if (isOwn()) {
        const draft = `${path}.${text.owner}.part`;
        writeFileSync(draft, JSON.stringify(text), { mode: 0o600 });
        renameSync(draft, path);
      }
    } catch {
      // Others may take over; both write whole files.
    }
  }, beatEveryMs);
  timer.unref();
  const release = (): void => {
    clearInterval(timer);
    try {
      if (isOwn()) {
        rmSync(path, { force: true });
      }
    } catch {
      // It gets stale.
    }
  };
  return { abandoned, waited, release };
}
