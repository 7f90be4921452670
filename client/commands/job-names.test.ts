/** Which job a person means by a name or the beginning of one; the rows are those of a queue. */
import { describe, expect, it } from "vitest";
import { queueResultSchema } from "../../shared/api.ts";
import { jobRow } from "../../test/help/stand-in-head.ts";
import { jobsOf } from "./job-names.ts";

const rows = queueResultSchema.parse([
  jobRow(1, { job_name: "train", end_at: 5 }),
  jobRow(2, { job_name: "train", end_at: null }),
  jobRow(3, { job_name: "train", end_at: 9 }),
  jobRow(4, { job_name: "train-large", end_at: null }),
  jobRow(5, { job_name: "eval", end_at: null }),
  jobRow(6, { job_name: null, end_at: null }),
]);
let asked = 0;
const calls = {
  queue: async () => {
    asked += 1;
    return rows;
  },
};

describe("a job's name", () => {
  it("means the newest of that name; to cancel, the newest that has not ended", async () => {
    expect(await jobsOf(calls, ["train"])).toEqual([3]);
    expect(await jobsOf(calls, ["train"], "unfinished")).toEqual([2]);
    expect(await jobsOf(calls, ["train-"])).toEqual([4]);
    expect(await jobsOf(calls, ["ev", "5", "1"])).toEqual([5, 1]);
  });

  it("that fits several is refused with all of them, one that fits none with the nearest", async () => {
    await expect(jobsOf(calls, ["t"])).rejects.toMatchObject({
      name: "ValueError",
      message: expect.stringContaining("train, train-large"),
    });
    await expect(jobsOf(calls, ["evil"])).rejects.toMatchObject({
      name: "JobNotFoundError",
      hint: expect.stringContaining("eval"),
    });
    await expect(jobsOf(calls, ["0"])).rejects.toThrow("begin at 1");
    await expect(jobsOf(calls, ["../x"])).rejects.toThrow("number or its name");
  });

  it("costs no call where all are numbers", async () => {
    asked = 0;
    expect(await jobsOf(calls, ["12", "12", "7"])).toEqual([12, 7]);
    expect(asked).toBe(0);
  });
});
