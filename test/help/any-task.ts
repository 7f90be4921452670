/**
 * Generated tasks for property tests: whatever a task file can say, in the form that its reader gives. Nothing here is
 * read or sent. Used by the tests of task files and of the adapter between tasks and policies.
 */
import fc from "fast-check";
import type { Task, TaskResources, TaskWay, TaskWorkload } from "../../shared/task.ts";
import type { PlainValue } from "../../shared/policy/words.ts";
import { noResources, withWays } from "../../shared/task-resources.ts";

const hostileText = fc
  .oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.string({ unit: "grapheme", maxLength: 40 }),
    fc
      .array(
        fc.constantFrom(
          " ",
          "\n",
          "\t",
          "\r",
          "#",
          ":",
          "-",
          "'",
          '"',
          "\\",
          "é",
          "😀",
          "\u2028",
          "\u0085",
          "\ufeff",
          "yes",
          "010",
          "---",
          "...",
        ),
        { maxLength: 12 },
      )
      .map((parts) => parts.join("")),
    fc.constantFrom(
      "yes",
      "010",
      "1e3",
      "~",
      "null",
      "2024-01-01",
      "[a]",
      "{a: b}",
      "*x",
      "&x",
      "!x",
      "|",
      ">",
      "%",
      "@",
      "`",
      "---\n",
      "- a\n",
    ),
  )
  .filter((text) => !text.includes("\0") && !/\p{Surrogate}/u.test(text));
const amount = fc.record({ value: fc.double({ min: 1e-9, max: 1e9, noNaN: true }), exact: fc.boolean() });
const script = fc.option(
  hostileText.filter((text) => text !== ""),
  { nil: null },
);
const count = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.double({ min: 1e-9, max: 0.999, noNaN: true }));
const byMemory = fc.record(
  {
    kind: fc.constant("80GB"),
    count,
    memory: fc.record({ gb: fc.constant(80), orMore: fc.boolean() }),
    vendor: fc.constantFrom("NVIDIA", "AMD", "Acme Inc"),
  },
  { requiredKeys: ["kind", "count", "memory"] },
);
const accelerators = fc.oneof(
  fc.record({ kind: fc.constantFrom("V100", "A100-80GB", "1080", "RTX 4090", "yes", "010"), count }),
  byMemory,
);
const labels = fc.dictionary(
  fc.constantFrom("disk", "yes", "topology/rack", "010"),
  fc.constantFrom("ssd", "on", "7", ""),
  {
    minKeys: 1,
    noNullPrototype: true,
  },
);
const way: fc.Arbitrary<TaskWay> = fc.record(
  {
    accelerators: fc.option(accelerators, { nil: null }),
    cpus: fc.option(amount, { nil: null }),
    memoryGb: fc.option(amount, { nil: null }),
    labels,
  },
  { requiredKeys: ["accelerators", "cpus", "memoryGb"] },
);
const jobWide: fc.Arbitrary<Partial<TaskResources>> = fc.record(
  {
    recovers: fc.constant(true),
    priority: fc.integer({ min: -1000, max: 1000 }).filter((each) => each !== 0),
    timeLimitSeconds: fc.integer({ min: 1, max: 31_536_000 }),
    exclusive: fc.constant(true),
    preemptible: fc.constant(true),
  },
  { requiredKeys: [] },
);
const resources: fc.Arbitrary<TaskResources> = fc
  .tuple(fc.array(way, { minLength: 1, maxLength: 8 }), fc.boolean(), jobWide)
  .map(([ways, anyOrder, all]) =>
    withWays({ ...noResources, ...all, ...(all.preemptible === true ? { recovers: true } : {}) }, ways, anyOrder),
  );
const plainText = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 });
/** No scheme in front, and no variable in it: those are the user's to have replaced. */
const localPath = fc
  .oneof(plainText, fc.constantFrom(".", "~/a b", "C:\\x", "yes", "010", "null", "[a]", "__proto__"))
  .filter((text) => !/[$\0]|:\/\//.test(text) && !/\p{Surrogate}/u.test(text));
const destination = fc.stringMatching(/^\/?([a-z.-]{1,4}x\/){0,3}[a-z0-9]{1,8}$/);
const local = fc.record({ kind: fc.constant("local" as const), path: localPath });
const git = fc.record({
  kind: fc.constant("git" as const),
  url: fc.constantFrom("https://h/a.git", "git@h:a/b", "ssh://u@h/x", "file:///srv/x.git"),
  ref: fc.option(fc.stringMatching(/^[a-z][a-z0-9/.-]{0,8}$/), { nil: null }),
});
const uri = fc.record({ kind: fc.constant("uri" as const), uri: fc.constantFrom("s3://b/x", "gs://b", "hf://d/x") });
const fileMount = fc.oneof(
  fc.record({ destination, source: local, mode: fc.constant("COPY" as const) }),
  fc.record({ destination, source: uri, mode: fc.constant("COPY" as const) }),
  fc.record(
    {
      destination,
      source: uri,
      mode: fc.constantFrom("MOUNT" as const, "MOUNT_CACHED" as const),
      readOnly: fc.constant(true as const),
    },
    { requiredKeys: ["destination", "source", "mode"] },
  ),
);
const volume = fc.record(
  { destination, name: fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/), subPath: fc.constantFrom("a", "a/b c", "yes") },
  { requiredKeys: ["destination", "name"] },
);
/** Without two things in one place. */
const mounts = fc
  .tuple(
    fc.uniqueArray(fileMount, { maxLength: 4, selector: (one) => one.destination }),
    fc.uniqueArray(volume, { maxLength: 3, selector: (one) => one.destination }),
  )
  .filter(([fileMounts, volumes]) => {
    const places = fileMounts.map((one) => one.destination);
    return !places.includes("sky_workdir") && volumes.every((one) => !places.includes(one.destination));
  })
  .map(([fileMounts, volumes]) => ({
    ...(fileMounts.length === 0 ? {} : { fileMounts }),
    ...(volumes.length === 0 ? {} : { volumes }),
  }));
const variables = fc.dictionary(
  fc.oneof(fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,8}$/), fc.constantFrom("yes", "on", "null", "__proto__")),
  hostileText,
  { noNullPrototype: true },
);
const option = fc.oneof(plainText, hostileText).filter((text) => !/\p{Surrogate}|\0/u.test(text));
const container = fc.record(
  {
    image: fc.constantFrom("python:3.12", "ghcr.io/a/b@sha256:0f"),
    imageOptions: fc.array(option, { minLength: 1, maxLength: 4 }),
  },
  { requiredKeys: ["image"] },
);
const ports = fc
  .uniqueArray(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 4 })
  .map((all) => all.map((port, at) => (at % 2 === 0 || port === 1 ? String(port) : `1-${port}`)));
const filled = script.filter((text): text is string => text !== null);
const brought: fc.Arbitrary<Partial<Task>> = fc
  .tuple(
    mounts,
    fc.option(container, { nil: {} }),
    fc.record(
      {
        workdir: fc.oneof(local, git),
        secrets: variables.filter((all) => Object.keys(all).length > 0),
        ports,
        eventCallback: filled,
        sourceNames: fc.constant({ "/a b": "/up/a b" }),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([files, image, rest]) => ({ ...files, ...image, ...rest }));
const plainTask: fc.Arbitrary<Task> = fc.record({
  name: fc.option(fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9_.-]{0,10}[A-Za-z0-9])?$/), { nil: null }),
  numNodes: fc.integer({ min: 1, max: 10_000 }),
  resources,
  envs: variables,
  setup: script,
  run: script,
});
/** What `workload:` can hold: canonical, as the reader leaves it. */
const workload: fc.Arbitrary<TaskWorkload> = fc
  .record(
    {
      project: fc.constantFrom("nlp", "vision_2"),
      fields: fc.record(
        {
          category: fc.constantFrom("research", "yes", "010"),
          createHomeDir: fc.boolean(),
          workingDir: fc.constantFrom("/data", "/a b"),
          terminationGracePeriodSeconds: fc.integer({ min: 0, max: 300 }),
          "compute.cpuCoreLimit": fc.constantFrom(0.5, 4),
          "compute.cpuMemoryLimit": fc.constantFrom("1.5Gi", "500M"),
          "security.allowPrivilegeEscalation": fc.boolean(),
          "storage.emptyDirVolume": fc.constant<PlainValue>([{ path: "/scratch", medium: "Memory", sizeLimit: "1Gi" }]),
          annotations: fc.constant<PlainValue>([{ name: "paper", value: "a: b" }]),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: ["fields"] },
  )
  .filter(({ project, fields }) => project !== undefined || Object.keys(fields).length > 0)
  .map(({ fields, ...own }) => ({ ...own, fields: Object.fromEntries(Object.entries(fields)) }));
/** A task as the reader makes it: any of its fields, with hostile text wherever text may stand. */
export const anyTask: fc.Arbitrary<Task> = fc
  .tuple(plainTask, brought, fc.boolean(), fc.option(workload, { nil: null }))
  .map(([plain, rest, isGenerated, policy]): Task => {
    const task = { ...plain, ...rest, ...(policy === null ? {} : { workload: policy }) };
    return isGenerated && plain.run !== null ? { ...task, run: null, runGenerator: plain.run } : task;
  });
