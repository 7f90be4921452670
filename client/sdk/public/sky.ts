/**
 * The package `sky-onprem` as programs import it: `import * as sky from "sky-onprem"`. It names what there is and holds
 * nothing itself; each function and class is described where it stands. Nothing inside the product may import it.
 */
export * as exceptions from "./exceptions.ts";
export { apiCancel, apiInfo, apiStart, apiStatus, get, streamAndGet } from "./api.ts";
export type { ApiCancelOptions, ApiServerOptions, ApiStartOptions, ApiStatusOptions, StreamOptions } from "./api.ts";
export { autostop, down, launch, start, status, stop } from "./clusters.ts";
export type { AutostopOptions, LaunchOptions, PurgeOptions, StartOptions, StatusOptions } from "./clusters.ts";
export {
  ClusterDoesNotExist,
  ClusterNotUpError,
  ClusterOwnerIdentityMismatchError,
  CloudUserIdentityError,
  CommandError,
  ConnectionError,
  InternalError,
  InvalidClusterNameError,
  InvalidTaskError,
  JobNotFoundError,
  NoCloudAccessError,
  NotSupportedError,
  PermissionDeniedError,
  RequestCancelled,
  ResourcesMismatchError,
  ResourcesUnavailableError,
  RuntimeError,
  ServerUnavailableError,
  SkyException,
  StorageError,
  UserRequestRejectedByPolicy,
  ValueError,
} from "./exceptions.ts";
export type { ExceptionOptions } from "./exceptions.ts";
export { cancel, downloadLogs, exec, jobStatus, queue, tailLogs } from "./jobs.ts";
export type { CancelOptions, ExecOptions, QueueOptions, TailLogsOptions } from "./jobs.ts";
export { Resources } from "./resources.ts";
export type { Accelerators, ResourcesOptions } from "./resources.ts";
export { ClusterStatus, JobExitCode, JobStatus, OptimizeTarget, StatusRefreshMode } from "./statuses.ts";
export type { RequestStatus } from "./statuses.ts";
export { Storage, StorageMode } from "./storage.ts";
export type { StorageOptions } from "./storage.ts";
export { Dag } from "./dag.ts";
export { AdminPolicy, AdminPolicyRequestName, MutatedUserRequest, UserRequest } from "./policy.ts";
export type { Holdings, PolicyUser, RequestOptions, UserRequestOptions } from "./policy.ts";
export { Config } from "./policy-config.ts";
export type { NestedOptions } from "./policy-config.ts";
export { Task } from "./task.ts";
export type { CommandGenerator, TaskOptions, Workdir } from "./task.ts";
export type {
  ApiServerInfo,
  ClusterHandle,
  ClusterRecord,
  DryrunResult,
  JobRecord,
  OutputStream,
  RequestId,
  RequestRecord,
  SubmitResult,
} from "./types.ts";
