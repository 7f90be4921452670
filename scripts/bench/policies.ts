/**
 * How long a task is held against 100 declared policies: put together once for each kind and place (`combine_ms`), then
 * evaluated for every submission (`evaluate_ms`, the aim), read from text (`read_ms`) and checked against each other when
 * one is saved (`check_ms`). No cluster and no disk. Prints one JSON object as its last line; `--policies N` changes the number.
 */
import { parseArgs } from "node:util";
import { checkTogether, effectiveFor } from "../../shared/policy/together/combine.ts";
import type { CompiledPolicy, EffectivePolicy } from "../../shared/policy/compiled.ts";
import { evaluate } from "../../shared/policy/evaluate/evaluate.ts";
import { readPolicy } from "../../shared/policy/read/document.ts";
import { workloadsOf } from "../../shared/policy/task/adapter.ts";
import type { Scope, ScopeLevel } from "../../shared/policy/words.ts";
import { readTask } from "../../shared/task-file.ts";

const { values } = parseArgs({ options: { policies: { type: "string", default: "100" } } });
const count = Number(values.policies);
const rounds = 2_000;
const none = new Map<string, never>();
const levels: readonly Exclude<ScopeLevel, "system">[] = ["tenant", "cluster", "department", "project"];
const scopes: Scope[] = levels.map((level) => ({ level, id: level }));

/** Every policy says something of a dozen fields; each scope has as many as the others. */
function document(number: number): string {
  const level = levels[number % levels.length] ?? "tenant";
  return `apiVersion: policy/v1
kind: WorkloadPolicy
metadata: {name: policy-${number}}
target: {scope: ${level}, id: ${level}, workloads: [training, workspace]}
spec:
  defaults:
    environmentVariables: {instances: [{name: VARIABLE_${number}, value: "${number}"}]}
  rules:
    image: {required: true, options: [base, other, image-${number}]}
    imagePullPolicy: {options: [Always, IfNotPresent]}
    compute:
      cpuCoreRequest: {min: 1, max: ${64 + number}, step: 0.5}
      cpuMemoryRequest: {min: 1Gi, max: ${512 + number}Gi}
      gpuDevicesRequest: {max: ${8 + number}}
    security: {allowPrivilegeEscalation: {canEdit: false}, capabilities: {options: [NET_BIND_SERVICE]}}
    environmentVariables: {instances: {locked: [VARIABLE_${number}]}, attributes: {value: {required: true}}}
    storage:
      hostPath: {instances: {canAdd: false}}
      nfs: {attributes: {server: {options: [nas1, nas2]}}}
`;
}

function median(times: number[]): number {
  return Number((times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0).toFixed(4));
}

function timed<T>(work: () => T): { result: T; ms: number } {
  const start = performance.now();
  const result = work();
  return { result, ms: performance.now() - start };
}

const reading = timed(() =>
  Array.from({ length: count }, (_, number) => readPolicy(document(number), { file: `policy-${number}` })),
);
const all: CompiledPolicy[] = reading.result.flatMap(({ compiled }) => compiled);
const task = readTask(
  "resources: {image_id: 'docker:base', accelerators: 'H100:4', cpus: 16, memory: 128}\nenvs: {SEED: '1'}\nrun: train\n",
  { file: "task.yaml" },
);
const [way] = workloadsOf(task, { uid: 1000, gid: 1000, groups: [] });
const together = (): EffectivePolicy => effectiveFor(all, { kind: "training", scopes, combine: "tighten" });

const combining = Array.from({ length: 20 }, () => {
  const policy = together();
  return timed(() => evaluate(policy, new Map(), none)).ms;
});
const policy = together();
const { violations } = evaluate(policy, way?.workload ?? new Map(), none);
if (violations.length > 0 || policy.parts.length !== count) {
  throw new Error(`the task was to be accepted: ${JSON.stringify(violations.slice(0, 3))}`);
}
const accepted = Array.from(
  { length: rounds },
  () => timed(() => evaluate(policy, way?.workload ?? new Map(), none)).ms,
);
const wrong = new Map([...(way?.workload ?? []), ["compute.cpuCoreRequest", 1000.3] as const, ["image", "x"] as const]);
const refused = Array.from({ length: rounds }, () => timed(() => evaluate(policy, wrong, none)).ms);
const checking = Array.from(
  { length: 5 },
  () => timed(() => checkTogether(all, { combine: "tighten", assets: none })).ms,
);

const result = {
  policies: policy.parts.length,
  evaluate_ms: median(accepted),
  evaluate_p99_ms: Number((accepted[Math.floor(rounds * 0.99)] ?? 0).toFixed(4)),
  refuse_ms: median(refused),
  combine_ms: median(combining),
  check_ms: median(checking),
  read_ms: Number((reading.ms / count).toFixed(4)),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
