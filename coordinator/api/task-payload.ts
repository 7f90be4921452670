/**
 * From a task to what its job needs on the nodes: scripts, variables, and the plan of its files, in which each local
 * source has become the manifest that the client uploaded and each volume the path that an admin publishes. Everything
 * that would fail on a node and can be known here is refused here. Called by routes-submit.ts; it must never write, and
 * its messages must never hold a secret.
 */
import { join } from "node:path";
import { SkyError } from "../../shared/errors.ts";
import type { FilePlan, Uploads } from "../../shared/files.ts";
import type { Payload, Shape } from "../../shared/job.ts";
import type { LaunchSpec } from "../../shared/launch-spec.ts";
import { didYouMean } from "../../shared/near-match.ts";
import type { FileMount, FileSource, Task, VolumeMount } from "../../shared/task.ts";
import { workdirDestination } from "../../shared/task-paths.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { FileStore } from "../parts.ts";
import { hasReferences } from "../policy/secret-values.ts";

/** Of what a user wrote, in messages. */
const shownMax = 200;

export interface PayloadRequest {
  kind: "launch" | "exec";
  /** The task's setup is left out. */
  noSetup: boolean;
  /** Nothing will be queued, and so nothing was uploaded. */
  dryrun: boolean;
  uploads: Uploads;
}

type Place = Pick<CoordinatorConfig, "cluster" | "volumes">;

/**
 * What lies in the store for the job. Throws SkyError: "InvalidTaskError" for a local source that was not uploaded,
 * "ValueError" for an unknown volume, "PermissionDeniedError" for one that this account may not use.
 */
export async function payloadOf(
  task: Task,
  request: PayloadRequest,
  account: Account,
  place: Place,
  files: FileStore,
): Promise<Payload> {
  const takesSetup = request.kind === "launch" && !request.noSetup;
  const plans = await filesOf(task, request, account, place, files);
  const { secrets, image, imageOptions, eventCallback, runGenerator, launchSpec } = task;
  requireSizes(launchSpec);
  return {
    setup: takesSetup ? task.setup : null,
    run: task.run,
    envs: task.envs,
    ...(secrets === undefined ? {} : { secrets }),
    ...(plans.length === 0 ? {} : { files: plans }),
    ...(runGenerator === undefined ? {} : { runGenerator }),
    ...(image === undefined ? {} : { image: { name: image, options: imageOptions ?? [] } }),
    ...(eventCallback === undefined ? {} : { eventCallback }),
    ...(launchSpec === undefined ? {} : { launchSpec }),
  };
}

/** The size of a folder on disk could be promised, but nothing would keep it. */
function requireSizes({ scratch = [] }: LaunchSpec = {}): void {
  const folder = scratch.find((one) => one.sizeBytes !== undefined && one.memory === undefined);
  if (folder !== undefined) {
    throw new SkyError(
      "NotSupportedError",
      `storage.emptyDirVolume: the size of '${folder.path.slice(0, shownMax)}' can only be kept in memory.`,
      "Give it the medium Memory, or no size.",
    );
  }
}

/** In the order in which they are laid: mounts, volumes, the working folder. `exec` brings no mounts. */
async function filesOf(
  task: Task,
  request: PayloadRequest,
  account: Account,
  place: Place,
  files: FileStore,
): Promise<FilePlan[]> {
  const plans: FilePlan[] = [];
  const take = async (mount: FileMount, what: string): Promise<void> => {
    const plan = await planOf(mount, what, request, account, files);
    plans.push(...(plan === null ? [] : [plan]));
  };
  for (const mount of request.kind === "launch" ? (task.fileMounts ?? []) : []) {
    await take(mount, "The file mount source");
  }
  for (const volume of task.volumes ?? []) {
    plans.push(volumeOf(volume, account, place));
  }
  if (task.workdir !== undefined) {
    await take({ destination: workdirDestination, source: task.workdir, mode: "COPY" }, "The working folder");
  }
  return plans;
}

/** Null only in a dry run, for what was not uploaded. */
async function planOf(
  { destination, source, mode, readOnly }: FileMount,
  what: string,
  request: PayloadRequest,
  { uid }: Account,
  files: FileStore,
): Promise<FilePlan | null> {
  switch (source.kind) {
    case "git":
      return { kind: "git", destination, url: source.url, ref: source.ref };
    case "uri":
      return { kind: "uri", destination, uri: source.uri, mode, readOnly: readOnly === true };
    case "local": {
      const manifest = manifestOf(source, what, request);
      if (manifest === null) {
        return null;
      }
      if (!(await files.hasManifest(uid, manifest))) {
        throw new SkyError(
          "InvalidTaskError",
          `${what} '${source.path.slice(0, shownMax)}' is not among your uploads on the cluster, or not any more.`,
          "Send the task again: what is missing is uploaded anew.",
        );
      }
      return { kind: "upload", destination, manifest };
    }
  }
}

function manifestOf({ path }: FileSource & { kind: "local" }, what: string, request: PayloadRequest): string | null {
  const manifest = Object.hasOwn(request.uploads, path) ? request.uploads[path] : undefined;
  if (manifest === undefined && !request.dryrun) {
    throw new SkyError(
      "InvalidTaskError",
      `${what} '${path.slice(0, shownMax)}' was not uploaded with the task.`,
      "A client uploads local files before it sends the task: upgrade the one that you use, or use `sky`.",
    );
  }
  return manifest ?? null;
}

function volumeOf({ destination, name, subPath }: VolumeMount, account: Account, place: Place): FilePlan {
  const isOpen = ({ users, groups }: Place["volumes"][number]): boolean =>
    (users === undefined && groups === undefined) ||
    users?.includes(account.name) === true ||
    groups?.some((group) => account.groups.includes(group)) === true;
  const volume = place.volumes.find((one) => one.name === name);
  if (volume === undefined) {
    const open = place.volumes.filter(isOpen).map((one) => one.name);
    const list = open.length === 0 ? "None is published for you." : `There are: ${open.join(", ").slice(0, 1000)}.`;
    throw new SkyError(
      "ValueError",
      `There is no volume '${name.slice(0, shownMax)}' on cluster '${place.cluster}'.`,
      didYouMean(name, open) ?? list,
    );
  }
  if (!isOpen(volume)) {
    throw new SkyError(
      "PermissionDeniedError",
      `Volume '${name}' of cluster '${place.cluster}' is not open to ${account.name}.`,
      "Who may use it is an admin's to say (`volumes` in the coordinator's config).",
    );
  }
  const path = subPath === undefined ? volume.path : join(volume.path, subPath);
  return { kind: "volume", destination, name, path, readOnly: volume.read_only };
}

/** The shape with what the payload, and a setup's that goes with it, need of a node: newer agents, a container program. */
export function withNeeds(shape: Shape, payload: Payload, setup: Payload | null = null): Shape {
  const { files, secrets, runGenerator, image, eventCallback, launchSpec } = payload;
  const parts = [files, setup?.files, secrets, runGenerator, image, eventCallback, launchSpec];
  // What takes a project's secret goes to the node as a secret.
  const brings = hasReferences(payload) || parts.some((part) => part !== undefined);
  return {
    ...shape,
    ...(brings ? { brings: true } : {}),
    ...(image === undefined ? {} : { container: true }),
  };
}
