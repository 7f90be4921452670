/**
 * The fields of policies as tables: path, type, kinds (W workspace, T training, D distributed, I inference), grade, field of
 * a task file, what it is, what it means on machines of one's own. Indented lines are the attributes of an item: name, type,
 * what it is. Read by fields.ts alone; the sources are sections A.5 to A.8 and D.2 of the design of the policies.
 */

export const generalTable = `
args | string | WTDI | C | \`run\` | Arguments after the command. | The script's text is compared; what it does is not held to it.
command | string | WTDI | C | \`run\` | What runs in place of the image's entry point. | The script's text is compared; what it does is not held to it.
createHomeDir | boolean | WTDI | E | \`workload:\` | Whether HOME is a temporary folder of the job. | HOME is an empty folder that is removed at the job's end.
image | string | WTDI | E | \`resources.image_id\` | The container image that the job runs in. | Without an image the job runs on the node itself; \`required\` keeps jobs in containers.
imagePullPolicy | string | WTDI | E | \`workload:\` | When the image is fetched again. | The container program's \`--pull\`.
workingDir | string | WTDI | E | \`workload:\` | The folder in which the program starts. | Where setup and run begin; it is not the task's \`workdir\`, which is a folder to copy.
nodeType | string | WTDI | S | \`resources.labels\` | Label of the group of nodes to run on. | A label that the node must have.
nodePools | array | WTDI | S | \`resources.labels\` | Pools of nodes, the preferred first. | Pools are labels of nodes, tried in order.
nodeAffinityRequired | object | WTDI | S | \`workload:\` | Conditions on labels that a node must meet. | Labels that the node must have when the job is placed.
terminateAfterPreemption | boolean | WTD | S | \`workload:\` | Whether a preempted job ends in place of waiting again. | A preempted job ends; without it, it goes back to its queue.
autoDeletionTimeAfterCompletionSeconds | integer | WTD | S | \`workload:\` | Seconds after its end until a job is deleted. | The job's record and logs are deleted then, never the user's files; unset: they are kept.
terminationGracePeriodSeconds | integer | WTD | E | \`workload:\` | Seconds from the request to end until the kill. | From TERM to KILL on the node.
backoffLimit | integer | WTD | S | \`resources.job_recovery\` | How often a failed job is started again. | \`max_restarts_on_errors\`: failures of the program count, those of nodes do not.
restartPolicy | string | WTD | S | \`resources.job_recovery\` | Whether a program that ended is started again. | Failed jobs are started again, or not.
cleanPodPolicy | string | D | T | none | What becomes of the other workers when a job ends. | Nodes are freed in any case: remaining ranks are ended.
completions | integer | WT | S | \`workload:\` | How many runs must succeed. | Runs of one job, as an array.
parallelism | integer | WT | S | \`workload:\` | How many runs go on at one time. | Runs of one job at one time.
podAffinity.type | string | WTDI | T | none | Whether places near each other are required or preferred. | Nodes with one topology label, not pods.
podAffinity.key | string | WTDI | T | none | The label that says what is near. | A label of nodes such as rack or switch.
probes.readiness.initialDelaySeconds | integer | WTDI | E | \`service.readiness_probe\` | Seconds until the first probe. | Services are probed; for other jobs it has no effect.
probes.readiness.periodSeconds | integer | WTDI | E | \`service.readiness_probe\` | Seconds between probes. | Services are probed; for other jobs it has no effect.
probes.readiness.timeoutSeconds | integer | WTDI | E | \`service.readiness_probe\` | Seconds that a probe may take. | Services are probed; for other jobs it has no effect.
probes.readiness.successThreshold | integer | WTDI | E | \`service.readiness_probe\` | Probes in a row that must succeed. | Services are probed; for other jobs it has no effect.
probes.readiness.failureThreshold | integer | WTDI | E | \`service.readiness_probe\` | Probes in a row that may fail. | Services are probed; for other jobs it has no effect.
probes.readiness.handler.httpGet.path | string | WTDI | E | \`service.readiness_probe\` | Path that is asked. | Services are probed; for other jobs it has no effect.
probes.readiness.handler.httpGet.port | integer | WTDI | E | \`service.readiness_probe\` | Port that is asked. | Services are probed; for other jobs it has no effect.
probes.readiness.handler.httpGet.host | string | WTDI | E | \`service.readiness_probe\` | Host that is asked. | Services are probed; for other jobs it has no effect.
probes.readiness.handler.httpGet.scheme | string | WTDI | E | \`service.readiness_probe\` | HTTP or HTTPS. | Services are probed; for other jobs it has no effect.
priorityClass | string | WTDI | S | \`resources.priority_class\` | Priority class of the job. | The order of the queue; Run:ai's older three names are read as the newer ones.
preemptibility | string | WTDI | S | \`workload:\` | Whether the job may be preempted. | Whether others' jobs may take its place.
category | string | WTDI | C | \`workload:\` | The kind of work, for reports. | Kept with the job.
stdin | boolean | WTD | E | \`workload:\` | Whether standard input stays open. | The program's standard input stays open.
tty | boolean | WTD | E | \`workload:\` | Whether the program gets a terminal. | A terminal for the program; needs \`stdin\`.
privileged | boolean | WTDI | E | \`config.docker.run_options\` | Whether the container has all rights of the node's root. | \`--privileged\`, which is refused unless an admin's policy allows it.
numWorkers | integer | D | S | \`num_nodes\` | Number of workers. | All nodes of the job start at one time; with a master, workers are one less.
minReplicas | integer | D | N | none | The fewest workers of an elastic job. | Jobs are not elastic.
maxReplicas | integer | D | N | none | The most workers of an elastic job. | Jobs are not elastic.
slotsPerWorker | integer | D | T | \`envs\` | Processes on each worker. | For the launcher in the job's script.
distributedFramework | string | D | T | \`envs\` | The framework that joins the workers. | For the launcher in the job's script.
sshAuthMountPath | string | D | T | \`envs\` | Where keys for MPI are put. | For the launcher in the job's script.
mpiLauncherCreationPolicy | string | D | T | \`envs\` | When the launcher of MPI starts. | All nodes of a job start at one time.
environmentVariables | itemized | WTDI | C | \`envs\`, \`secrets\` | Environment variables. | Set when the job starts; its own script can change them.
  name | string | Name of the variable.
  value | string | Value of the variable.
imagePullSecrets | itemized | WTDI | E | \`secrets\` | Secrets for the registry of the image. | \`SKYPILOT_DOCKER_…\`: the login of the image's registry.
  name | string | Name of the secret.
annotations | itemized | WTDI | T | \`workload:\` | Notes for other programs. | Kept with the job; there is no pod that carries them.
  name | string | Name of the note.
  value | string | Value of the note.
labels | itemized | WTDI | S | \`workload:\` | Labels of the workload. | Kept with the job.
  name | string | Name of the label.
  value | string | Value of the label.
exposedUrls | itemized | WTDI | T | none | Addresses at which the workload is reached. | No proxy publishes them.
  name | string | Name of the item, by which policies lock it.
  container | integer | Port inside.
  url | string | Address that it is reached at.
  authorizedUsers | array | Users that may open it.
  authorizedGroups | array | Groups that may open it.
  toolType | string | Kind of tool behind it.
  toolName | string | Name of the tool behind it.
relatedUrls | itemized | WTDI | T | none | Addresses shown beside the workload. | Kept with the job.
  name | string | Name of the item, by which policies lock it.
  url | string | The address.
  type | string | What is behind it.
ports | itemized | WTDI | E | \`resources.ports\` | Ports that the workload listens on. | Compared with the task's \`ports\`; users reach them by a tunnel.
  name | string | Name of the item, by which policies lock it.
  container | integer | Port inside.
  serviceType | string | How the port is published.
  external | integer | Port outside; unset: the system chooses.
  toolType | string | Kind of tool that listens.
  toolName | string | Name of the tool that listens.
tolerations | itemized | WTDI | N | none | Marks of nodes that the workload puts up with. | Nodes have no taints.
  name | string | Name of the item, by which policies lock it.
  operator | string | How the mark is compared.
  key | string | The mark.
  value | string | Its value.
  effect | string | What the mark does.
  seconds | integer | How long it is put up with.
`;

export const placeTable = `
security.uidGidSource | string | WTDI | E | \`workload:\` | Where user and group ids come from. | Jobs run as the Unix user who sent them, which is \`fromIdpToken\`.
security.capabilities | array | WTDI | E | \`config.docker.run_options\` | Linux capabilities of the container. | \`--cap-drop=all\` and \`--cap-add\` of the container; jobs without one have none.
security.seccompProfileType | string | WTDI | E | \`config.docker.run_options\` | Which system calls are filtered. | \`--security-opt seccomp=…\` of the container.
security.runAsNonRoot | boolean | WTDI | E | \`workload:\` | Whether the user must be another than root. | Jobs run as the Unix user who sent them, never as the node's root.
security.readOnlyRootFilesystem | boolean | WTDI | E | \`workload:\` | Whether the image's files cannot be written. | \`--read-only\` of the container.
security.runAsUid | integer | WTDI | E | none | User id of the workload. | The id of the Unix user who sent the job; another one is refused.
security.runAsGid | integer | WTDI | E | none | Group id of the workload. | The group of the Unix user who sent the job; another one is refused.
security.supplementalGroups | string | WTDI | E | none | Further group ids, with commas between. | The groups that the user really has.
security.allowPrivilegeEscalation | boolean | WTD | E | \`workload:\` | Whether programs can gain rights, as by sudo. | \`no_new_privs\` on the node, \`--security-opt no-new-privileges\` of the container.
security.hostIpc | boolean | WTD | E | \`config.docker.run_options\` | Whether the container shares the node's IPC. | \`--ipc\` of the container.
security.hostNetwork | boolean | WTD | E | \`config.docker.run_options\` | Whether the container shares the node's network. | \`--network\` of the container.
compute.cpuCoreRequest | number | WTDI | S | \`resources.cpus\` | CPU cores that are kept for each worker. | The scheduler counts them, for each node.
compute.cpuCoreLimit | number | WTDI | E | \`workload:\` | CPU cores that a worker can use. | cgroup \`cpu.max\` on the node.
compute.cpuMemoryRequest | quantity | WTDI | S | \`resources.memory\` | Memory that is kept for each worker. | The scheduler counts it, for each node. \`memory: 2\` of a task is 2Gi.
compute.cpuMemoryLimit | quantity | WTDI | E | \`workload:\` | Memory that a worker can use. | cgroup \`memory.max\` on the node.
compute.largeShmRequest | boolean | WTDI | E | \`workload:\` | Whether /dev/shm is large. | \`--shm-size\` of the container; without one /dev/shm is the node's.
compute.gpuDevicesRequest | integer | WTDI | E | \`resources.accelerators\` | GPUs of each worker. | Devices for each node; the job is given these and no others.
compute.gpuRequestType | string | WTDI | S | \`workload:\` | What a part of one GPU is measured in. | Which way of sharing is looked for.
compute.gpuPortionRequest | number | WTDI | T | \`resources.accelerators\` | Part of one GPU, up to 1. | \`H100:0.5\`: counted by the scheduler, not kept apart on the device.
compute.gpuPortionLimit | number | WTDI | T | \`workload:\` | Part of one GPU that can be used. | Counted by the scheduler, not kept apart on the device.
compute.gpuMemoryRequest | quantity | WTDI | T | \`workload:\` | Memory of each GPU. | A device, or slice of one, with at least as much.
compute.gpuMemoryLimit | quantity | WTDI | T | \`workload:\` | Memory of each GPU that can be used. | Only a MIG slice keeps a job to it.
compute.migProfile | string | WTDI | E | \`resources.accelerators\` | Slice of a GPU, such as 1g.5gb. | That MIG device, on nodes that an admin has divided.
compute.extendedResources | itemized | WTDI | S | \`workload:\` | Other devices that are counted. | Countable devices of nodes.
  name | string | Name of the item, by which policies lock it.
  resource | string | Which device.
  quantity | quantity | How many, or how much.
storage.hostPath | itemized | WTDI | E | \`workload:\` | Folders of the node. | Folders of the node, as the user may read and write them.
  name | string | Name of the item, by which policies lock it.
  path | string | Folder on the node.
  mountPath | string | Where the job sees it.
  readOnly | boolean | Whether it cannot be written.
  mountPropagation | string | Whether later mounts are seen.
storage.git | itemized | WTDI | E | \`workdir\` | Git repositories that are fetched. | The task's \`workdir\` from a repository.
  name | string | Name of the item, by which policies lock it.
  repository | string | Address of the repository.
  branch | string | Branch.
  revision | string | Commit or tag.
  path | string | Where the job sees it.
  secretName | string | Secret with user name and password.
  username | string | User name, or its key in the secret.
  passwordSecret | string | Secret with the password.
storage.pvc | itemized | WTDI | T | \`volumes\` | Volumes by claim. | Volumes that an admin publishes under a name.
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
storage.nfs | itemized | WTDI | E | \`volumes\` | Folders of an NFS server. | Volumes that an admin publishes under a name; users never mount.
  name | string | Name of the item, by which policies lock it.
  server | string | The server.
  path | string | Folder on the server.
  mountPath | string | Where the job sees it.
  readOnly | boolean | Whether it cannot be written.
storage.s3 | itemized | WTD | E | \`file_mounts\` | Buckets of an S3 server. | Copied or mounted on the node; \`url\` is the server's address.
  name | string | Name of the item, by which policies lock it.
  bucket | string | Name of the bucket.
  path | string | Where the job sees it.
  url | string | Address of the server.
  accessKeySecret | string | Secret with the keys.
  secretKeyOfAccessKeyId | string | Which key of the secret is the access key's id.
  secretKeyOfSecretKey | string | Which key of the secret is the secret key.
storage.dataVolume | itemized | WTDI | T | \`volumes\` | Volumes with shared data. | Volumes that an admin publishes under a name.
  name | string | Name of the item, by which policies lock it.
  id | string | Id of the volume.
  mountPath | string | Where the job sees it.
storage.configMapVolume | itemized | WTDI | T | \`file_mounts\` | Small files from a config map. | Small files of the task.
  name | string | Name of the item, by which policies lock it.
  configMap | string | Name of the config map.
  mountPath | string | Where the job sees it.
  subPath | string | One file of it.
  defaultMode | string | Mode of the files.
storage.secretVolume | itemized | WTDI | E | \`secrets\` | Files from a secret. | Secrets reach the job as variables or files of its own.
  name | string | Name of the item, by which policies lock it.
  secret | string | Name of the secret.
  mountPath | string | Where the job sees it.
  defaultMode | string | Mode of the files.
storage.emptyDirVolume | itemized | WTDI | E | \`workload:\` | Empty folders that end with the job. | A folder of the job, on disk or in memory, removed at its end.
  name | string | Name of the item, by which policies lock it.
  path | string | Where the job sees it.
  medium | string | Memory, or nothing for the disk.
  sizeLimit | quantity | The most it can hold.
`;

export const serverTable = `
autoscaling.minReplicas | integer | I | S | \`service.replica_policy\` | The fewest replicas. | \`min_replicas\`.
autoscaling.maxReplicas | integer | I | S | \`service.replica_policy\` | The most replicas. | \`max_replicas\`.
autoscaling.initialReplicas | integer | I | S | \`service.replica_policy\` | Replicas at the start. | Only by services.
autoscaling.activationReplicas | integer | I | S | \`service.replica_policy\` | Replicas after zero. | Only by services.
autoscaling.metric | string | I | S | \`service.replica_policy\` | What is measured: throughput, concurrency, latency or another. | Queries a second is all that is measured.
autoscaling.metricThreshold | integer | I | S | \`service.replica_policy\` | The measure at which a replica is added. | \`target_qps_per_replica\`.
autoscaling.metricThresholdPercentage | number | I | S | \`service.replica_policy\` | Part of the threshold that is aimed at. | Only by services.
autoscaling.concurrencyHardLimit | integer | I | S | \`service.replica_policy\` | The most requests that a replica has at one time. | Only by services.
autoscaling.scaleToZeroRetentionSeconds | integer | I | S | \`service.replica_policy\` | Seconds that the last replica is kept. | Only by services.
autoscaling.scaleDownDelaySeconds | integer | I | S | \`service.replica_policy\` | Seconds until a replica is taken away. | \`downscale_delay_seconds\`.
servingPort.container | integer | I | S | \`resources.ports\` | Port that the service listens on. | The service's port.
servingPort.protocol | string | I | S | \`service\` | Protocol of the service. | Only by services.
servingPort.authorizationType | string | I | S | \`service\` | Who may reach the service. | Only by the services' proxy.
servingPort.authorizedUsers | array | I | S | \`service\` | Users that may reach the service. | Only by the services' proxy.
servingPort.authorizedGroups | array | I | S | \`service\` | Groups that may reach the service. | Only by the services' proxy.
servingPort.clusterLocalAccessOnly | boolean | I | S | \`service\` | Whether only the cluster reaches the service. | Only by the services' proxy.
servingConfiguration.initializationTimeoutSeconds | integer | I | S | \`service\` | Seconds until a replica must be ready. | \`readiness_probe.initial_delay_seconds\`.
servingConfiguration.requestTimeoutSeconds | integer | I | S | \`service\` | Seconds that a request may take. | Only by the services' proxy.
`;

/** V1's own fields, under their own names: what later Run:ai has no field for, or has split into several. */
export const firstTable = `
gpu | number | WTDI | E | \`resources.accelerators\` | GPUs: a number of devices, or a part of one. | Devices times the part of each: \`gpuDevicesRequest\` and \`gpuPortionRequest\`.
runAsUser | boolean | WTDI | E | none | Whether the workload runs as the user who sent it. | Always true: jobs run as their user.
podAffinity | boolean | WTDI | T | none | Whether places near each other are asked for. | Nodes with one topology label.
jupyter | boolean | W | T | \`workload:\` | Whether a notebook server is started. | The task's own script starts it.
notebookToken | string | W | T | \`workload:\` | Token of the notebook server. | The task's own script starts it.
tensorboard | boolean | W | T | \`workload:\` | Whether TensorBoard is started. | The task's own script starts it.
tensorboardLogdir | string | W | T | \`workload:\` | Folder that TensorBoard shows. | The task's own script starts it.
name | string | WTDI | C | \`name\` | Name of the workload. | The task's name is compared.
namePrefix | string | WTDI | C | \`name\` | Beginning of a name that the system makes. | The beginning of the task's name is compared.
username | string | WTDI | N | none | Whom the workload belongs to, for show. | Jobs belong to the Unix user who sent them.
userId | string | WTDI | N | none | Whom the workload belongs to, for show. | Jobs belong to the Unix user who sent them.
usage | string | WTDI | N | none | Whether it is submitted or only a template. | There are no templates.
baseWorkload | string | WTDI | N | none | Template that values are taken from. | There are no templates.
ingressUrl | string | WTDI | N | none | For Run:ai's own use. | There is no ingress.
mpi | boolean | TD | T | \`envs\` | Whether an MPI job is made. | For the launcher in the job's script.
mpiJob | object | D | T | \`envs\` | The MPI job's own settings. | For the launcher in the job's script.
pyTorchJob | object | D | T | \`envs\` | The PyTorch job's own settings. | For the launcher in the job's script.
jobType | string | D | T | \`envs\` | The kind of distributed job. | For the launcher in the job's script.
runPolicy | object | D | N | none | How the operator of the job cleans up. | There is no operator.
metricName | string | I | S | \`service.replica_policy\` | Name of another measure. | Queries a second is all that is measured.
class | string | I | N | none | Which scaler is used. | There is one scaler.
volumes | itemized | WTDI | E | \`volumes\` | Folders of a server or of the node. | \`storage.nfs\` with an \`nfsServer\`, else \`storage.hostPath\`.
  name | string | Name of the item, by which policies lock it.
  path | string | Folder on the server or node.
  mountPath | string | Where the job sees it.
  nfsServer | string | Server; absent: a folder of the node.
  readOnly | boolean | Whether it cannot be written.
  mountPropagation | string | Whether later mounts are seen.
`;
