// Many jobs at once, and waiting for all of them. Each waits in the queue until it fits.
//   node examples/sdk/many.mjs my-cluster
import * as sky from "sky-onprem";

const clusterName = process.argv[2] ?? "my-cluster";
const quarter = new sky.Resources({ accelerators: "V100:0.25" });
/** Takes a job's text and keeps none of it. */
const silent = { write: () => true };

// One launch initializes the cluster on this machine; the jobs are sent with exec.
await sky.get(await sky.launch(new sky.Task(), { clusterName }));

const requests = await Promise.all(
  Array.from({ length: 12 }, (_, index) => {
    const task = new sky.Task({ name: `part-${index}`, run: "test $PART -ne 7", envs: { PART: String(index) } });
    return sky.exec(task.setResources(quarter), { clusterName });
  }),
);
const jobs = await Promise.all(requests.map((request) => sky.get(request)));

// Following a job waits for its end; its exit code says how it ended.
const codes = await Promise.all(jobs.map(({ jobId }) => sky.tailLogs(clusterName, jobId, { outputStream: silent })));
const failed = jobs.filter((_, index) => codes[index] !== sky.JobExitCode.SUCCEEDED).map(({ jobId }) => jobId);
const statuses = await sky.get(await sky.jobStatus(clusterName, failed.flatMap((id) => id ?? [])));

console.log(`${codes.length - failed.length} of ${codes.length} succeeded`);
for (const [id, status] of statuses) {
  console.log(`job ${id}: ${status}`);
}
