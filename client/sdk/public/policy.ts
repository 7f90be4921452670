/**
 * Admin policies for those who write them: the class to extend, what it is asked and what it answers. A policy sees the
 * task and the config of one request and may change or refuse it. Requests travel in SkyPilot's wire format, which
 * `encode` and `decode` speak. Used by policies, and by the worker that runs them.
 */
import {
  answerText,
  type PolicyAnswer,
  readAnswer,
  readQuestion,
  questionText,
} from "../../../shared/admin-policy/wire.ts";
import { adminPolicyRequestNames } from "../../../shared/admin-policy/names.ts";
import { ValueError } from "./exceptions.ts";
import { Config } from "./policy-config.ts";
import { configOfTask, Task, taskOfPolicy } from "./task.ts";

/** What a request is: compare `userRequest.requestName` with these. */
export const AdminPolicyRequestName: {
  readonly VALIDATE: "validate";
  readonly OPTIMIZE: "optimize";
  readonly CLUSTER_LAUNCH: "launch";
  readonly CLUSTER_EXEC: "exec";
  readonly JOBS_LAUNCH: "jobs.launch";
  readonly JOBS_LAUNCH_CONTROLLER: "jobs.launch_controller";
  readonly JOBS_LAUNCH_CLUSTER: "jobs.launch_cluster";
  readonly JOBS_POOL_APPLY: "jobs.pool_apply";
  readonly SERVE_UP: "serve.up";
  readonly SERVE_UPDATE: "serve.update";
  readonly SERVE_LAUNCH_CONTROLLER: "serve.launch_controller";
  readonly SERVE_LAUNCH_REPLICA: "serve.launch_replica";
} = adminPolicyRequestNames;
export type AdminPolicyRequestName = (typeof AdminPolicyRequestName)[keyof typeof AdminPolicyRequestName];

/** What was asked for beside the task. */
export interface RequestOptions {
  /** Null when the user named none. */
  clusterName: string | null;
  /** Minutes; null: not asked for. A cluster of one's own machines refuses it once the policy has spoken. */
  idleMinutesToAutostop: number | null;
  /** As `idleMinutesToAutostop`. */
  down: boolean;
  dryrun: boolean;
}

/** Who made the request. */
export interface PolicyUser {
  /** As in SkyPilot's records: here eight hexadecimal digits of the uid. */
  id: string;
  /** Of the account. */
  name: string;
}

/** What one user's unfinished jobs ask for and hold, waiting ones included; of all nodes together. */
export interface Holdings {
  user: string;
  /** By canonical kind, such as `{ H100: 2 }`. Of a waiting job with several ways the largest of each kind counts. */
  accelerators: Record<string, number>;
  cpus: number;
  memoryGb: number;
  jobs: { id: number; name: string | null; status: string; accelerators: Record<string, number> }[];
}

/** What makes a UserRequest. */
export interface UserRequestOptions {
  task: Task;
  skypilotConfig: Config;
  requestName: AdminPolicyRequestName;
  requestOptions?: RequestOptions | null;
  atClientSide?: boolean;
  user?: PolicyUser | null;
  clientApiVersion?: number | null;
  clientVersion?: string | null;
  holdings?: Holdings[] | null;
}

/** One request, as a policy sees it. */
export class UserRequest {
  /** What is to be run. Secrets have their names, and `<redacted>` for a value. */
  task: Task;
  /** What counts for the request: the server's config with the user's over it. */
  skypilotConfig: Config;
  readonly requestName: AdminPolicyRequestName;
  /** Null for managed jobs and services. */
  readonly requestOptions: RequestOptions | null;
  /** The policy runs on the user's machine, with nothing enforced yet. */
  readonly atClientSide: boolean;
  /** Null at the client's side. */
  readonly user: PolicyUser | null;
  /** Of the program that sent the request; null at the client's side, and where it did not say. */
  readonly clientApiVersion: number | null;
  readonly clientVersion: string | null;
  /**
   * What everybody has on the cluster at this moment, exactly: until this request is queued or refused, no other
   * launch or exec of the same user is looked at. Null at the client's side, and for a policy that is asked by URL.
   */
  readonly holdings: Holdings[] | null;

  constructor(options: UserRequestOptions) {
    this.task = options.task;
    this.skypilotConfig = options.skypilotConfig;
    this.requestName = options.requestName;
    this.requestOptions = options.requestOptions ?? null;
    this.atClientSide = options.atClientSide ?? false;
    this.user = options.user ?? null;
    this.clientApiVersion = options.clientApiVersion ?? null;
    this.clientVersion = options.clientVersion ?? null;
    this.holdings = options.holdings ?? null;
  }

  /** The request in SkyPilot's wire format; holdings are not part of it. */
  encode(): string {
    const options = this.requestOptions;
    return questionText({
      task: configOfTask(this.task),
      config: Object.fromEntries(Object.entries(this.skypilotConfig)),
      requestName: this.requestName,
      options:
        options === null
          ? null
          : {
              cluster_name: options.clusterName,
              idle_minutes_to_autostop: options.idleMinutesToAutostop,
              down: options.down,
              dryrun: options.dryrun,
            },
      atClientSide: this.atClientSide,
      user: this.user,
      clientApiVersion: this.clientApiVersion,
      clientVersion: this.clientVersion,
    });
  }

  /**
   * The request in a body, encoded once or twice.
   *
   * @throws ValueError when it is none
   */
  static decode(body: string, holdings: Holdings[] | null = null): UserRequest {
    const question = wired(() => readQuestion(body));
    const names: readonly string[] = Object.values(AdminPolicyRequestName);
    if (!names.includes(question.requestName)) {
      throw new ValueError(`'${question.requestName}' is not a valid AdminPolicyRequestName`);
    }
    const { options } = question;
    return new UserRequest({
      task: taskOfPolicy(question.task),
      skypilotConfig: Config.fromDict(question.config),
      requestName: question.requestName as AdminPolicyRequestName,
      requestOptions:
        options === null
          ? null
          : {
              clusterName: options.cluster_name,
              idleMinutesToAutostop: options.idle_minutes_to_autostop,
              down: options.down,
              dryrun: options.dryrun,
            },
      atClientSide: question.atClientSide,
      user: question.user,
      clientApiVersion: question.clientApiVersion,
      clientVersion: question.clientVersion,
      holdings,
    });
  }
}

/** What a policy makes of a request. */
export class MutatedUserRequest {
  readonly task: Task;
  readonly skypilotConfig: Config;

  constructor(task: Task, skypilotConfig: Config) {
    if (!(task instanceof Task) || !(skypilotConfig instanceof Config)) {
      throw new ValueError("A MutatedUserRequest takes a Task and a Config.");
    }
    this.task = task;
    this.skypilotConfig = skypilotConfig;
  }

  /** In SkyPilot's wire format. */
  encode(): string {
    return answerText({
      task: configOfTask(this.task),
      config: Object.fromEntries(Object.entries(this.skypilotConfig)),
    });
  }

  /**
   * The answer in a body, encoded once or twice.
   *
   * @throws ValueError when it is none
   */
  static decode(body: string): MutatedUserRequest {
    const answer: PolicyAnswer = wired(() => readAnswer(body));
    return new MutatedUserRequest(taskOfPolicy(answer.task), Config.fromDict(answer.config));
  }
}

function wired<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new ValueError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/**
 * A policy of the cluster's admins: extend it, export the class, and name it in the config as `admin_policy`.
 *
 * @example
 * export class EightAtMost extends sky.AdminPolicy {
 *   static override validateAndMutate(userRequest: sky.UserRequest): sky.MutatedUserRequest {
 *     if (userRequest.task.numNodes > 8) {
 *       throw new sky.RuntimeError("More than 8 nodes are not given to one job.");
 *     }
 *     return new sky.MutatedUserRequest(userRequest.task, userRequest.skypilotConfig);
 *   }
 * }
 */
// oxlint-disable-next-line typescript/no-extraneous-class -- a class, as in SkyPilot: policies extend it
export class AdminPolicy {
  /**
   * Looks at a request: answers with it, changed or not, or throws to refuse it. One request is looked at at a time.
   *
   * @throws anything: its class and text are shown to the user
   */
  static validateAndMutate(_userRequest: UserRequest): MutatedUserRequest | Promise<MutatedUserRequest> {
    throw new ValueError("Your policy must implement validateAndMutate.");
  }
}
