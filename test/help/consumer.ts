/**
 * A program that uses the package `sky-onprem` as strangers do: in a folder with nothing else, checked as strictly as a
 * compiler can. Every function and class of the package is used once with its types, and what must not compile is said
 * beside it. Used by the test of the packed package.
 */

/** To be checked; it is never run. */
export const checkedProgram = `
import * as sky from "sky-onprem";
import { ClusterDoesNotExist, type JobRecord, type RequestId, Task } from "sky-onprem";

export async function all(): Promise<void> {
  const resources: sky.Resources = new sky.Resources({ accelerators: { V100: 4 }, cpus: "8+", memory: 32, labels: { a: "b" } });
  const other = resources.copy({ accelerators: new Set(["V100:4", "A100:2"]), cpus: null });
  const task: Task = new Task({ name: "a", run: (rank, ips) => (rank === 0 ? ips.join(" ") : null), numNodes: 2 })
    .setResources(new Set([resources, other]))
    .setResources([resources, other])
    .setResourcesOverride({ memory: "64+" })
    .setEnvs({ A: "1" })
    .updateEnvs([["B", "2"]])
    .setSecrets({ C: "3" })
    .updateSecrets({ D: "4" })
    .setFileMounts({ "~/a": "/a" })
    .updateFileMounts({ "~/b": "/b" })
    .setStorageMounts({ "/c": new sky.Storage({ source: "s3://c", mode: sky.StorageMode.COPY }) })
    .updateStorageMounts({});
  const text: string = task.toYaml() + Task.fromYaml("task.yaml").toYaml();
  const dag = new sky.Dag().add(task);
  const request: RequestId<sky.SubmitResult> = await sky.launch(dag, { clusterName: "lab", fast: true, noSetup: true });
  const { jobId, handle, dryrun } = await sky.get(request);
  const id: number | null = jobId;
  const head: string | undefined = handle?.headIp;
  const soon: boolean | undefined = dryrun?.startsNow;
  const again: sky.SubmitResult = await sky.streamAndGet(request, { tail: 5, follow: true, outputStream: { write: () => true } });
  await sky.get(await sky.exec(task, { clusterName: "lab", dryrun: true }));
  const rows: JobRecord[] = await sky.get(await sky.queue("lab", { skipFinished: true, allUsers: false }));
  const isOver = rows.some((row) => row.status === sky.JobStatus.SUCCEEDED || row.status === "FAILED");
  const statuses: Map<number | null, sky.JobStatus | null> = await sky.get(await sky.jobStatus("lab", [1]));
  const code: sky.JobExitCode = await sky.tailLogs("lab", id, { follow: false, tail: 3 });
  const paths: Record<string, string> = await sky.get(await sky.downloadLogs("lab"));
  const ended: number[] = await sky.get(await sky.cancel("lab", { all: true }));
  const clusters: sky.ClusterRecord[] = await sky.get(await sky.status({ refresh: sky.StatusRefreshMode.FORCE }));
  const isUp = clusters.every((cluster) => cluster.status === sky.ClusterStatus.UP);
  const nothing: null = await sky.get(await sky.down("lab", { purge: false }));
  await sky.get(await sky.start("lab"));
  await sky.get(await sky.stop("lab"));
  await sky.get(await sky.autostop("lab", -1));
  const requests: sky.RequestRecord[] = await sky.apiStatus({ allStatus: true, limit: 3 });
  const cancelled: string[] = await sky.get(await sky.apiCancel(requests.map((one) => one.requestId)));
  const infos: sky.ApiServerInfo[] = await sky.apiInfo();
  await sky.apiStart({ clusterName: "lab" });
  const foreign: unknown = await sky.get("0123abcd");
  const target: sky.OptimizeTarget = sky.OptimizeTarget.COST;
  void [text, head, soon, again, isOver, statuses, code, paths, ended, isUp, nothing, cancelled, infos, foreign, target];

  // @ts-expect-error an option that there is not
  await sky.launch(task, { cluster: "lab" });
  // @ts-expect-error a number in the environment
  task.setEnvs({ A: 1 });
  // @ts-expect-error a status that there is not
  rows.some((row) => row.status === "DONE");
  // @ts-expect-error resources never change
  resources.cpus = 5;
}

export function told(error: unknown): string {
  if (error instanceof ClusterDoesNotExist || error instanceof sky.exceptions.NotSupportedError) {
    return error.message + (error.hint ?? "");
  }
  return error instanceof sky.ResourcesUnavailableError ? String(error.failoverHistory.length) : "";
}
`;

/** To be run: says what is there, and under which names. */
export const runProgram = `
import * as sky from "sky-onprem";
const task = new sky.Task({ name: "packed", run: (rank) => "echo " + rank }).setResources(new sky.Resources({ cpus: 2 }));
const names = Object.entries(sky.exceptions).map(([name, Kind]) => [name, new Kind("text", "", "").name]);
const lost = await sky.launch(task, { clusterName: "nowhere" }).catch((error) => [error.name, error instanceof sky.ClusterDoesNotExist]);
console.log(JSON.stringify({ exported: Object.keys(sky).sort(), wrong: names.filter(([name, own]) => name !== own), lost, yaml: task.toYaml() }));
`;

/** What the package exports besides classes of errors. */
export const surface = [
  ..."launch exec status queue jobStatus tailLogs downloadLogs cancel down start stop autostop".split(" "),
  ..."get streamAndGet apiStatus apiCancel apiInfo apiStart".split(" "),
  ..."Task Resources Dag Storage StorageMode exceptions".split(" "),
  ..."ClusterStatus JobStatus OptimizeTarget StatusRefreshMode JobExitCode".split(" "),
  ..."UserRequest MutatedUserRequest AdminPolicyRequestName Config".split(" "),
];
