/**
 * How well each policy field is held on machines of one's own today, as honestly as the product does it: what a node
 * enforces and by which means, what the plan sees to, what is compared and no more, and what nothing here does. Data and
 * its lookup. It must never call a field enforced that a job could get around. Used by grades.ts, by the adapter of tasks
 * for its refusals, and by the table of docs/policies.md.
 */
import type { Mechanism } from "../launch-spec.ts";
import type { Grade } from "../policy-api.ts";

export interface OnPremGrade {
  grade: Grade;
  /** Lower case, without a stop: stands after a colon. Of `no effect`: why nothing here does it. */
  note: string;
  /** Of `no effect`: what to do in place of a demand. */
  remedy?: string;
  /** What a node must be able to do. */
  needs?: Mechanism | "containers";
}

const compared = "compared when the task is sent; nothing else looks at it";
const inContainer = "an option of the job's container; a task without an image is refused";
const services = "services are not run here yet";
const launcher = "no launcher is started; the job's script starts its own";
const failures = "programs that fail are not started again; lost machines and preemption start a job again";
const proxy = "no proxy publishes addresses of jobs";
const runsAsUser = "a job runs as the user who sends it; anybody else is refused";
const noCredentials = "no credentials are kept for fetching; a job's own secrets are used";
const nobody = "it is Run:ai's own and names nothing here";

const enforced = (note: string, needs?: OnPremGrade["needs"]): OnPremGrade => ({
  grade: "enforced",
  note,
  ...(needs === undefined ? {} : { needs }),
});
const scheduled = (note: string): OnPremGrade => ({ grade: "scheduled", note });
const checked = (note: string): OnPremGrade => ({ grade: "checked", note });
const translated = (note: string): OnPremGrade => ({ grade: "translated", note });
const nothing = (note: string, remedy = "Remove the rule."): OnPremGrade => ({ grade: "no effect", note, remedy });

/** By canonical path; an attribute without a line of its own is held as its field, a group by the line of its name. */
const table: Readonly<Record<string, OnPremGrade>> = {
  args: nothing("a task's run is a script, and nothing is appended to it", "Write it into the script."),
  command: checked("the script's text is compared; what the script does is its own"),
  createHomeDir: enforced("HOME is an empty folder that is removed at the job's end", "mount-namespace"),
  environmentVariables: checked("set when the job starts; the job's own script can change it"),
  image: enforced(
    "a task without an image runs on the node itself; require one to keep jobs in containers",
    "containers",
  ),
  imagePullPolicy: enforced("when the node fetches the image; without an image there is none", "containers"),
  imagePullSecrets: nothing(
    "logins to registries are a job's own (SKYPILOT_DOCKER_USERNAME and its neighbours)",
    "Let users give them as secrets.",
  ),
  workingDir: enforced("where setup and run begin"),
  nodeType: scheduled("only nodes with the label node-type of that value"),
  nodePools: scheduled("only nodes with the label node-pool of one of the values, in their order"),
  nodeAffinityRequired: scheduled("only nodes with equal labels, when the job is placed"),
  annotations: checked(compared),
  labels: scheduled("labels of a task choose its nodes (resources.labels)"),
  category: checked(compared),
  terminateAfterPreemption: scheduled("a preempted job ends in place of waiting again"),
  autoDeletionTimeAfterCompletionSeconds: scheduled("the job's record is dropped; its logs and files are the user's"),
  terminationGracePeriodSeconds: enforced("from TERM to KILL on the node"),
  backoffLimit: nothing(failures),
  restartPolicy: nothing(failures),
  cleanPodPolicy: translated("when a job ends, all of its ranks are ended"),
  completions: nothing("a task is one run; there are no arrays of jobs"),
  parallelism: nothing("a task is one run; there are no arrays of jobs"),
  exposedUrls: nothing(proxy),
  relatedUrls: nothing(proxy),
  podAffinity: nothing("no topology of nodes is known", "Let tasks choose nodes by `labels`."),
  ports: checked("noted with the job; nothing is opened or closed"),
  "ports[].serviceType": nothing("ports are not published; users reach them through a tunnel"),
  "ports[].external": nothing("ports are not published; users reach them through a tunnel"),
  probes: nothing("jobs are not probed"),
  tolerations: nothing("this cluster has no taints"),
  priorityClass: scheduled("seven steps of the task's priority, from -1000 to 1000"),
  preemptibility: scheduled("whether jobs of higher priority may take its place"),
  stdin: nothing("a job has no input"),
  tty: nothing("a job has no terminal"),
  privileged: enforced("--privileged is refused among the options of a job's container"),
  numWorkers: scheduled("all nodes of the task (num_nodes), which start together"),
  minReplicas: nothing("jobs are not elastic", "Use numWorkers."),
  maxReplicas: nothing("jobs are not elastic", "Use numWorkers."),
  slotsPerWorker: nothing(launcher),
  distributedFramework: nothing(launcher),
  sshAuthMountPath: nothing(launcher),
  mpiLauncherCreationPolicy: nothing(launcher),
  "security.uidGidSource": enforced(runsAsUser),
  "security.runAsUid": enforced(runsAsUser),
  "security.runAsGid": enforced(runsAsUser),
  "security.supplementalGroups": enforced("a job has all groups of its user and no others"),
  "security.runAsNonRoot": enforced("a job runs as its user; root's are refused"),
  "security.capabilities": enforced(inContainer, "containers"),
  "security.seccompProfileType": enforced(inContainer, "containers"),
  "security.readOnlyRootFilesystem": enforced(inContainer, "containers"),
  "security.hostIpc": enforced(`${inContainer} when it asks to be apart`, "containers"),
  "security.hostNetwork": enforced(
    `${inContainer} when it asks to be apart; where nobody says anything, containers share the network`,
    "containers",
  ),
  "security.allowPrivilegeEscalation": enforced(
    "false sets no_new_privs, so that sudo gains nothing",
    "no-new-privileges",
  ),
  "compute.cpuCoreRequest": scheduled("counted for each node of the job"),
  "compute.cpuMemoryRequest": scheduled("counted for each node of the job; memory: 2 of a task is 2Gi"),
  "compute.cpuCoreLimit": enforced("cpu.max of the job's cgroup, on each node", "cgroup-cpu"),
  "compute.cpuMemoryLimit": enforced("memory.max of the job's cgroup, on each node", "cgroup-memory"),
  "compute.largeShmRequest": enforced(
    "the size of /dev/shm in a container; without an image it is the node's",
    "containers",
  ),
  "compute.gpuDevicesRequest": scheduled(
    "counted for each node; a container gets these devices alone, another job is told of them by CUDA_VISIBLE_DEVICES",
  ),
  "compute.gpuRequestType": scheduled("which request for a part of a GPU counts"),
  "compute.gpuPortionRequest": translated(
    "fractions are accounted but not isolated; jobs can use more GPU memory than they asked for",
  ),
  "compute.gpuPortionLimit": nothing("nothing keeps a job to a part of a GPU", "Use migProfile."),
  "compute.gpuMemoryRequest": translated(
    "a device with at least that much memory, or the task's own kind if it has as much",
  ),
  "compute.gpuMemoryLimit": nothing("nothing keeps a job to a part of a GPU", "Use migProfile."),
  "compute.migProfile": scheduled("a MIG instance of that profile, on nodes that an admin has divided"),
  "compute.extendedResources": nothing("nodes declare no countable resources"),
  "storage.hostPath": enforced(
    "a mount of the job's container; another job sees the node's folders where they are",
    "containers",
  ),
  "storage.git": enforced("fetched on the node before the scripts, as the user"),
  "storage.git[].secretName": nothing(noCredentials),
  "storage.git[].username": nothing(noCredentials),
  "storage.git[].passwordSecret": nothing(noCredentials),
  "storage.pvc": translated("volumes that an admin publishes under a name (`volumes` in the coordinator's config)"),
  "storage.pvc[].readOnly": nothing("whether a volume can be written is said where it is published"),
  "storage.pvc[].ephemeral": nothing("no volumes are made here", "Use storage.emptyDirVolume."),
  "storage.pvc[].claimInfo": nothing("no volumes are made here"),
  "storage.pvc[].claimInfo.storageClass": nothing(
    "this cluster has no storage classes",
    "Remove the rule or map the class to a volume pool.",
  ),
  "storage.nfs": nothing(
    "jobs mount no servers",
    "Mount it on the nodes, publish it under a name (`volumes`), and use storage.pvc.",
  ),
  "storage.s3": enforced("fetched or mounted on the node, as the user"),
  "storage.s3[].url": translated("AWS_ENDPOINT_URL of the job, one for all of its buckets"),
  "storage.s3[].accessKeySecret": nothing(noCredentials),
  "storage.s3[].secretKeyOfAccessKeyId": nothing(noCredentials),
  "storage.s3[].secretKeyOfSecretKey": nothing(noCredentials),
  "storage.dataVolume": translated("volumes that an admin publishes under a name; a task's own are storage.pvc"),
  "storage.configMapVolume": nothing("there are no config maps", "Publish the files in a volume."),
  "storage.secretVolume": nothing("secrets reach a job as variables", "Use environmentVariables."),
  "storage.emptyDirVolume": enforced("an empty folder of the job, removed at its end", "mount-namespace"),
  autoscaling: nothing(services),
  servingPort: nothing(services),
  servingConfiguration: nothing(services),
  gpu: scheduled("devices for each node, or the part of one, which is accounted but not isolated"),
  runAsUser: enforced("always true: a job runs as the user who sends it"),
  volumes: translated("folders of the node are mounts of the job's container; folders of a server are not mounted"),
  jupyter: nothing("no tools are started; the job's script starts its own"),
  notebookToken: nothing("no tools are started; the job's script starts its own"),
  tensorboard: nothing("no tools are started; the job's script starts its own"),
  tensorboardLogdir: nothing("no tools are started; the job's script starts its own"),
  name: checked("the task's name is compared"),
  namePrefix: nothing("names are not made here"),
  username: nothing(nobody),
  userId: nothing(nobody),
  usage: nothing(nobody),
  baseWorkload: nothing(nobody),
  ingressUrl: nothing(nobody),
  mpi: nothing(launcher),
  mpiJob: nothing(launcher),
  pyTorchJob: nothing(launcher),
  jobType: nothing(launcher),
  runPolicy: nothing(launcher),
  metricName: nothing(services),
  class: nothing(services),
};

/** `path` may be that of an attribute (`ports[].external`). A field without a line is one that nothing here does. */
export function onPremGrade(path: string): OnPremGrade {
  for (let at = path.length; at > 0; at = Math.max(path.lastIndexOf(".", at - 1), path.lastIndexOf("[", at - 1))) {
    const name = path.slice(0, at);
    const line = Object.hasOwn(table, name) ? table[name] : undefined;
    if (line !== undefined) {
      return line;
    }
  }
  return nothing("nothing here does it");
}
