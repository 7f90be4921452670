/**
 * The program in which the code of an admin policy runs, apart from whoever asks it. It loads one module, then answers
 * requests one after another over a pipe of its own; whatever the code throws becomes words. It ends with whoever started
 * it, even while the code loops. Started by system/policy/worker-process.ts, for the coordinator, `sky` and
 * `sky policy serve`.
 */
import { writeFileSync } from "node:fs";
import { register } from "node:module";
import { Socket } from "node:net";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { moduleFaults } from "../../shared/admin-policy/outcomes.ts";
import { policyBytesMax } from "../../shared/admin-policy/wire.ts";
import { LineReader } from "../../system/policy/lines.ts";
import {
  loadSchema,
  taskSchema,
  type WorkerLine,
  type WorkerLoad,
  workerPipe,
} from "../../shared/admin-policy/worker-wire.ts";
import { AdminPolicy, type Holdings, MutatedUserRequest, UserRequest } from "../sdk/public/policy.ts";
import { described } from "./thrown.ts";

type PolicyClass = typeof AdminPolicy;

/** What a looping policy cannot hold up: it looks whether the parent is there. */
const guard = `
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) process.kill(process.pid, "SIGKILL");
  }, 1000);
`;

/** Of all processes of the machine this one should go first when memory is short. */
function goFirst(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch {
    // Not Linux, or not allowed: the maximum of memory holds all the same.
  }
}

function isPolicy(value: unknown): value is PolicyClass {
  return typeof value === "function" && value.prototype instanceof AdminPolicy;
}

/** The policy's class, or what is wrong. */
async function load({ file, module, className, folder }: WorkerLoad): Promise<PolicyClass | string> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (error) {
    const { type, text } = described(error);
    return moduleFaults.missing(module, folder, `[${type}] ${text}`);
  }
  // A CommonJS module hands over its exports in one value.
  const inner = exported["default"] as Record<string, unknown> | null | undefined;
  const found = exported[className] ?? (typeof inner === "object" ? inner?.[className] : undefined);
  if (found === undefined) {
    return moduleFaults.noClass(className, module);
  }
  return isPolicy(found) ? found : moduleFaults.noPolicy(className);
}

async function answerOf(policy: PolicyClass, question: string, holdings: unknown): Promise<string> {
  const answer: unknown = await policy.validateAndMutate(
    UserRequest.decode(question, (holdings ?? null) as Holdings[] | null),
  );
  if (!(answer instanceof MutatedUserRequest)) {
    throw new TypeError("The policy must return a MutatedUserRequest.");
  }
  return answer.encode();
}

class Conversation {
  readonly #pipe = new Socket({ fd: workerPipe, readable: true, writable: true });
  #policy: PolicyClass | null = null;
  #last: Promise<void> = Promise.resolve();

  begin(): void {
    const lines = new LineReader(
      policyBytesMax * 4,
      (line) => this.#take(line),
      () => process.exit(1),
    );
    this.#pipe.on("data", (chunk: Buffer) => lines.add(chunk));
    this.#pipe.on("close", () => process.exit(0));
    this.#pipe.on("error", () => process.exit(0));
  }

  #take(line: string): void {
    this.#last = this.#last.then(() => this.#work(JSON.parse(line))).catch(() => process.exit(1));
  }

  async #work(line: unknown): Promise<void> {
    if (this.#policy === null) {
      const found = await load(loadSchema.parse(line));
      this.#policy = typeof found === "string" ? null : found;
      this.#say(typeof found === "string" ? { unusable: found } : { ready: true });
      return;
    }
    const { id, question, holdings } = taskSchema.parse(line);
    try {
      this.#say({ id, answer: await answerOf(this.#policy, question, holdings) });
    } catch (error) {
      this.#say({ id, raised: described(error) });
    }
  }

  #say(line: WorkerLine): void {
    this.#pipe.write(`${JSON.stringify(line)}\n`);
  }
}

goFirst();
new Worker(guard, { eval: true }).unref();
// What a policy leaves undone says so in the log, and is no reason to refuse the next request.
process.on("unhandledRejection", (error) => {
  const { type, text } = described(error);
  process.stderr.write(`unhandled rejection: [${type}] ${text}\n`);
});
register(new URL("./policy-hooks.mjs", import.meta.url), { data: { sdk: new URL("./sdk.mjs", import.meta.url).href } });
new Conversation().begin();
