// What can go wrong, as classes: a task that is wrong, a cluster that is not there, a job that fits nowhere.
//   node examples/sdk/errors.mjs my-cluster
import * as sky from "sky-onprem";

const clusterName = process.argv[2] ?? "my-cluster";

try {
  new sky.Resources({ useSpot: true });
} catch (error) {
  if (!(error instanceof sky.NotSupportedError)) throw error;
  console.log(`not supported: ${error.message}`);
}

try {
  await sky.launch(new sky.Task({ run: "true" }), { clusterName: "nowhere" });
} catch (error) {
  if (!(error instanceof sky.ClusterDoesNotExist)) throw error;
  console.log(`no cluster: ${error.message}`);
}

// The cluster takes the request and refuses it then: `get` raises.
const huge = new sky.Task({ run: "true" }).setResources(new sky.Resources({ accelerators: "V100:1000" }));
const request = await sky.launch(huge, { clusterName });
try {
  await sky.get(request);
} catch (error) {
  if (!(error instanceof sky.ResourcesMismatchError)) throw error;
  console.log(`too much: ${error.message}`);
}
