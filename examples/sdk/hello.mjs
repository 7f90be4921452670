// The smallest program: one job, its output, its exit code.
//   node examples/sdk/hello.mjs my-cluster
import * as sky from "sky-onprem";

const clusterName = process.argv[2] ?? "my-cluster";
const task = new sky.Task({ name: "hello", run: "echo Hello from $(whoami), rank $SKYPILOT_NODE_RANK" });

const { jobId } = await sky.get(await sky.launch(task, { clusterName }));
process.exitCode = await sky.tailLogs(clusterName, jobId);
