/**
 * Brings the logs of jobs home: each rank's files and, as `run.log`, the text that `sky logs` shows. Every file appears
 * whole or not at all, and a longer one from before is never replaced by one that is not complete. Called by
 * client/commands/logs.ts and the SDK.
 */
import { createWriteStream, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { LogFilesResult } from "../../shared/log-files-api.ts";
import type { FollowResult } from "../sdk/follow.ts";
import type { LogFileCalls } from "../sdk/log-files.ts";

export interface DownloadCalls {
  logFiles: LogFileCalls;
  tailLogs(
    body: { job_id: number; follow: boolean; tail: number; colors: boolean },
    write: (chunk: Buffer) => Promise<void>,
    signal: AbortSignal,
  ): Promise<FollowResult>;
}

export interface DownloadedLogs {
  job: number;
  /** The folder; null: the job has written nothing yet. */
  path: string | null;
  /** What is missing, a sentence each. */
  warnings: string[];
}

/** Says which attempt's logs a folder holds: job ids begin again when a cluster is set up anew. */
const marker = ".attempt";
const foldersMax = 1000;
const filesAtOnce = 4;

function ownerOf(folder: string): string | null {
  try {
    return readFileSync(join(folder, marker), "utf8").trim();
  } catch {
    return null;
  }
}

/** The folder of this attempt below `parent`, made when it is not there. */
function folderOf(parent: string, { job_id, job_name, attempt }: LogFilesResult): string {
  const base = `${job_id}-${job_name ?? "sky-cmd"}`;
  for (let number = 1; number <= foldersMax; number += 1) {
    const folder = join(parent, number === 1 ? base : `${base}.${number}`);
    const isThere = statSync(folder, { throwIfNoEntry: false }) !== undefined;
    if (isThere && ownerOf(folder) !== attempt) {
      continue;
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, marker), `${attempt}\n`);
    return folder;
  }
  throw new SkyError("ValueError", `${join(parent, base)} and ${foldersMax - 1} more of this name exist.`);
}

/** A file that is written beside its place and takes it at the end. */
class Draft {
  readonly #path: string;
  readonly #draft: string;
  #bytes = 0;
  readonly #stream: ReturnType<typeof createWriteStream>;
  #fault: Error | null = null;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#path = path;
    this.#draft = `${path}.${process.pid}.part`;
    this.#stream = createWriteStream(this.#draft, { mode: 0o600 });
    this.#stream.on("error", (error) => {
      this.#fault = error;
    });
  }

  write(bytes: Buffer): Promise<void> {
    this.#bytes += bytes.length;
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, (error) => {
        if (error === null || error === undefined) {
          resolve();
        } else {
          reject(new SkyError("ValueError", `Cannot write ${this.#draft}: ${messageOf(error)}.`));
        }
      });
    });
  }

  /** Takes the place unless something longer is there and this is not `complete`; false: it did not. */
  async finish(complete: boolean): Promise<boolean> {
    await this.#closed();
    if (this.#fault !== null) {
      throw new SkyError("ValueError", `Cannot write ${this.#draft}: ${messageOf(this.#fault)}.`);
    }
    const before = statSync(this.#path, { throwIfNoEntry: false });
    if (!complete && before !== undefined && before.size >= this.#bytes) {
      rmSync(this.#draft, { force: true });
      return false;
    }
    renameSync(this.#draft, this.#path);
    return true;
  }

  async drop(): Promise<void> {
    await this.#closed();
    rmSync(this.#draft, { force: true });
  }

  #closed(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stream.closed) {
        resolve();
      } else {
        this.#stream.once("close", () => resolve());
        this.#stream.end();
      }
    });
  }
}

/** Writes one file; resolves with a warning when it is not complete. `fetch` resolves with the reason for that. */
async function fetchInto(
  path: string,
  fetch: (write: (bytes: Buffer) => Promise<void>) => Promise<string | null>,
): Promise<string | null> {
  const draft = new Draft(path);
  try {
    const fault = await fetch((bytes) => draft.write(bytes)).catch((error: unknown) => {
      // A full disk here ends it all; a node that does not answer leaves the other files.
      if (error instanceof SkyError && error.message.startsWith("Cannot write")) {
        throw error;
      }
      return messageOf(error);
    });
    const taken = await draft.finish(fault === null);
    return fault === null ? null : `${path} is not complete${taken ? "" : ", what was here is kept"}: ${fault}`;
  } catch (error) {
    await draft.drop();
    throw error;
  }
}

/** Brings one job's logs into a folder below `parent`. Rejects with a SkyError when there is no such job. */
export async function downloadJobLogs(calls: DownloadCalls, job: number, parent: string): Promise<DownloadedLogs> {
  const listed = await calls.logFiles.files(job);
  const { attempt, files } = listed;
  if (attempt === null || files.length === 0) {
    return { job, path: null, warnings: [] };
  }
  const folder = folderOf(parent, listed);
  const warnings: string[] = [];
  const left = files.map(
    (file) => async () =>
      fetchInto(join(folder, file.path), (write) => calls.logFiles.fetch(job, attempt, file, write)),
  );
  left.push(() =>
    fetchInto(join(folder, "run.log"), async (write) => {
      const body = { job_id: job, follow: false, tail: 0, colors: false };
      await calls.tailLogs(body, write, new AbortController().signal);
      return null;
    }),
  );
  const lane = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const warning = await next();
      if (warning !== null) {
        warnings.push(warning);
      }
    }
  };
  await Promise.all(Array.from({ length: filesAtOnce }, lane));
  return { job, path: folder, warnings };
}

/** Where the logs of a cluster's jobs go. Apart from those that jobs write themselves when this machine is a node. */
export function logsFolder(home: string, cluster: string): string {
  return join(home, "sky_logs", cluster);
}

/** A pattern of shells (`*`, `?`, `[abc]`) that a whole word must fit. */
function patternOf(glob: string): RegExp {
  const source = glob
    .replaceAll(/[.+^${}()|\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  try {
    return new RegExp(`^${source.replaceAll("[!", "[^")}$`, "s");
  } catch {
    throw new SkyError("ValueError", `'${glob}' is no pattern: its brackets do not match.`);
  }
}

/** All jobs that words name: numbers, names or their beginnings, patterns of either. Throws when a word names none. */
export function jobsNamed(words: readonly string[], jobs: readonly { id: number; name: string | null }[]): number[] {
  const chosen = words.flatMap((word) => {
    if (/^[0-9]+$/.test(word)) {
      return [Number(word)];
    }
    const pattern = patternOf(word);
    const whole = jobs.filter(({ id, name }) => pattern.test(String(id)) || (name !== null && pattern.test(name)));
    const isEnough = whole.length > 0 || /[*?[]/.test(word);
    const fitting = isEnough ? whole : jobs.filter(({ name }) => name?.startsWith(word) === true);
    if (fitting.length === 0) {
      throw new SkyError("JobNotFoundError", `No job of yours is called '${word}'.`, "`sky queue` lists your jobs.");
    }
    return fitting.map(({ id }) => id);
  });
  return [...new Set(chosen)].sort((a, b) => a - b);
}
