// Every call is a request with an id: send several, look at them, and come back for what they came to, also from another
// program or with `sky api`.
//   node examples/sdk/requests.mjs my-cluster
import * as sky from "sky-onprem";

const clusterName = process.argv[2] ?? "my-cluster";

const launching = await sky.launch(new sky.Task({ name: "first", run: "sleep 0.1" }), { clusterName });
const { jobId } = await sky.streamAndGet(launching);
console.log(`request ${launching.slice(0, 8)} gave job ${jobId}`);

const sending = await sky.exec(new sky.Task({ name: "second", run: "sleep 1000" }), { clusterName });
const second = await sky.get(sending);

for (const request of await sky.apiStatus({ allStatus: true })) {
  console.log(`${request.name} ${request.status}`);
}

const cancelled = await sky.get(await sky.cancel(clusterName, { jobIds: [second.jobId ?? 0] }));
console.log(`cancelled: ${cancelled.join(", ")}`);
