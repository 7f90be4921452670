/**
 * Files from web addresses and buckets, brought by the machine's own well-kept tools as the user. COPY fetches what has
 * changed, MOUNT makes the bucket a folder for as long as the attempt lasts. A tool that is missing is named, with what to
 * do instead. Called by main.ts.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { FilePlan } from "../../../shared/files.ts";
import type { Bringing } from "./bringing.ts";
import { type Bucket, bucketOf } from "./bucket.ts";
import { asFault, FilesFault } from "./fault.ts";
import { mountBucket } from "./mounts.ts";
import { recordName, recordsFolder } from "./record.ts";
import { askTool, findTool, firstTool, runTool } from "./tool.ts";

type UriPlan = Extract<FilePlan, { kind: "uri" }>;

export async function bringUri(bringing: Bringing, plan: UriPlan): Promise<void> {
  const isPlain = !/[\u0000-\u001F]/u.test(plan.uri);
  if (isPlain && /^https?:\/\//u.test(plan.uri)) {
    await fetchWeb(bringing, plan.uri);
    return;
  }
  const bucket = bucketOf(plan.uri);
  if (bucket === null || !isPlain) {
    throw new FilesFault(`'${plan.uri}' is no address of files that is known.`);
  }
  if (plan.mode === "COPY") {
    await copyBucket(bringing, plan.uri, bucket);
  } else {
    await mountBucket(bringing, plan, bucket);
  }
}

/** One file, fetched again only when the server says that it is another one. */
async function fetchWeb({ destination, label, order, say, onEnd }: Bringing, uri: string): Promise<void> {
  const tool = firstTool(["curl", "wget"]);
  if (tool === null) {
    throw new FilesFault(`${uri} needs curl or wget, and this machine has neither. Ask its admin for one of them.`);
  }
  const path = isFolder(destination) ? join(destination, basename(new URL(uri).pathname) || "index.html") : destination;
  const part = join(dirname(path), `.sky-part-${order.attempt}`);
  const mark = join(recordsFolder(order.home), `${recordName(`${path}\n${uri}`)}.etag`);
  const clear = (): void => rmSync(part, { force: true });
  onEnd(clear);
  try {
    mkdirSync(dirname(path), { recursive: true });
    clear();
  } catch (error) {
    throw asFault(error, `write ${label}`);
  }
  // The address may be a secret (a signature, a password), and arguments are for everybody on the machine to see.
  const isCurl = tool === "curl";
  const input = isCurl ? `url = "${uri.replaceAll(/["\\]/gu, "\\$&")}"\n` : `${uri}\n`;
  const code = await runTool(
    tool,
    isCurl ? curlWords(uri, part, path, mark) : ["-q", "-O", part, "-i", "-"],
    {},
    input,
  );
  if (code !== 0) {
    clear();
    throw new FilesFault(`${uri} could not be fetched to ${label}: ${tool} ended with exit code ${code}.`);
  }
  // Nothing came: what is there is what the server has.
  if (sizeOf(part) === null) {
    return;
  }
  const size = sizeOf(part) ?? 0;
  if (isUnchanged(part, path)) {
    clear();
    return;
  }
  try {
    renameSync(part, path);
  } catch (error) {
    clear();
    throw asFault(error, `write ${label}`);
  }
  say(`${uri} fetched, ${size} bytes`);
}

/** `-R` sets the server's time, by which `-z` asks the next time; the tag is asked for too where the server has one. */
function curlWords(uri: string, part: string, path: string, mark: string): string[] {
  const words = ["-q", "--fail", "--silent", "--show-error", "--location", "--retry", "3", "--remote-time"];
  const proto = uri.startsWith("https:") ? "=https" : "=http,https";
  words.push("--proto", proto, "--proto-redir", proto, "--output", part, "--etag-save", mark);
  if (sizeOf(path) !== null) {
    words.push("--etag-compare", mark, "--time-cond", path);
  }
  return [...words, "--config", "-"];
}

function sizeOf(path: string): number | null {
  try {
    return statSync(path).size;
  } catch {
    return null;
  }
}

function isNothing(path: string): boolean {
  return sizeOf(path) === null || (isFolder(path) && readdirSync(path).length === 0);
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** An answer without content for what has not changed leaves an empty file behind with some versions of curl. */
function isUnchanged(part: string, path: string): boolean {
  return sizeOf(part) === 0 && (sizeOf(path) ?? 0) > 0;
}

interface CopyTool {
  /** The programs that do it; the first that is there is taken. */
  programs: string[];
  words(program: string, uri: string, destination: string, bucket: Bucket): string[][];
}

/** One object or all below a prefix: the tools tell them apart by being asked. */
const copyTools: Record<string, CopyTool> = {
  s3: {
    programs: ["aws"],
    words: (_program, uri, destination, { bucket, key }) => {
      const isObject =
        key !== "" && askTool("aws", ["s3api", "head-object", "--bucket", bucket, "--key", key]).code === 0;
      return [["s3", isObject ? "cp" : "sync", "--no-progress", "--no-follow-symlinks", uri, destination]];
    },
  },
  gs: {
    programs: ["gcloud", "gsutil"],
    words: (program, uri, destination, { key }) => {
      const stat = program === "gcloud" ? ["storage", "objects", "describe", uri] : ["-q", "stat", uri];
      const isObject = key !== "" && askTool(program, stat).code === 0;
      const gcloud = ["storage", ...(isObject ? ["cp"] : ["rsync", "--recursive"]), uri, destination];
      return [program === "gcloud" ? gcloud : ["-m", ...(isObject ? ["cp"] : ["rsync", "-r"]), uri, destination]];
    },
  },
  hf: {
    programs: ["hf", "huggingface-cli"],
    words: (_program, uri, destination) => {
      const [first = "", ...rest] = uri.replace(/^hf:\/\//u, "").split("/");
      const isTyped = first === "datasets" || first === "spaces";
      const repository = (isTyped ? rest : [first, ...rest]).slice(0, 2).join("/");
      const type = isTyped ? ["--repo-type", first.slice(0, -1)] : [];
      return [["download", repository, ...type, "--local-dir", destination]];
    },
  },
  r2: { programs: ["rclone"], words: (_program, uri, destination) => [rcloneWords(uri, destination)] },
};

/** `copyto`, unlike `copy`, lays one object down as the destination itself, as the other tools do. */
function rcloneWords(uri: string, destination: string): string[] {
  return ["copyto", "--", remoteOf(uri), destination];
}

/** rclone's name of it: a remote that the user has set up under the scheme's name. */
function remoteOf(uri: string): string {
  return uri.replace(/^([a-z0-9]+):\/\//u, "$1:");
}

async function copyBucket({ destination, label, say }: Bringing, uri: string, bucket: Bucket): Promise<void> {
  const tool = copyTools[bucket.scheme];
  const own = tool?.programs.find((program) => findTool(program) !== null) ?? null;
  const program = own ?? firstTool(["rclone"]);
  if (program === null) {
    const names = [...new Set([...(tool?.programs ?? []), "rclone"])].join("', '");
    throw new FilesFault(
      `${uri} needs one of '${names}', and this machine has none of them. Install one in your home, or ask the admin.`,
    );
  }
  const runs =
    own === null || tool === undefined
      ? [rcloneWords(uri, destination)]
      : tool.words(program, uri, destination, bucket);
  try {
    mkdirSync(dirname(destination), { recursive: true });
  } catch (error) {
    throw asFault(error, `make the folder ${label}`);
  }
  for (const words of runs) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const code = await runTool(program, words);
    if (code !== 0) {
      throw new FilesFault(`${uri} could not be copied to ${label}: ${program} ended with exit code ${code}.`);
    }
  }
  // To most tools a name that nothing has is an empty folder, and no fault.
  if (bucket.key !== "" && isNothing(destination)) {
    throw new FilesFault(`${uri} could not be copied to ${label}: nothing of that name is there.`);
  }
  say(`${uri} copied by ${program}`);
}
