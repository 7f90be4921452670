/**
 * The fields of policies as tables: path, type, kinds (W workspace, T training, D distributed, I inference), field of a task
 * file, what it is. Indented lines are the attributes of an item: name, type, what it is. Read by fields.ts alone; the
 * sources are sections A.5 to A.8 of the design of the policies. How well each is held stands in grades-table.ts.
 */

export const generalTable = `
args | string | WTDI | \`run\` | Arguments after the command.
command | string | WTDI | \`run\` | What runs in place of the image's entry point.
createHomeDir | boolean | WTDI | \`workload:\` | Whether HOME is a temporary folder of the job.
image | string | WTDI | \`resources.image_id\` | The container image that the job runs in.
imagePullPolicy | string | WTDI | \`workload:\` | When the image is fetched again.
workingDir | string | WTDI | \`workload:\` | The folder in which the program starts.
nodeType | string | WTDI | \`workload:\` | Label of the group of nodes to run on.
nodePools | array | WTDI | \`workload:\` | Pools of nodes, the preferred first.
nodeAffinityRequired | object | WTDI | \`workload:\` | Conditions on labels that a node must meet.
terminateAfterPreemption | boolean | WTD | \`workload:\` | Whether a preempted job ends in place of waiting again.
autoDeletionTimeAfterCompletionSeconds | integer | WTD | \`workload:\` | Seconds after its end until a job is deleted.
terminationGracePeriodSeconds | integer | WTD | \`workload:\` | Seconds from the request to end until the kill.
backoffLimit | integer | WTD | none | How often a failed job is started again.
restartPolicy | string | WTD | none | Whether a program that ended is started again.
cleanPodPolicy | string | D | none | What becomes of the other workers when a job ends.
completions | integer | WT | \`workload:\` | How many runs must succeed.
parallelism | integer | WT | \`workload:\` | How many runs go on at one time.
podAffinity.type | string | WTDI | none | Whether places near each other are required or preferred.
podAffinity.key | string | WTDI | none | The label that says what is near.
probes.readiness.initialDelaySeconds | integer | WTDI | \`service.readiness_probe\` | Seconds until the first probe.
probes.readiness.periodSeconds | integer | WTDI | \`service.readiness_probe\` | Seconds between probes.
probes.readiness.timeoutSeconds | integer | WTDI | \`service.readiness_probe\` | Seconds that a probe may take.
probes.readiness.successThreshold | integer | WTDI | \`service.readiness_probe\` | Probes in a row that must succeed.
probes.readiness.failureThreshold | integer | WTDI | \`service.readiness_probe\` | Probes in a row that may fail.
probes.readiness.handler.httpGet.path | string | WTDI | \`service.readiness_probe\` | Path that is asked.
probes.readiness.handler.httpGet.port | integer | WTDI | \`service.readiness_probe\` | Port that is asked.
probes.readiness.handler.httpGet.host | string | WTDI | \`service.readiness_probe\` | Host that is asked.
probes.readiness.handler.httpGet.scheme | string | WTDI | \`service.readiness_probe\` | HTTP or HTTPS.
priorityClass | string | WTDI | \`resources.priority\` | Priority class of the job.
preemptibility | string | WTDI | \`resources.preemptible\` | Whether the job may be preempted.
category | string | WTDI | \`workload:\` | The kind of work, for reports.
stdin | boolean | WTD | \`workload:\` | Whether standard input stays open.
tty | boolean | WTD | \`workload:\` | Whether the program gets a terminal.
privileged | boolean | WTDI | \`config.docker.run_options\` | Whether the container has all rights of the node's root.
numWorkers | integer | D | \`num_nodes\` | Number of workers.
minReplicas | integer | D | none | The fewest workers of an elastic job.
maxReplicas | integer | D | none | The most workers of an elastic job.
slotsPerWorker | integer | D | \`envs\` | Processes on each worker.
distributedFramework | string | D | \`envs\` | The framework that joins the workers.
sshAuthMountPath | string | D | \`envs\` | Where keys for MPI are put.
mpiLauncherCreationPolicy | string | D | \`envs\` | When the launcher of MPI starts.
environmentVariables | itemized | WTDI | \`envs\`, \`secrets\` | Environment variables.
  name | string | Name of the variable.
  value | string | Value of the variable.
imagePullSecrets | itemized | WTDI | \`secrets\` | Secrets for the registry of the image.
  name | string | Name of the secret.
annotations | itemized | WTDI | \`workload:\` | Notes for other programs.
  name | string | Name of the note.
  value | string | Value of the note.
labels | itemized | WTDI | \`resources.labels\` | Labels of the workload.
  name | string | Name of the label.
  value | string | Value of the label.
exposedUrls | itemized | WTDI | none | Addresses at which the workload is reached.
  name | string | Name of the item, by which policies lock it.
  container | integer | Port inside.
  url | string | Address that it is reached at.
  authorizedUsers | array | Users that may open it.
  authorizedGroups | array | Groups that may open it.
  toolType | string | Kind of tool behind it.
  toolName | string | Name of the tool behind it.
relatedUrls | itemized | WTDI | none | Addresses shown beside the workload.
  name | string | Name of the item, by which policies lock it.
  url | string | The address.
  type | string | What is behind it.
ports | itemized | WTDI | \`resources.ports\` | Ports that the workload listens on.
  name | string | Name of the item, by which policies lock it.
  container | integer | Port inside.
  serviceType | string | How the port is published.
  external | integer | Port outside; unset: the system chooses.
  toolType | string | Kind of tool that listens.
  toolName | string | Name of the tool that listens.
tolerations | itemized | WTDI | none | Marks of nodes that the workload puts up with.
  name | string | Name of the item, by which policies lock it.
  operator | string | How the mark is compared.
  key | string | The mark.
  value | string | Its value.
  effect | string | What the mark does.
  seconds | integer | How long it is put up with.
`;

export const placeTable = `
security.uidGidSource | string | WTDI | \`workload:\` | Where user and group ids come from.
security.capabilities | array | WTDI | \`config.docker.run_options\` | Linux capabilities of the container.
security.seccompProfileType | string | WTDI | \`config.docker.run_options\` | Which system calls are filtered.
security.runAsNonRoot | boolean | WTDI | \`workload:\` | Whether the user must be another than root.
security.readOnlyRootFilesystem | boolean | WTDI | \`config.docker.run_options\` | Whether the image's files cannot be written.
security.runAsUid | integer | WTDI | none | User id of the workload.
security.runAsGid | integer | WTDI | none | Group id of the workload.
security.supplementalGroups | string | WTDI | none | Further group ids, with commas between.
security.allowPrivilegeEscalation | boolean | WTD | \`config.docker.run_options\` | Whether programs can gain rights, as by sudo.
security.hostIpc | boolean | WTD | \`config.docker.run_options\` | Whether the container shares the node's IPC.
security.hostNetwork | boolean | WTD | \`config.docker.run_options\` | Whether the container shares the node's network.
compute.cpuCoreRequest | number | WTDI | \`resources.cpus\` | CPU cores that are kept for each worker.
compute.cpuCoreLimit | number | WTDI | \`workload:\` | CPU cores that a worker can use.
compute.cpuMemoryRequest | quantity | WTDI | \`resources.memory\` | Memory that is kept for each worker.
compute.cpuMemoryLimit | quantity | WTDI | \`workload:\` | Memory that a worker can use.
compute.largeShmRequest | boolean | WTDI | \`config.docker.run_options\` | Whether /dev/shm is large.
compute.gpuDevicesRequest | integer | WTDI | \`resources.accelerators\` | GPUs of each worker.
compute.gpuRequestType | string | WTDI | \`workload:\` | What a part of one GPU is measured in.
compute.gpuPortionRequest | number | WTDI | \`resources.accelerators\` | Part of one GPU, up to 1.
compute.gpuPortionLimit | number | WTDI | \`workload:\` | Part of one GPU that can be used.
compute.gpuMemoryRequest | quantity | WTDI | \`workload:\` | Memory of each GPU.
compute.gpuMemoryLimit | quantity | WTDI | \`workload:\` | Memory of each GPU that can be used.
compute.migProfile | string | WTDI | \`resources.accelerators\` | Slice of a GPU, such as 1g.5gb.
compute.extendedResources | itemized | WTDI | \`workload:\` | Other devices that are counted.
  name | string | Name of the item, by which policies lock it.
  resource | string | Which device.
  quantity | quantity | How many, or how much.
storage.hostPath | itemized | WTDI | \`config.docker.run_options\` | Folders of the node.
  name | string | Name of the item, by which policies lock it.
  path | string | Folder on the node.
  mountPath | string | Where the job sees it.
  readOnly | boolean | Whether it cannot be written.
  mountPropagation | string | Whether later mounts are seen.
storage.git | itemized | WTDI | \`workdir\` | Git repositories that are fetched.
  name | string | Name of the item, by which policies lock it.
  repository | string | Address of the repository.
  branch | string | Branch.
  revision | string | Commit or tag.
  path | string | Where the job sees it.
  secretName | string | Secret with user name and password.
  username | string | User name, or its key in the secret.
  passwordSecret | string | Secret with the password.
storage.pvc | itemized | WTDI | \`volumes\` | Volumes by claim.
  name | string | Name of the item, by which policies lock it.
  claimName | string | Name of the volume.
  existingPvc | boolean | Whether the volume is there already.
  path | string | Where the job sees it.
  readOnly | boolean | Whether it cannot be written.
  ephemeral | boolean | Whether it is deleted at the end.
  claimInfo.size | quantity | Size of a new volume.
  claimInfo.storageClass | string | Class of a new volume.
  claimInfo.accessModes.readWriteOnce | boolean | One node can write it.
  claimInfo.accessModes.readOnlyMany | boolean | Many nodes can read it.
  claimInfo.accessModes.readWriteMany | boolean | Many nodes can write it.
storage.nfs | itemized | WTDI | \`volumes\` | Folders of an NFS server.
  name | string | Name of the item, by which policies lock it.
  server | string | The server.
  path | string | Folder on the server.
  mountPath | string | Where the job sees it.
  readOnly | boolean | Whether it cannot be written.
storage.s3 | itemized | WTD | \`file_mounts\` | Buckets of an S3 server.
  name | string | Name of the item, by which policies lock it.
  bucket | string | Name of the bucket.
  path | string | Where the job sees it.
  url | string | Address of the server.
  accessKeySecret | string | Secret with the keys.
  secretKeyOfAccessKeyId | string | Which key of the secret is the access key's id.
  secretKeyOfSecretKey | string | Which key of the secret is the secret key.
storage.dataVolume | itemized | WTDI | \`volumes\` | Volumes with shared data.
  name | string | Name of the item, by which policies lock it.
  id | string | Id of the volume.
  mountPath | string | Where the job sees it.
storage.configMapVolume | itemized | WTDI | \`file_mounts\` | Small files from a config map.
  name | string | Name of the item, by which policies lock it.
  configMap | string | Name of the config map.
  mountPath | string | Where the job sees it.
  subPath | string | One file of it.
  defaultMode | string | Mode of the files.
storage.secretVolume | itemized | WTDI | \`secrets\` | Files from a secret.
  name | string | Name of the item, by which policies lock it.
  secret | string | Name of the secret.
  mountPath | string | Where the job sees it.
  defaultMode | string | Mode of the files.
storage.emptyDirVolume | itemized | WTDI | \`workload:\` | Empty folders that end with the job.
  name | string | Name of the item, by which policies lock it.
  path | string | Where the job sees it.
  medium | string | Memory, or nothing for the disk.
  sizeLimit | quantity | The most it can hold.
`;

export const serverTable = `
autoscaling.minReplicas | integer | I | \`service.replica_policy\` | The fewest replicas.
autoscaling.maxReplicas | integer | I | \`service.replica_policy\` | The most replicas.
autoscaling.initialReplicas | integer | I | \`service.replica_policy\` | Replicas at the start.
autoscaling.activationReplicas | integer | I | \`service.replica_policy\` | Replicas after zero.
autoscaling.metric | string | I | \`service.replica_policy\` | What is measured: throughput, concurrency, latency or another.
autoscaling.metricThreshold | integer | I | \`service.replica_policy\` | The measure at which a replica is added.
autoscaling.metricThresholdPercentage | number | I | \`service.replica_policy\` | Part of the threshold that is aimed at.
autoscaling.concurrencyHardLimit | integer | I | \`service.replica_policy\` | The most requests that a replica has at one time.
autoscaling.scaleToZeroRetentionSeconds | integer | I | \`service.replica_policy\` | Seconds that the last replica is kept.
autoscaling.scaleDownDelaySeconds | integer | I | \`service.replica_policy\` | Seconds until a replica is taken away.
servingPort.container | integer | I | \`resources.ports\` | Port that the service listens on.
servingPort.protocol | string | I | \`service\` | Protocol of the service.
servingPort.authorizationType | string | I | \`service\` | Who may reach the service.
servingPort.authorizedUsers | array | I | \`service\` | Users that may reach the service.
servingPort.authorizedGroups | array | I | \`service\` | Groups that may reach the service.
servingPort.clusterLocalAccessOnly | boolean | I | \`service\` | Whether only the cluster reaches the service.
servingConfiguration.initializationTimeoutSeconds | integer | I | \`service\` | Seconds until a replica must be ready.
servingConfiguration.requestTimeoutSeconds | integer | I | \`service\` | Seconds that a request may take.
`;

/** V1's own fields, under their own names: what later Run:ai has no field for, or has split into several. */
export const firstTable = `
gpu | number | WTDI | \`resources.accelerators\` | GPUs: a number of devices, or a part of one.
runAsUser | boolean | WTDI | none | Whether the workload runs as the user who sent it.
podAffinity | boolean | WTDI | none | Whether places near each other are asked for.
jupyter | boolean | W | \`workload:\` | Whether a notebook server is started.
notebookToken | string | W | \`workload:\` | Token of the notebook server.
tensorboard | boolean | W | \`workload:\` | Whether TensorBoard is started.
tensorboardLogdir | string | W | \`workload:\` | Folder that TensorBoard shows.
name | string | WTDI | \`name\` | Name of the workload.
namePrefix | string | WTDI | \`name\` | Beginning of a name that the system makes.
username | string | WTDI | none | Whom the workload belongs to, for show.
userId | string | WTDI | none | Whom the workload belongs to, for show.
usage | string | WTDI | none | Whether it is submitted or only a template.
baseWorkload | string | WTDI | none | Template that values are taken from.
ingressUrl | string | WTDI | none | For Run:ai's own use.
mpi | boolean | TD | \`envs\` | Whether an MPI job is made.
mpiJob | object | D | \`envs\` | The MPI job's own settings.
pyTorchJob | object | D | \`envs\` | The PyTorch job's own settings.
jobType | string | D | \`envs\` | The kind of distributed job.
runPolicy | object | D | none | How the operator of the job cleans up.
metricName | string | I | \`service.replica_policy\` | Name of another measure.
class | string | I | none | Which scaler is used.
volumes | itemized | WTDI | \`volumes\` | Folders of a server or of the node.
  name | string | Name of the item, by which policies lock it.
  path | string | Folder on the server or node.
  mountPath | string | Where the job sees it.
  nfsServer | string | Server; absent: a folder of the node.
  readOnly | boolean | Whether it cannot be written.
  mountPropagation | string | Whether later mounts are seen.
`;
