/**
 * The errors that programs catch: one class for each name that the Python SDK raises, and those that machines of one's
 * own add. Each has a text for people in `message`, the next thing to do in `hint`, and what lies beneath in `cause`. They
 * hold no secrets. Made by client/sdk/public/raise.ts and by the classes beside this file.
 */

/** What an error may carry besides its message. */
export interface ExceptionOptions {
  /** The next thing to do, as one sentence. Default: null. */
  hint?: string | null;
  /** What lies beneath. Default: nothing. */
  cause?: unknown;
}

/**
 * Everything that functions of this package raise. `error.name` is the class's name.
 *
 * @example
 * try {
 *   await sky.get(await sky.exec(task, { clusterName: "lab" }));
 * } catch (error) {
 *   if (error instanceof sky.ClusterDoesNotExist) console.error(error.message, error.hint);
 *   else throw error;
 * }
 */
export class SkyException extends Error {
  /** The next thing to do; null when there is nothing to advise. */
  readonly hint: string | null;

  constructor(message: string, options: ExceptionOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options.hint ?? null;
  }
}

/** An argument, an option or a file has a value that cannot be used. */
export class ValueError extends SkyException {}

/** The task's file or fields are wrong; every fault is named, with its line where there is a file. */
export class InvalidTaskError extends ValueError {}

/** The text cannot be the name of a cluster. */
export class InvalidClusterNameError extends ValueError {}

/** No cluster of this name is registered in `~/.sky/local`. */
export class ClusterDoesNotExist extends ValueError {}

/** The cluster is registered but was never launched on from this machine, or it was taken down. */
export class ClusterNotUpError extends ValueError {}

/** The cluster belongs to somebody else. Never raised here: a cluster is shared by all of its users. */
export class ClusterOwnerIdentityMismatchError extends SkyException {}

/** Who the caller is could not be found out. Never raised here: the head's kernel knows. */
export class CloudUserIdentityError extends SkyException {}

/** The task asks for more than any machine of the cluster has, or for what an admin's rules never allow. */
export class ResourcesMismatchError extends SkyException {}

/** What the task asks for cannot be had. Where a cluster is simply full, the job waits and nothing is raised. */
export class ResourcesUnavailableError extends SkyException {
  /** Failures of the places that were tried before; always empty on machines of one's own. */
  readonly failoverHistory: readonly Error[];

  constructor(message: string, options: ExceptionOptions & { failoverHistory?: readonly Error[] } = {}) {
    super(message, options);
    this.failoverHistory = options.failoverHistory ?? [];
  }
}

/** What was asked for has no meaning on machines of one's own (stopping them, spot prices, regions), or not yet. */
export class NotSupportedError extends SkyException {}

/** A command on another machine failed. */
export class CommandError extends SkyException {
  /** The command's exit code. */
  readonly returncode: number;
  readonly command: string;

  constructor(returncode: number, command: string, message: string, options: ExceptionOptions = {}) {
    super(message, options);
    this.returncode = returncode;
    this.command = command;
  }
}

/** No place to run jobs can be used: no cluster is registered in `~/.sky/local`. */
export class NoCloudAccessError extends SkyException {}

/** The request was cancelled before it was done. */
export class RequestCancelled extends SkyException {}

/** A policy of the cluster's admins refused the request. */
export class UserRequestRejectedByPolicy extends SkyException {}

/** The caller may not do this. */
export class PermissionDeniedError extends SkyException {}

/** The caller has no job, or no request, of this id. */
export class JobNotFoundError extends ValueError {}

/** Storage that a task names cannot be used. */
export class StorageError extends SkyException {}

/** The cluster's head cannot be reached, or the connection to it was lost for longer than is worth waiting. */
export class ConnectionError extends SkyException {}

/** The coordinator answers but cannot serve just now; the same call may work in a moment. */
export class ServerUnavailableError extends ConnectionError {}

/** Something went wrong that has no better name. */
export class RuntimeError extends SkyException {}

/** A fault of the coordinator itself; its log knows more. */
export class InternalError extends RuntimeError {}
