// A command of its own for each node. The generator is called on the nodes, where the addresses are known: its text is
// sent, so it may use nothing but its arguments.
//   node examples/sdk/two-nodes.mjs my-cluster
import * as sky from "sky-onprem";

const clusterName = process.argv[2] ?? "my-cluster";
const task = new sky.Task({
  name: "two-nodes",
  numNodes: 2,
  run: (rank, ips) =>
    rank === 0 ? `echo the head serves ${ips.length - 1} worker` : `echo worker ${rank} turns to ${ips[0]}`,
});

const { jobId } = await sky.get(await sky.launch(task, { clusterName }));
process.exitCode = await sky.tailLogs(clusterName, jobId);
