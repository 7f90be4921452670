/**
 * Whatever is thrown inside comes out as the class of its name, with message, hint and cause.
 */
import { describe, expect, test } from "vitest";
import { SkyError, type SkyErrorType } from "../../../shared/errors.ts";
import { jobStatusSchema } from "../../../shared/job.ts";
import { exitCodes } from "../../../shared/api.ts";
import * as exceptions from "./exceptions.ts";
import { raised } from "./raise.ts";
import { JobExitCode, JobStatus } from "./statuses.ts";

const types: SkyErrorType[] = [
  "ValueError",
  "ClusterDoesNotExist",
  "ClusterNotUpError",
  "ResourcesMismatchError",
  "NotSupportedError",
  "PermissionDeniedError",
  "JobNotFoundError",
  "RequestCancelled",
  "ServerUnavailableError",
  "ConnectionError",
  "InvalidTaskError",
  "InternalError",
];

describe("what is raised", () => {
  test.each(types)("%s is a class of this name", (type) => {
    const inner = new SkyError(type, "what happened", "do this");
    const error = raised(inner);
    expect(error).toBeInstanceOf(new Map(Object.entries(exceptions)).get(type));
    expect(error).toBeInstanceOf(exceptions.SkyException);
    expect(error).toMatchObject({ name: type, message: "what happened", hint: "do this", cause: inner });
    expect(String(error)).toBe(`${type}: what happened`);
  });

  test("a name that is not known yet, and what is no error of ours", () => {
    expect(raised(new SkyError("NewerError" as SkyErrorType, "text"))).toMatchObject({
      name: "RuntimeError",
      hint: null,
    });
    expect(raised(new TypeError("x is no y"))).toMatchObject({ name: "RuntimeError", message: "x is no y" });
    expect(raised("thrown text")).toMatchObject({ message: "thrown text" });
    const own = new exceptions.CommandError(3, "make", "it failed");
    expect(raised(own)).toBe(own);
    expect(own).toMatchObject({ returncode: 3, command: "make", name: "CommandError" });
  });

  test("what is more special is also what it is a kind of", () => {
    expect(new exceptions.InvalidTaskError("")).toBeInstanceOf(exceptions.ValueError);
    expect(new exceptions.ClusterDoesNotExist("")).toBeInstanceOf(exceptions.ValueError);
    expect(new exceptions.ServerUnavailableError("")).toBeInstanceOf(exceptions.ConnectionError);
    expect(new exceptions.ResourcesUnavailableError("").failoverHistory).toEqual([]);
  });
});

test("statuses and exit codes are those that cross the API", () => {
  expect(Object.values(JobStatus).sort()).toEqual([...jobStatusSchema.options].sort());
  expect(Object.values(JobExitCode).sort((one, other) => one - other)).toEqual(
    Object.values(exitCodes).sort((one, other) => one - other),
  );
});
