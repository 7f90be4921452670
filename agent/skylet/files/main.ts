/**
 * The files program: brings what a job needs to its destinations before its setup, as the user, inside the attempt's own
 * session. Its output is the setup log, its exit code that of the setup. Told to end, it leaves no unfinished file.
 * Started by the runner script: `node skylet.mjs files FOLDER`, with the attempt's folder.
 */
import { existsSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { isAbsolute, join, normalize } from "node:path";
import { messageOf } from "../../../shared/errors.ts";
import type { FilePlan } from "../../../shared/files.ts";
import { attemptFiles } from "../runner-script.ts";
import type { Bringing } from "./bringing.ts";
import { takeClaim } from "./claim.ts";
import { bytesText } from "../../../shared/units.ts";
import { FilesFault } from "./fault.ts";
import { bringGit } from "./git.ts";
import { type FilesOrder, filesOrderSchema } from "./order.ts";
import { Questions } from "./questions.ts";
import { type RecordHead, readRecord, recordName, recordPath, recordsFolder } from "./record.ts";
import { bringUpload, resolved } from "./upload.ts";
import { bringUri } from "./uri.ts";
import { bringVolume } from "./volume.ts";

/** Another job's files that were put there this long ago are mentioned; milliseconds. */
const recentMs = 10 * 60_000;

function print(line: string): void {
  process.stdout.write(`files: ${line}\n`);
}

/** `~/x` and `x` lie in the home. */
function placeOf(order: FilesOrder, destination: string): { destination: string; label: string } {
  const relative = destination.replace(/^~(\/|$)/u, "");
  if (isAbsolute(relative) && relative !== destination) {
    throw new FilesFault(`'${destination}' is no place for files. Give a path such as ~/data or /data.`);
  }
  const absolute = isAbsolute(relative) ? normalize(relative) : join(order.home, relative);
  const trimmed = absolute.length > 1 ? absolute.replace(/\/+$/u, "") : absolute;
  const inHome = trimmed.startsWith(`${order.home}/`);
  return { destination: trimmed, label: inHome ? `~${trimmed.slice(order.home.length)}` : trimmed };
}

/** What has to be undone when the program is told to end, the newest first. */
const endings: (() => void)[] = [];

function endNow(code: number): never {
  for (const act of endings.splice(0).toReversed()) {
    try {
      act();
    } catch {
      // The others still have to be done.
    }
  }
  process.exit(code);
}

async function bring(order: FilesOrder, folder: string, plan: FilePlan, questions: Questions): Promise<void> {
  const { destination: given, label } = placeOf(order, plan.destination);
  const destination = resolved(given);
  const say = (line: string): void => print(`${label}: ${line}`);
  const claim = await takeClaim(
    join(recordsFolder(order.home), `${recordName(destination)}.claim`),
    { attempt: order.attempt, job: order.job },
    say,
  );
  const level = endings.length;
  endings.push(() => claim.release());
  try {
    const bringing: Bringing = {
      order,
      folder,
      destination,
      label,
      claim,
      questions,
      say,
      onEnd: (act) => endings.push(act),
    };
    switch (plan.kind) {
      case "upload":
        await upload(bringing, plan.manifest);
        break;
      case "git":
        await bringGit(bringing, plan);
        break;
      case "uri":
        await bringUri(bringing, plan);
        break;
      case "volume":
        bringVolume(bringing, plan);
        break;
    }
  } finally {
    endings.splice(level);
    claim.release();
  }
}

async function upload(bringing: Bringing, manifest: string): Promise<void> {
  const { order, destination, claim, say } = bringing;
  const path = recordPath(order.home, destination);
  const before = readRecord(path, destination)?.head ?? null;
  const begin = performance.now();
  const result = await bringUpload({
    ...bringing,
    manifest,
    recordPath: path,
    attempt: order.attempt,
    job: order.job,
    abandoned: claim.abandoned,
  });
  if (result.written > 0) {
    const seconds = (performance.now() - begin) / 1000;
    const count = `${result.written} ${result.written === 1 ? "file" : "files"}`;
    say(`${count} written, ${bytesText(result.fetchedBytes)} fetched in ${seconds.toFixed(1)} s`);
  }
  const isOther = before !== null && before.job !== order.job && before.manifest !== manifest;
  if (isOther && result.written > 0 && Date.now() - before.at < recentMs && !isOver(before)) {
    const where = before.host === hostname() ? "" : ` on ${before.host}`;
    const ago = Math.max(0, Math.round((Date.now() - before.at) / 1000));
    say(`job ${before.job}${where} put other files here ${ago} s ago; where both have a file, this job's is there now`);
  }
}

/** The job has surely ended; what runs on another machine that shares the home cannot be seen from here. */
function isOver({ host, folder }: RecordHead): boolean {
  return host === hostname() && (!existsSync(folder) || existsSync(join(folder, attemptFiles.exit)));
}

/** Ends the process. */
export async function runFiles(folder: string): Promise<never> {
  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => endNow(code));
  }
  let questions: Questions | null = null;
  try {
    const order = filesOrderSchema.parse(JSON.parse(readFileSync(join(folder, attemptFiles.filesOrder), "utf8")));
    const { GIT_TOKEN: _token, GIT_SSH_KEY_PATH: _key, ...forTools } = order.credentials;
    Object.assign(process.env, forTools);
    questions = new Questions({ socket: order.socket, agentUid: order.agentUid }, order.attempt, print);
    for (const plan of order.plans) {
      // oxlint-disable-next-line no-await-in-loop -- in the task's order: a later one may lie inside an earlier one
      await bring(order, folder, plan, questions);
    }
  } catch (error) {
    print(error instanceof FilesFault ? error.message : `machine '${hostname()}': ${messageOf(error)}`);
    endNow(1);
  }
  questions.close();
  process.exit(0);
}
