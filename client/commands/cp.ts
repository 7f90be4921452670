/**
 * `sky cp`: copies files between this machine and the caller's home on the cluster's head, or on a node, over the
 * caller's own SSH login. No part of the cluster is asked, and root has no part in it. The nearest thing to scp and rsync
 * that needs neither.
 */
import { SkyError } from "../../shared/errors.ts";
import { printable } from "../../shared/printable.ts";
import { didYouMean } from "../../shared/near-match.ts";
import { copyBetween, type Side } from "../files/copy.ts";
import { localSide } from "../files/local-side.ts";
import type { RegisteredCluster } from "../local/registered.ts";
import { bytesText } from "../../shared/units.ts";
import { Rate } from "../output/transfer-text.ts";
import type { HeadConnection } from "../ssh/head.ts";
import { sftpSide } from "../ssh/sftp-side.ts";
import { callsTo, findLocal } from "./clusters.ts";
import { type Context, UsageError } from "./context.ts";

export interface CpFlags {
  node?: string;
}

interface Place {
  /** Null: this machine. */
  cluster: string | null;
  path: string;
}

/** `NAME:PATH`, as in scp: a colon before the first slash. A Windows drive is one letter and stays a path. */
export function placeOf(word: string): Place {
  const match = /^([^/\\:]{2,}|[^/\\:a-zA-Z]):(.*)$/s.exec(word);
  // Windows takes both kinds of slashes; here one kind is enough to know.
  const here = process.platform === "win32" ? word.replaceAll("\\", "/") : word;
  return match === null ? { cluster: null, path: here } : { cluster: match[1] ?? "", path: match[2] ?? "" };
}

/** SFTP begins in the home: `~` is taken off. */
function inHome(path: string): string {
  if (path === "" || path === "~" || path === "~/") {
    return path === "~" || path === "" ? "." : "./";
  }
  return path.startsWith("~/") ? path.slice(2) : path;
}

/** The node as a machine behind the head, for the same account. */
async function nodeBehindHead(
  context: Context,
  registered: RegisteredCluster,
  name: string,
): Promise<RegisteredCluster> {
  const calls = callsTo(context, { name: registered.name, registered, initialized: null });
  try {
    const { nodes } = await calls.nodes();
    const node = nodes.find((one) => one.name === name || one.label === name);
    if (node === undefined) {
      const hint =
        didYouMean(
          name,
          nodes.map((one) => one.name),
        ) ?? `Its nodes: ${nodes.map((one) => one.name).join(", ")}.`;
      throw new SkyError("ValueError", `Cluster '${registered.name}' has no node '${name}'.`, hint);
    }
    if (node.address === null) {
      throw new SkyError("ValueError", `The address of node '${name}' is not known yet.`);
    }
    const { user, headIp, port, jumpHost } = registered;
    const head = `${user}@${headIp}${port === null ? "" : `:${port}`}`;
    return {
      ...registered,
      headIp: node.address,
      port: null,
      jumpHost: jumpHost === null ? head : `${jumpHost},${head}`,
      hostKey: null,
    };
  } finally {
    calls.close();
  }
}

async function connectTo(
  context: Context,
  registered: RegisteredCluster,
  node: string | undefined,
): Promise<HeadConnection> {
  if (registered.transport === "openssh") {
    throw new SkyError(
      "NotSupportedError",
      `sky cp does not work with 'transport: openssh' (${registered.file}).`,
      `Use the ssh programs themselves: scp -r ${registered.user}@${registered.headIp}:PATH .`,
    );
  }
  if (node === undefined) {
    return (await context.connect(registered)) as HeadConnection;
  }
  const behind = await nodeBehindHead(context, registered, node);
  try {
    return (await context.connect(behind)) as HeadConnection;
  } catch (error) {
    if (error instanceof SkyError && error.type === "ConnectionError") {
      throw new SkyError(
        "ConnectionError",
        `You cannot log in to node '${node}' through the head: ${error.message}`,
        "sky cp --node needs an sshd on the node that takes your key. Else let the job write into a shared folder.",
      );
    }
    throw error;
  }
}

async function remoteSide(context: Context, head: HeadConnection, name: string): Promise<Side> {
  if (head.isHere === true) {
    return localSide(context.home, `${name}:`);
  }
  if (head.openSftp === undefined) {
    throw new SkyError("NotSupportedError", `The way to cluster '${name}' (${head.how}) carries no files.`);
  }
  return sftpSide(await head.openSftp(), `${name}:`);
}

/** Runs the command; resolves with the exit code. */
export async function cp(context: Context, source: string, target: string, flags: CpFlags): Promise<number> {
  const { screen } = context;
  const [from, to] = [placeOf(source), placeOf(target)];
  const name = from.cluster ?? to.cluster;
  if (name === null || (from.cluster !== null && to.cluster !== null)) {
    throw new UsageError("Exactly one side must be on a cluster.", "E.g. sky cp lab:results/ ./results");
  }
  const { registered } = findLocal(context, name);
  const head = await connectTo(context, registered, flags.node);
  const rate = new Rate();
  const startedAt = performance.now();
  let bytes = 0;
  let drawnAt = 0;
  const onBytes = (path: string, more: number): void => {
    const now = performance.now();
    bytes += more;
    rate.add(bytes, now);
    if (now - startedAt > 1000 && now - drawnAt > 100) {
      drawnAt = now;
      const perSecond = rate.perSecond(now);
      const speed = perSecond === null ? "" : `, ${bytesText(perSecond)}/s`;
      screen.progress.show(0, 0, printable(path), `${bytesText(bytes)}${speed}`);
    }
  };
  const warn = (text: string): void => {
    screen.progress.clear();
    screen.note(screen.noteColors.yellow(`Warning: ${printable(text)}`));
  };
  try {
    const remote = await remoteSide(context, head, name);
    const local = localSide(context.cwd);
    const copied =
      from.cluster === null
        ? await copyBetween(local, from.path, remote, inHome(to.path), { onBytes, warn })
        : await copyBetween(remote, inHome(from.path), local, to.path, { onBytes, warn });
    screen.progress.clear();
    const same = copied.same === 0 ? "" : `; ${copied.same} were there already`;
    screen.note(`Copied ${copied.files} file${copied.files === 1 ? "" : "s"}, ${bytesText(copied.bytes)}${same}.`);
    return 0;
  } finally {
    screen.progress.clear();
    head.close();
  }
}
