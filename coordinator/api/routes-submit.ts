/**
 * POST /launch, /exec and /validate: from a task's text to a durable job in the caller's queue. Who the job belongs to
 * comes from the connection alone. A result is given only when the job is on disk; the same request id gives the same
 * job, also after a restart, because the queue knows it. Nothing is queued that can never run.
 */
import * as z from "zod";
import { type SubmitResult, execBodySchema, headers, launchBodySchema } from "../../shared/api.ts";
import { SkyError, messageOf } from "../../shared/errors.ts";
import { clusterNameSchema, type RequestId } from "../../shared/ids.ts";
import { localSourcesOf } from "../../shared/task-files.ts";
import type { Uploads } from "../../shared/files.ts";
import type { JobRecord, Payload, Shape } from "../../shared/job.ts";
import type { Task } from "../../shared/task.ts";
import { priorityMax } from "../../shared/units.ts";
import type { Account } from "../../shared/users-policy.ts";
import { schedulingOf } from "../config.ts";
import { knowsLeases } from "../core/eligible.ts";
import { explainDryrun } from "../core/explain-result.ts";
import { neverFits } from "../core/never-fits.ts";
import { startCall } from "./call.ts";
import { inPolicyTurn, lookBodySchema, lookedAt, type Passed, passPolicy, sentBy } from "./admin-policy-step.ts";
import { type Call, cancelledByUser, requestLimits } from "./request-entry.ts";
import { handleOf } from "./cluster-record.ts";
import { resourcesTextOf, shapeOf } from "./job-shape.ts";
import { isAdmin } from "./identity.ts";
import { configOf } from "./routes-config.ts";
import { type LiveParts, liveParts } from "./job-watch.ts";
import { requestedId } from "./requests.ts";
import { payloadOf, withNeeds } from "./task-payload.ts";
import { configured, refusalOf, type Submission, taskOf } from "./submission.ts";
import { requireDisk, requireFewDemands, requireRoom } from "./submit-limits.ts";
import { type ApiContext, type Route, type RouteCall, type RouteReply, json, route } from "./route.ts";

/** Of a record that is never stored. */
const noTask = "0".repeat(16);

/** Bringing a launch's files is a part of its setup: a later exec elsewhere needs both. */
function hasSetup({ kind, noSetup }: Submission, { setup, files }: Payload): boolean {
  return setup !== null || (kind === "launch" && !noSetup && files !== undefined);
}

/** A new job's record: waiting, with nothing done yet. */
function newRecord(
  context: ApiContext,
  account: Account,
  submission: Submission,
  task: Task,
  shape: Shape,
  payload: Payload,
  ids: { requestId: RequestId; taskRef: string; project: string | null },
): JobRecord {
  return {
    format: 1,
    uid: account.uid,
    user: account.name,
    requestId: ids.requestId,
    kind: submission.kind,
    name: task.name,
    cluster: context.config.cluster,
    taskRef: ids.taskRef,
    shape,
    resourcesText: resourcesTextOf(shape),
    ...(payload.image === undefined ? {} : { image: payload.image.name }),
    hasSetup: hasSetup(submission, payload),
    hasRun: payload.run !== null || payload.runGenerator !== undefined,
    submittedAt: Date.now(),
    phase: "waiting",
    attempt: null,
    startedAt: null,
    cancelRequestedAt: null,
    endedAt: null,
    end: null,
    reason: null,
    ...(ids.project === null ? {} : { project: ids.project }),
  };
}

/** What became of a submission: the job's id, null when there is nothing to run; `explain` of a dry run. */
type Submitted = Pick<SubmitResult, "job_id" | "explain">;

/** The unfinished job that this request has queued already, or null. */
function jobOf(context: ApiContext, account: Account, requestId: RequestId): number | null {
  for (const { uid, id, record } of liveParts(context.parts).loop.state.jobs.values()) {
    if (uid === account.uid && record.requestId === requestId) {
      return id;
    }
  }
  return null;
}

/** The manifests that were named, and those of the sources that lie in the zip that was named. */
async function uploadsOf(
  { zips }: ApiContext,
  { uid }: Account,
  { uploads, blobId }: Submission,
  task: Task,
): Promise<Uploads> {
  if (blobId === null) {
    return uploads;
  }
  // The client may name more than the task brings along.
  const sources = new Set(localSourcesOf(task));
  const places = Object.entries(task.sourceNames ?? {}).filter(([source]) => sources.has(source));
  return { ...uploads, ...(await zips.uploadsOf(uid, blobId, Object.fromEntries(places))) };
}

/** What an exec brings along where the user's last setup has not run; null: nothing, or every node knows all of it. */
async function lastSetup(live: LiveParts, { uid }: Account, { kind }: Submission): Promise<Payload | null> {
  const { nodes, setups } = live.loop.state;
  const ref = setups.get(uid)?.taskRef;
  if (kind === "launch" || ref === undefined || [...nodes.values()].every(knowsLeases)) {
    return null;
  }
  return live.store.payloadAtHand(uid, ref) ?? (await live.store.getPayload(uid, ref));
}

/** What the admin policy makes of the request, with the config that counts for it. */
async function passed(context: ApiContext, account: Account, submission: Submission, running: Call): Promise<Passed> {
  const { tree, warning } = configOf(context.config, submission.config);
  running.print(warning === null ? "" : `${warning}\n`);
  const { kind: name, taskText, clusterName, dryrun, asked, sentBy } = submission;
  const options = { ...asked, clusterName, dryrun };
  const result = await passPolicy(context, account, { name, taskText, config: tree, options, ...sentBy }, running);
  if (submission.refusal !== null) {
    throw new SkyError("NotSupportedError", submission.refusal);
  }
  return result;
}

/** Queues the job; answers when it is durable. A request that was cancelled queues none, or cancels the one that it has. */
async function submitTask(
  context: ApiContext,
  account: Account,
  submission: Submission,
  running: Call,
): Promise<Submitted> {
  const requestId = running.id;
  const queued = running.isAgain ? jobOf(context, account, requestId) : null;
  if (queued !== null) {
    return { job_id: queued };
  }
  const { taskText, config, blaming } = await passed(context, account, submission, running);
  const asked = await blaming(async () => {
    const read = await context.turns.run(account.uid, () => taskOf(taskText, context.config.cluster));
    return configured(read, config);
  });
  const { kind: name, dryrun } = submission;
  const decision = await context.policies.decide({ id: requestId, name, account, task: asked, dryrun });
  const { task, project } = decision;
  running.print(decision.lines.map((line) => `${line}\n`).join(""));
  const uploads = await uploadsOf(context, account, submission, task);
  const payload = await blaming(() =>
    payloadOf(task, { ...submission, uploads }, account, context.config, context.parts.files),
  );
  const live = liveParts(context.parts);
  const scheduling = schedulingOf(context.config);
  const isByAdmin = isAdmin(account, context.config.admin_group);
  const limits = isByAdmin ? { ...scheduling, maxPriority: priorityMax } : scheduling;
  const shape = withNeeds(shapeOf(task, limits), payload, await lastSetup(live, account, submission));
  const never = neverFits(live.loop.state, shape);
  if (never !== null) {
    throw new SkyError("ResourcesMismatchError", never);
  }
  const { setup, run, files, runGenerator } = payload;
  if (setup === null && run === null && files === undefined && runGenerator === undefined) {
    return { job_id: null };
  }
  requireRoom(context, live, account);
  requireFewDemands(context, live, account, shape);
  if (submission.dryrun) {
    const record = newRecord(context, account, submission, task, shape, payload, {
      requestId,
      taskRef: noTask,
      project,
    });
    const viewer = { uid: account.uid, isAdmin: isByAdmin };
    const reader = { viewer, cluster: submission.clusterName, now: Date.now() };
    const explain = (): Submitted["explain"] => explainDryrun(live.loop.state, record, reader);
    return { job_id: null, explain: await context.turns.run(account.uid, explain) };
  }
  await requireDisk(context);
  const taskRef = await live.store.putPayload(account.uid, payload);
  const record = newRecord(context, account, submission, task, shape, payload, { requestId, taskRef, project });
  // The same request may have queued it before; what it has become since then counts, not this new record.
  await running.kept;
  running.signal.throwIfAborted();
  const { id, stored } = await live.queue.submit(record);
  decision.queued(id, task.name);
  if (stored !== null) {
    await announce(context, account, id, stored);
  }
  // Not after the time limit: the same request, made again, is told of this job.
  if (running.signal.reason === cancelledByUser) {
    await liveParts(context.parts).loop.dispatch({ type: "cancelRequested", uid: account.uid, ids: [id] });
  }
  return { job_id: id };
}

/** Tells the present loop, which ignores a job that it knows or that has begun. A loop that starts later reads it itself. */
async function announce(context: ApiContext, account: Account, id: number, record: JobRecord): Promise<void> {
  const now = context.parts.current();
  if ("unavailable" in now) {
    return;
  }
  try {
    // In this order, but in one go: what is known of the person is there when the job is looked at.
    await Promise.all([
      now.loop.dispatch({ type: "personSeen", uid: record.uid, user: record.user, groups: account.groups }),
      now.loop.dispatch({ type: "jobSubmitted", uid: record.uid, id, record }),
    ]);
  } catch (error) {
    // The job is durable: what fails from here on is made good when the queues are read again.
    context.log.warn({ uid: record.uid, id, cause: messageOf(error) }, "the loop did not hear of a queued job yet");
  }
}

/** SkyPilot's lines of a submission, for clients that print the request's stream. */
function linesOf(submission: Submission, cluster: string, jobId: number | null): string {
  const lines = [`⚙︎ Launching on Local (${cluster}).`, `└── Cluster ${cluster} is up.`];
  if (submission.kind === "exec") {
    lines.length = 0;
  } else if (jobId !== null) {
    lines.push("✓ Setup detached.");
  }
  if (jobId !== null) {
    lines.push(`⚙︎ Job submitted, ID: ${jobId}`);
  }
  return lines.map((line) => `${line}\n`).join("");
}

/** The same call, of which what it prints goes into its result too: `sky` shows results, not streams. */
function withNotices(running: Call): [Call, () => Pick<SubmitResult, "notices">] {
  let text = "";
  const { id, isAgain, kept, signal } = running;
  const noting: Call = {
    ...{ id, isAgain, kept, signal },
    once: (draw) => running.once(draw),
    print(line) {
      text += line;
      running.print(line);
    },
  };
  return [noting, () => (text === "" ? {} : { notices: text.trimEnd().split("\n") })];
}

async function submit(call: RouteCall<unknown>, submission: Submission): Promise<RouteReply> {
  const { context, account } = call;
  if (!clusterNameSchema.safeParse(submission.clusterName).success) {
    throw new SkyError("ValueError", `'${submission.clusterName.slice(0, 100)}' is not a valid cluster name.`);
  }
  // Before its body is stored: what is refused for want of space must not take any.
  const id = requestedId(call.header(headers.requestId.toLowerCase()));
  const isKnown = id !== null && context.requests.entry(id) !== undefined;
  const isFull =
    submission.dryrun || isKnown
      ? null
      : await requireDisk(context).then(
          () => null,
          (error: unknown) => error,
        );
  return startCall(
    call,
    // It is read and checked while the request is being stored.
    {
      name: submission.kind,
      cluster: submission.clusterName,
      readOnly: submission.dryrun || isFull !== null,
      early: true,
    },
    async (running): Promise<SubmitResult> => {
      if (isFull !== null) {
        throw isFull;
      }
      const [noting, noticesOf] = withNotices(running);
      const send = (): Promise<Submitted> => submitTask(context, account, submission, noting);
      const submitted = await (submission.dryrun ? send() : inPolicyTurn(context, account, running.signal, send));
      running.print(linesOf(submission, submission.clusterName, submitted.job_id));
      return { ...submitted, ...noticesOf(), handle: handleOf(submission.clusterName, context.config.nodes.length) };
    },
  );
}

export const submitRoutes: Route[] = [
  route({
    method: "POST",
    path: "/launch",
    identity: "jobUser",
    summary: "Queues a task; setup runs on the nodes that the job gets.",
    body: launchBodySchema,
    handle: async (call) =>
      submit(call, {
        kind: "launch",
        taskText: call.body.task,
        clusterName: call.body.cluster_name,
        dryrun: call.body.dryrun,
        noSetup: call.body.no_setup || call.body.fast,
        uploads: call.body.uploads,
        blobId: call.body.file_mounts_blob_id,
        config: call.body.override_skypilot_config ?? {},
        refusal: refusalOf(call.body),
        asked: { down: call.body.down, idleMinutesToAutostop: call.body.idle_minutes_to_autostop },
        sentBy: sentBy(call),
      }),
  }),
  route({
    method: "POST",
    path: "/exec",
    identity: "jobUser",
    summary: "Queues a task without running its setup.",
    body: execBodySchema,
    handle: async (call) =>
      submit(call, {
        kind: "exec",
        taskText: call.body.task,
        clusterName: call.body.cluster_name,
        dryrun: call.body.dryrun,
        noSetup: true,
        uploads: call.body.uploads,
        blobId: call.body.file_mounts_blob_id,
        config: call.body.override_skypilot_config ?? {},
        refusal: refusalOf(call.body),
        asked: { down: call.body.down, idleMinutesToAutostop: null },
        sentBy: sentBy(call),
      }),
  }),
  route({
    method: "POST",
    path: "/validate",
    identity: "account",
    summary: "Checks a task without queueing it; answers at once: null, or 400 with the fault.",
    body: lookBodySchema,
    reply: z.null(),
    handle: async (call) => {
      const { context, account } = call;
      try {
        const signal = AbortSignal.timeout(requestLimits.callMs);
        const task = await lookedAt(call, "validate", { signal });
        await context.policies.decide({ id: "", name: "validate", account, task, dryrun: true });
        return json(null);
      } catch (error) {
        if (!(error instanceof SkyError) || error.type === "ServerUnavailableError") {
          throw error;
        }
        const message = error.hint === null ? error.message : `${error.message}\n${error.hint}`;
        return json({ detail: { type: error.type, message, args: [message], attributes: {}, stacktrace: null } }, 400);
      }
    },
  }),
];
