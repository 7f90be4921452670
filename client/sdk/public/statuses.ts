/**
 * The words of the Python SDK's enums, as objects whose values are the words themselves: a status can be compared with
 * `JobStatus.RUNNING` and with `"RUNNING"`. They must stay the same as what crosses the API (a test compares). Exported
 * by the package.
 */

/** How a cluster stands. */
export const ClusterStatus = {
  /** It did not answer when it was asked, or none of its machines is up. */
  INIT: "INIT",
  /** It was launched on from this machine. */
  UP: "UP",
  /** Never seen here: the machines are one's own and are not stopped. */
  STOPPED: "STOPPED",
} as const;
export type ClusterStatus = (typeof ClusterStatus)[keyof typeof ClusterStatus];

/** How a job stands. */
export const JobStatus = {
  /** It has its machines and is being started there. */
  INIT: "INIT",
  /** It waits in its user's queue; `reason` of its row in `queue` says what for. */
  PENDING: "PENDING",
  /** Its setup runs. */
  SETTING_UP: "SETTING_UP",
  /** Its run script runs. */
  RUNNING: "RUNNING",
  /** It was lost with its machine, or its runner failed. */
  FAILED_DRIVER: "FAILED_DRIVER",
  SUCCEEDED: "SUCCEEDED",
  /** Its run script ended with another exit code than 0. */
  FAILED: "FAILED",
  /** Its setup did. */
  FAILED_SETUP: "FAILED_SETUP",
  CANCELLED: "CANCELLED",
} as const;
export type JobStatus = (typeof JobStatus)[keyof typeof JobStatus];

/** What a choice of machines is made for. Machines of one's own cost the same all day: only COST, the default, has a meaning. */
export const OptimizeTarget = { COST: "COST", TIME: "TIME" } as const;
export type OptimizeTarget = (typeof OptimizeTarget)[keyof typeof OptimizeTarget];

/** Whether `status` asks the clusters themselves. */
export const StatusRefreshMode = {
  /** It tells what this machine remembers, without a connection. */
  NONE: "NONE",
  /** It asks every cluster; here the same as FORCE. */
  AUTO: "AUTO",
  /** It asks every cluster. */
  FORCE: "FORCE",
} as const;
export type StatusRefreshMode = (typeof StatusRefreshMode)[keyof typeof StatusRefreshMode];

/** What `tailLogs` returns: the exit code that a program which follows the job should end with. */
export const JobExitCode = {
  SUCCEEDED: 0,
  FAILED: 100,
  /** The job had not ended when following ended. */
  NOT_FINISHED: 101,
  NOT_FOUND: 102,
  CANCELLED: 103,
} as const;
export type JobExitCode = (typeof JobExitCode)[keyof typeof JobExitCode];

/** How a request stands. */
export type RequestStatus = "PENDING" | "WAITING" | "RUNNING" | "SUCCEEDED" | "FAILED" | "CANCELLED";
