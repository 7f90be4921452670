/**
 * From the errors inside the product to the classes that programs catch. Whatever is thrown anywhere comes out as one of
 * them, with message, hint and cause. It must never lose a text and never show a stack in one. Called by every public
 * function.
 */
import { messageOf, SkyError } from "../../../shared/errors.ts";
import {
  ClusterDoesNotExist,
  ClusterNotUpError,
  ConnectionError,
  type ExceptionOptions,
  InternalError,
  InvalidTaskError,
  JobNotFoundError,
  NotSupportedError,
  PermissionDeniedError,
  RequestCancelled,
  ResourcesMismatchError,
  RuntimeError,
  ServerUnavailableError,
  SkyException,
  UserRequestRejectedByPolicy,
  ValueError,
} from "./exceptions.ts";

type ExceptionClass = new (message: string, options?: ExceptionOptions) => SkyException;

/** By the name that crosses the API; a name that is not here (a newer coordinator's) becomes RuntimeError. */
const classes = new Map<string, ExceptionClass>(
  Object.entries({
    ClusterDoesNotExist,
    ClusterNotUpError,
    ConnectionError,
    InternalError,
    InvalidTaskError,
    JobNotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    RequestCancelled,
    ResourcesMismatchError,
    ServerUnavailableError,
    UserRequestRejectedByPolicy,
    ValueError,
  }),
);

/** The exception for anything that was thrown. */
export function raised(thrown: unknown): SkyException {
  if (thrown instanceof SkyException) {
    return thrown;
  }
  if (thrown instanceof SkyError) {
    const Exception = classes.get(thrown.type) ?? RuntimeError;
    return new Exception(thrown.message, { hint: thrown.hint, cause: thrown });
  }
  return new RuntimeError(messageOf(thrown), { cause: thrown });
}

/** What `work` gives; what it throws, as an exception. */
export async function raising<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw raised(error);
  }
}

/** The same for what is done at once. */
export function raisingNow<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw raised(error);
  }
}
