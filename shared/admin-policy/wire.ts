/**
 * The wire format of admin policies, which is SkyPilot's: JSON inside a JSON string, with task, config and user as YAML
 * inside that. Written exactly so; read in every form in which servers and clients are known to send it, within limits of
 * size. Pure. Used by coordinator/policy and client/policy (asking), by the worker and by `sky policy serve` (answering).
 */
import * as z from "zod";
import { messageOf } from "../errors.ts";
import { firstTree, yamlText } from "./documents.ts";
import { isTree, type Tree } from "./nested.ts";

/** Bytes of a request or a reply; as large as the largest task. */
export const policyBytesMax = 20 * 1024 * 1024;

/** As SkyPilot's RequestOptions. */
const optionsSchema = z.object({
  cluster_name: z.string().nullable().default(null),
  idle_minutes_to_autostop: z.int().nullable().default(null),
  down: z.boolean().default(false),
  dryrun: z.boolean().default(false),
});
export type WireOptions = z.infer<typeof optionsSchema>;

/** A request in plain values; `user` null: at the client. */
export interface PolicyQuestion {
  task: Tree;
  config: Tree;
  requestName: string;
  options: WireOptions | null;
  atClientSide: boolean;
  user: { id: string; name: string } | null;
  clientApiVersion: number | null;
  clientVersion: string | null;
}

/** A changed request in plain values. */
export interface PolicyAnswer {
  task: Tree;
  config: Tree;
}

const documentSchema = z.union([z.string(), z.record(z.string(), z.unknown()), z.null()]);
const questionSchema = z.object({
  task: z.union([z.string(), z.record(z.string(), z.unknown())]),
  skypilot_config: documentSchema,
  // Servers of before did not have it.
  request_name: z.string().max(100).default("launch"),
  request_options: optionsSchema.nullable().default(null),
  at_client_side: z.boolean().default(false),
  user: z.union([z.string(), z.record(z.string(), z.unknown()), z.null()]).default(""),
  client_api_version: z.int().nullable().default(null),
  client_version: z.string().max(200).nullable().default(null),
});
const answerSchema = z.object({ task: documentSchema, skypilot_config: documentSchema });

/** What was sent is none of the known forms; `type` is how programs in Python call the fault. */
export class WireFault extends Error {
  readonly type: "ValueError" | "ValidationError";

  constructor(type: WireFault["type"], message: string) {
    super(message);
    this.type = type;
  }
}

/** The inner text of a request. */
export function questionText(question: PolicyQuestion): string {
  return JSON.stringify({
    task: yamlText(question.task),
    skypilot_config: yamlText(question.config),
    request_name: question.requestName,
    request_options: question.options,
    at_client_side: question.atClientSide,
    user: question.user === null ? "" : yamlText({ ...question.user }),
    client_api_version: question.clientApiVersion,
    client_version: question.clientVersion,
  });
}

/** The inner text of a reply. */
export function answerText({ task, config }: PolicyAnswer): string {
  return JSON.stringify({ task: yamlText(task), skypilot_config: yamlText(config) });
}

/** The body that carries an inner text. */
export function bodyOf(innerText: string): string {
  return JSON.stringify(innerText);
}

/** The body of a reply, in the form in which the request came: once or twice encoded, documents as YAML or as objects. */
export function answerBody(answer: PolicyAnswer, askedBody: string): string {
  const asked: unknown = JSON.parse(askedBody);
  const isNested = isTree(asked) && isTree(asked["task"]);
  if (isNested) {
    return JSON.stringify({ task: answer.task, skypilot_config: answer.config });
  }
  return typeof asked === "string" ? bodyOf(answerText(answer)) : answerText(answer);
}

/** Once or twice encoded. */
function decoded(body: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(body);
    if (typeof value === "string") {
      value = JSON.parse(value);
    }
  } catch (error) {
    throw new WireFault("ValueError", `it is no JSON: ${messageOf(error).slice(0, 200)}`);
  }
  return value;
}

function checked<T>(schema: z.ZodType<T>, body: string): T {
  const parsed = schema.safeParse(decoded(body));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const place = issue === undefined || issue.path.length === 0 ? "the body" : issue.path.join(".");
    throw new WireFault("ValidationError", `${place}: ${issue?.message ?? "is wrong"}`.slice(0, 300));
  }
  return parsed.data;
}

function treeOf(document: string | Tree | null, what: string): Tree {
  if (typeof document !== "string") {
    return document ?? {};
  }
  try {
    return firstTree(document, what);
  } catch (error) {
    throw new WireFault("ValueError", messageOf(error).slice(0, 300));
  }
}

function userOf(user: string | Tree | null): PolicyQuestion["user"] {
  const tree = treeOf(user, "user");
  const { id, name } = tree;
  if (Object.keys(tree).length === 0) {
    return null;
  }
  const isText = (value: unknown): value is string | number => typeof value === "string" || typeof value === "number";
  if (!isText(id) || !(isText(name) || name === null || name === undefined)) {
    throw new WireFault("ValidationError", "user: it must have an id and a name");
  }
  return { id: String(id), name: String(name ?? id) };
}

/** The request of a body or of an inner text. Throws WireFault. */
export function readQuestion(body: string): PolicyQuestion {
  const asked = checked(questionSchema, body);
  return {
    task: treeOf(asked.task, "task"),
    config: treeOf(asked.skypilot_config, "skypilot_config"),
    requestName: asked.request_name,
    options: asked.request_options,
    atClientSide: asked.at_client_side,
    user: userOf(asked.user),
    clientApiVersion: asked.client_api_version,
    clientVersion: asked.client_version,
  };
}

/** The reply of a body or of an inner text. Throws WireFault. */
export function readAnswer(body: string): PolicyAnswer {
  const answer = checked(answerSchema, body);
  if (!isTree(answer.task) && typeof answer.task !== "string") {
    throw new WireFault("ValidationError", "task: it must not be empty");
  }
  return { task: treeOf(answer.task, "task"), config: treeOf(answer.skypilot_config, "skypilot_config") };
}
