/**
 * The control protocol between coordinator and agent: newline-delimited JSON frames on one SSH channel (subsystem
 * `sky-agent`), at most `frameBytesMax` each, every one parsed by a strict schema. The coordinator sends the complete
 * picture of what it wants on a node (`desired`); the agent sends the complete picture of what is there (`report`).
 * Bulk bytes never travel here: the agent opens a further channel with the exec command `stream ID`,
 * `payload ATTEMPT` or `files ATTEMPT`.
 * Frozen examples live in test/wire. Used by coordinator/fleet.ts and agent/link.ts; the cores exchange the same values.
 */
import * as z from "zod";
import {
  attemptIdSchema,
  clusterNameSchema,
  jobIdSchema,
  jobNameSchema,
  nodeNameSchema,
  stateIdSchema,
  timeSchema,
  uidSchema,
  userNameSchema,
} from "./ids.ts";
import { acceleratorKindSchema, rankGrantSchema } from "./job.ts";
import { limitsSchema, mechanismSchema } from "./launch-spec.ts";

/** The protocol that this version speaks, and the one before it, which it still understands (see docs/architecture.md). */
export const agentProtocol = 2;
const protocolSchema = z.union([z.literal(1), z.literal(2)]);
/** Exit code of the channel `payload ATTEMPT` when the payload is lost for good; 0: it is complete; else: ask again. */
export const payloadMissingCode = 2;
/** Largest control frame in bytes, newline included; a longer one closes the connection. */
export const frameBytesMax = 4 * 1024 * 1024;

const epochSchema = z.int().min(1);
const seqSchema = z.int().min(0);
const streamIdSchema = z.string().regex(/^[a-z0-9]{16}$/);

/** One rank that the coordinator wants on the receiving node. A node holds at most one rank of an attempt. */
export const wantedAttemptSchema = z.strictObject({
  attempt: attemptIdSchema,
  uid: uidSchema,
  user: userNameSchema,
  jobId: jobIdSchema,
  jobName: jobNameSchema.nullable(),
  cluster: clusterNameSchema,
  rank: z.int().min(0),
  grant: rankGrantSchema,
  /** What the granted devices are, for the variables by which a vendor's libraries find them; absent or null: none or unknown. */
  acceleratorKind: acceleratorKindSchema.nullable().optional(),
  /** Run the setup script first. Which script that is (the task's own or the user's last) is in the payload. */
  setup: z.boolean(),
  hasRun: z.boolean(),
  /** The run script may begin as soon as this rank's setup is done; false until every rank's setup is done. */
  mayRun: z.boolean(),
  /** The coordinator has seen this rank started on this node: an agent that does not know it must report it lost, never start it. */
  started: z.boolean(),
  /** Addresses of all ranks in rank order (SKYPILOT_NODE_IPS). */
  addresses: z.array(z.string().max(255)).min(1),
  /** `head` or `workerN`: this node's place in the cluster, for names of log files and prefixes. */
  nodeLabel: z.string().max(40),
  /** The cluster has one node only; decides log names and prefixes. */
  singleNodeCluster: z.boolean(),
  /** Seconds between TERM and KILL when it is stopped. */
  graceSeconds: z.int().min(0).max(3600),
  /** When the job was submitted, for SKYPILOT_TASK_ID; milliseconds since 1970. */
  submittedAt: timeSchema,
  /**
   * The attempt may run only while the coordinator renews it: its runner ends it this many seconds after the last request
   * for a renewal that was answered. Absent: it runs on whatever happens. Since protocol 2.
   */
  leaseSeconds: z.int().min(1).max(86_400).optional(),
  /**
   * How programs name the granted devices, in the order of `grant.devices`, where an index would not do (`visible` of the
   * inventory); absent: by their indices. Since protocol 2.
   */
  visibleDevices: z.array(z.string().max(100)).max(1024).optional(),
  /**
   * It will be ended soon (time limit, preemption): its processes that catch the warning signal get it once. Never sent
   * before the rank has been seen running; absent again when it goes on after all. Since protocol 2.
   */
  warned: z.literal(true).optional(),
  /**
   * Set on the attempt's cgroup before any of its code begins; where that fails the rank is not started. Since protocol 2.
   */
  limits: limitsSchema.optional(),
});
export type WantedAttempt = z.infer<typeof wantedAttemptSchema>;

const welcomeSchema = z.strictObject({
  type: z.literal("welcome"),
  protocol: protocolSchema,
  version: z.string().max(100),
  node: nodeNameSchema,
  stateId: stateIdSchema,
  epoch: epochSchema,
});

/** The whole of what the coordinator knows about the node's attempts. What is in neither list is unknown and is left alone. */
const desiredSchema = z.strictObject({
  type: z.literal("desired"),
  stateId: stateIdSchema,
  epoch: epochSchema,
  seq: seqSchema,
  wanted: z.array(wantedAttemptSchema).max(10_000),
  ended: z.array(attemptIdSchema).max(100_000),
});
export type Desired = z.infer<typeof desiredSchema>;

/** Largest payload that is sent ahead of an order, in characters of JSON; larger ones are asked for. */
export const givenPayloadMax = 128 * 1024;
/**
 * Small payloads of attempts that the next order wants to start, so that nobody has to ask for them; as JSON text, since
 * only the user's skylet reads it. Sent at most once on a connection. What is missing is asked for. Since protocol 2.
 */
const givenPayloadsSchema = z.strictObject({
  type: z.literal("payloads"),
  payloads: z.array(z.strictObject({ attempt: attemptIdSchema, text: z.string().max(givenPayloadMax) })).max(1_000),
});
export type GivenPayloads = z.infer<typeof givenPayloadsSchema>;

/** What a log stream is to carry. Offsets are bytes already received, so that a cut stream can be resumed. */
export const logRequestSchema = z.strictObject({
  kind: z.literal("logs"),
  attempt: attemptIdSchema,
  /** As reported in `logDir`; null while it is not known yet (the skylet then knows it from the attempt). */
  logDir: z.string().max(300).nullable(),
  rank: z.int().min(0),
  /** Wait for more until the rank has ended; false: stop at the present end. */
  follow: z.boolean(),
  setupOffset: z.int().min(0),
  runOffset: z.int().min(0),
  /** Send only about this many last lines of what is there; null: everything from the offsets. */
  tailLines: z.int().min(0).max(1_000_000).nullable(),
});
export type LogRequest = z.infer<typeof logRequestSchema>;

/** Asks the agent to open a channel with the exec command `stream ID` and to join it to that user's skylet. */
const openStreamSchema = z.strictObject({
  type: z.literal("openStream"),
  id: streamIdSchema,
  uid: uidSchema,
  user: userNameSchema,
  request: logRequestSchema,
});
export type OpenStream = z.infer<typeof openStreamSchema>;

/** The user has said `sky down`: end the skylet once none of the user's attempts is left. */
const retireSkyletSchema = z.strictObject({ type: z.literal("retireSkylet"), uid: uidSchema });

/**
 * Answer to `renew`: until then this coordinator wanted what it last sent as wanted. The node counts its leases from the
 * moment at which it asked, so an answer that was delayed on the way cannot make them longer. Since protocol 2.
 */
const renewedSchema = z.strictObject({ type: z.literal("renewed"), id: z.int().min(0) });

/** What an admin asks of a machine; it is answered as JSON lines on a channel `stream ID`, as `openStream` is. */
export const inspectRequestSchema = z.discriminatedUnion("kind", [
  /** What breaks clusters in practice, checked on the node; `users` as the head knows them, to be compared. */
  z.strictObject({
    kind: z.literal("doctor"),
    users: z.array(z.strictObject({ name: userNameSchema, uid: uidSchema })).max(1_000),
  }),
  /** Lines of this product's journal that name one of the attempts; `since` in milliseconds since 1970. */
  z.strictObject({
    kind: z.literal("journal"),
    attempts: z.array(attemptIdSchema).min(1).max(100),
    since: timeSchema,
    lines: z.int().min(1).max(100_000),
  }),
]);
export type InspectRequest = z.infer<typeof inspectRequestSchema>;
const inspectSchema = z.strictObject({
  type: z.literal("inspect"),
  id: streamIdSchema,
  request: inspectRequestSchema,
});
export type Inspect = z.infer<typeof inspectSchema>;

/** One line of a public ed25519 key in OpenSSH's form, without a comment. */
const publicKeySchema = z.string().regex(/^ssh-ed25519 [A-Za-z0-9+/]{68}={0,2}$/);

/** Make a new key beside the present one and answer `newKey`. Since protocol 2. */
const makeKeySchema = z.strictObject({ type: z.literal("makeKey"), id: streamIdSchema });
/** That key is known now: use it from the next connection on, and connect anew. Since protocol 2. */
const useKeySchema = z.strictObject({ type: z.literal("useKey"), key: publicKeySchema });

export const toAgentSchema = z.discriminatedUnion("type", [
  welcomeSchema,
  desiredSchema,
  givenPayloadsSchema,
  openStreamSchema,
  retireSkyletSchema,
  renewedSchema,
  inspectSchema,
  makeKeySchema,
  useKeySchema,
]);
export type ToAgent = z.infer<typeof toAgentSchema>;

/** First frame of an agent. `stateId` and `epoch` are the last it accepted; null and 0 on a new node. */
const helloSchema = z.strictObject({
  type: z.literal("hello"),
  protocol: protocolSchema,
  version: z.string().max(100),
  node: nodeNameSchema,
  stateId: stateIdSchema.nullable(),
  epoch: z.int().min(0),
  bootId: z.string().max(64),
});
export type Hello = z.infer<typeof helloSchema>;

export const acceleratorSchema = z.strictObject({
  index: z.int().min(0).max(1023),
  kind: acceleratorKindSchema,
  memoryMb: z.int().min(0).nullable(),
  /** As the maker's tool calls it, e.g. `NVIDIA A100-SXM4-80GB`. This and what follows: since protocol 2. */
  name: z.string().max(200).optional(),
  /** `NVIDIA`, `AMD`, `Intel`, `Google` … */
  vendor: z.string().max(40).optional(),
  uuid: z.string().max(100).optional(),
  /** Address on the PCI bus, e.g. `0000:17:00.0`. */
  pci: z.string().max(40).optional(),
  /** What programs must name it by when its index does not do, e.g. a MIG instance's UUID. */
  visible: z.string().max(100).optional(),
  /** Why it is in quarantine: nothing new is granted on it, and the job that holds it is told. Absent: it is well. */
  fault: z.string().max(300).optional(),
});
export type Accelerator = z.infer<typeof acceleratorSchema>;

const inventorySchema = z.strictObject({
  address: z.string().max(255),
  cpus: z.number().positive().max(1e6),
  memoryGb: z.number().positive().max(1e9),
  accelerators: z.array(acceleratorSchema).max(1024),
  /** How the accelerators were found, for the admin: `nvidia-smi`, `config`, `none` … */
  source: z.string().max(100),
  /** The admin allows accelerator jobs although the node mixes kinds. */
  mixedAllowed: z.boolean(),
  /** The accelerators' driver, e.g. `550.90.07`. This and what follows: since protocol 2. */
  driver: z.string().max(100).optional(),
  os: z.string().max(200).optional(),
  cpuModel: z.string().max(200).optional(),
  disks: z
    .array(z.strictObject({ mount: z.string().max(300), sizeGb: z.number().min(0).max(1e9) }))
    .max(50)
    .optional(),
  /** Programs that run containers for every user; absent or empty: none. */
  containers: z
    .array(z.enum(["podman", "docker"]))
    .max(10)
    .optional(),
  /** What jobs can be held to here, tried when the agent started; absent or empty: nothing. */
  mechanisms: z.array(mechanismSchema).max(16).optional(),
});
export type Inventory = z.infer<typeof inventorySchema>;

/**
 * A rank as the node sees it. `starting`: accepted, no user code yet. `setup`, `setupDone` (waits for the other ranks),
 * `running`: user code runs or may run. `exited`: ended by itself or stopped; nothing more will run. A rank stays in the
 * report until its processes are gone *and* the coordinator has named it as ended.
 */
export const rankStateSchema = z.enum(["starting", "setup", "setupDone", "running", "exited"]);
export type RankState = z.infer<typeof rankStateSchema>;

/**
 * How the faults begin by which a rank ended because its machine was lost and not because of its job: a job that recovers
 * is started again after one of these. Both sides and all versions must write them alike.
 */
const lostFaults = ["The machine was restarted", "Its lease ran out"] as const;
export const restartedFault = `${lostFaults[0]} while the job ran.`;
export const leaseFault = `${lostFaults[1]}: the machine could not reach the coordinator for too long.`;
export function isLostFault(fault: string | null): boolean {
  return lostFaults.some((begin) => fault?.startsWith(begin) === true);
}

const attemptReportSchema = z.strictObject({
  attempt: attemptIdSchema,
  uid: uidSchema,
  user: userNameSchema,
  jobId: jobIdSchema,
  jobName: jobNameSchema.nullable(),
  /** As ordered; with uid and job id it says which job this is, also to a state that was rolled back. */
  submittedAt: timeSchema,
  rank: z.int().min(0),
  grant: rankGrantSchema,
  state: rankStateSchema,
  pid: z.int().positive().nullable(),
  setupExit: z.int().min(0).max(255).nullable(),
  runExit: z.int().min(0).max(255).nullable(),
  logDir: z.string().max(300).nullable(),
  /**
   * For people. With `exited`: the cause when it is not the user's code (could not start, machine restarted, runner
   * vanished). With `starting`: what has gone wrong so far; it is being tried again.
   */
  fault: z.string().max(1000).nullable(),
  /** Its limits as the kernel says that they stand; absent: none were set. Since protocol 2. */
  limits: limitsSchema.optional(),
});
export type AttemptReport = z.infer<typeof attemptReportSchema>;

/** Everything that is on the node. `seq` is the last `desired` that it takes into account (0: none in this epoch). */
export const reportSchema = z.strictObject({
  type: z.literal("report"),
  stateId: stateIdSchema,
  epoch: epochSchema,
  seq: seqSchema,
  inventory: inventorySchema,
  attempts: z.array(attemptReportSchema).max(10_000),
  /** Things an admin should know, e.g. mixed accelerators. */
  warnings: z.array(z.string().max(500)).max(50),
});
export type Report = z.infer<typeof reportSchema>;

/** The agent does not accept this coordinator (another state id). It keeps its jobs running and takes no orders. */
const refusedSchema = z.strictObject({
  type: z.literal("refused"),
  reason: z.string().max(1000),
  stateId: stateIdSchema.nullable(),
});

const streamFailedSchema = z.strictObject({
  type: z.literal("streamFailed"),
  id: streamIdSchema,
  error: z.string().max(1000),
});

/** Asks for `renewed` with the same id; sent while the node holds attempts with a lease. Since protocol 2. */
const renewSchema = z.strictObject({ type: z.literal("renew"), id: z.int().min(0) });

/** More than any machine has: sums of such figures stay numbers. */
const vitalSchema = z.number().min(0).max(1e12);
/** How the machine is, every half minute and after each report of a new connection. Since protocol 2. */
const vitalsSchema = z.strictObject({
  type: z.literal("vitals"),
  /** The machine's clock, milliseconds since 1970, so that clocks that are apart are seen. */
  clockMs: timeSchema,
  uptimeSeconds: vitalSchema,
  /** Load average of the last minute. */
  load1: vitalSchema,
  memoryAvailableGb: vitalSchema,
  /** Free space for the agent's ledger, in GiB; null when it cannot be read. */
  diskFreeGb: vitalSchema.nullable(),
  /** Users' skylets that are connected. */
  skylets: z.int().min(0).max(1e6),
  /** How busy accelerators are just now, those of which their tools say it; `utilization` in per cent. */
  devices: z
    .array(
      z.strictObject({
        index: z.int().min(0).max(1023),
        utilization: z.number().min(0).max(100).nullable(),
        memoryUsedMb: z.number().min(0).max(1e9).nullable(),
      }),
    )
    .max(1024),
});
export type Vitals = z.infer<typeof vitalsSchema>;

/** Answer to `makeKey`: the public part; the private one never leaves the machine. Since protocol 2. */
const newKeySchema = z.strictObject({ type: z.literal("newKey"), id: streamIdSchema, key: publicKeySchema });

export const fromAgentSchema = z.discriminatedUnion("type", [
  helloSchema,
  reportSchema,
  refusedSchema,
  streamFailedSchema,
  renewSchema,
  vitalsSchema,
  newKeySchema,
]);
export type FromAgent = z.infer<typeof fromAgentSchema>;
