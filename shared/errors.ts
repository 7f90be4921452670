/**
 * Errors meant for people. Each names the thing, the place and the way out, and carries the class name that SkyPilot
 * uses for the same fault, so that the API and the SDK can raise what scripts expect. It must never hold a stack trace
 * or a secret. Thrown by every part; turned into HTTP in coordinator/api and into text in client/output.
 */

/** Class names that cross the API; SkyPilot's own where it has one. */
export type SkyErrorType =
  | "ValueError"
  | "ClusterDoesNotExist"
  | "ClusterNotUpError"
  | "ResourcesMismatchError"
  | "NotSupportedError"
  | "PermissionDeniedError"
  | "JobNotFoundError"
  | "RequestCancelled"
  | "ServerUnavailableError"
  | "ConnectionError"
  | "InvalidTaskError"
  | "InvalidPolicyError"
  | "UserRequestRejectedByPolicy"
  | "InternalError";

/** An error with a text for the user. `hint` is the next thing to do and is printed on a line of its own. */
export class SkyError extends Error {
  readonly type: SkyErrorType;
  readonly hint: string | null;

  constructor(type: SkyErrorType, message: string, hint: string | null = null) {
    super(message);
    this.name = type;
    this.type = type;
    this.hint = hint;
  }
}

/** The message of anything that was thrown, without its stack. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** For the default branch of a switch over a union: adding a member without handling it does not compile. */
export function assertNever(value: never): never {
  throw new Error(`unexpected value: ${JSON.stringify(value)}`);
}
