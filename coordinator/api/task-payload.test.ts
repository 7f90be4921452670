/** What a task's files, volumes, secrets and image become in its job's payload, and what is refused before it is queued. */
import { expect, test } from "vitest";
import { SkyError } from "../../shared/errors.ts";
import type { Payload } from "../../shared/job.ts";
import type { LaunchSpec } from "../../shared/launch-spec.ts";
import { readTask } from "../../shared/task-file.ts";
import type { Account } from "../../shared/users-policy.ts";
import type { FileStore } from "../parts.ts";
import { payloadOf, type PayloadRequest, withNeeds } from "./task-payload.ts";

const account: Account = {
  uid: 1001,
  gid: 1001,
  name: "alice",
  home: "/home/alice",
  shell: "/bin/bash",
  groups: ["alice", "vision"],
};
const [manifest, other] = ["a".repeat(64), "b".repeat(64)] as [string, string];
/** Alice has uploaded one tree. */
const files: Pick<FileStore, "hasManifest"> = { hasManifest: async (uid, id) => uid === 1001 && id === manifest };
const volumes = [
  { name: "scratch", path: "/mnt/scratch", read_only: false },
  { name: "imagenet", path: "/srv/data/imagenet", read_only: true, groups: ["vision"] },
  { name: "secret-data", path: "/srv/data/secret", read_only: false, users: ["bob"], groups: ["audit"] },
];

async function payload(text: string, change: Partial<PayloadRequest> = {}): Promise<Payload> {
  const request = { kind: "launch" as const, noSetup: false, dryrun: false, uploads: {}, ...change };
  const task = readTask(text, { file: "t.yaml" });
  return payloadOf(task, request, account, { cluster: "lab", volumes }, files as FileStore);
}

async function refused(text: string, change: Partial<PayloadRequest> = {}): Promise<SkyError> {
  const fault = await payload(text, change).then(
    () => null,
    (error: unknown) => error,
  );
  expect(fault).toBeInstanceOf(SkyError);
  return fault as SkyError;
}

const everything = [
  "workdir: ./code",
  "file_mounts:",
  "  /data/set: ~/set",
  "  ~/model: {source: s3://models/one, mode: MOUNT, config: {mount: {read_only: true}}}",
  "  notes: https://example.org/notes.txt",
  "volumes:",
  "  /scratch: scratch",
  "  ~/pictures: {name: imagenet, sub_path: train}",
  "secrets: {TOKEN: hunter2}",
  "resources: {image_id: docker:python:3.12}",
  "config: {docker: {run_options: [--shm-size=2g, -v /a:/b]}}",
  "event_callback: echo $SKYPILOT_TASK_ID",
  "setup: make",
  "run: ./train",
].join("\n");

test("files, volumes, secrets, image and callback of a launch", async () => {
  const uploads = { "./code": manifest, "~/set": manifest };
  expect(await payload(everything, { uploads })).toEqual({
    setup: "make",
    run: "./train",
    envs: {},
    secrets: { TOKEN: "hunter2" },
    files: [
      { kind: "upload", destination: "/data/set", manifest },
      { kind: "uri", destination: "model", uri: "s3://models/one", mode: "MOUNT", readOnly: true },
      { kind: "uri", destination: "notes", uri: "https://example.org/notes.txt", mode: "COPY", readOnly: false },
      { kind: "volume", destination: "/scratch", name: "scratch", path: "/mnt/scratch", readOnly: false },
      { kind: "volume", destination: "pictures", name: "imagenet", path: "/srv/data/imagenet/train", readOnly: true },
      { kind: "upload", destination: "sky_workdir", manifest },
    ],
    image: { name: "python:3.12", options: ["--shm-size=2g", "-v", "/a:/b"] },
    eventCallback: "echo $SKYPILOT_TASK_ID",
  });
});

test("an exec brings the working folder and the volumes, no mounts and no setup", async () => {
  const own = await payload(everything, { kind: "exec", noSetup: true, uploads: { "./code": manifest } });
  expect(own.setup).toBeNull();
  expect(own.files?.map(({ destination }) => destination)).toEqual(["/scratch", "pictures", "sky_workdir"]);
});

test("a git repository is the node's to fetch", async () => {
  const own = await payload("workdir: {url: https://example.org/a.git, ref: v1}\nrun: a\n");
  expect(own.files).toEqual([{ kind: "git", destination: "sky_workdir", url: "https://example.org/a.git", ref: "v1" }]);
});

test("what was not uploaded, or is another's, is named", async () => {
  const missing = await refused("workdir: ./code\nrun: a\n");
  expect(missing.message).toBe("The working folder './code' was not uploaded with the task.");
  const gone = await refused("file_mounts: {/a: ~/set}\nrun: a\n", { uploads: { "~/set": other } });
  expect(gone.message).toBe("The file mount source '~/set' is not among your uploads on the cluster, or not any more.");
  expect((await payload("workdir: ./code\nrun: a\n", { dryrun: true })).files).toBeUndefined();
  // No path finds what every object knows.
  expect((await refused("workdir: constructor\nrun: a\n")).message).toContain("was not uploaded");
});

test.each([
  ["scrach", "ValueError", "There is no volume 'scrach' on cluster 'lab'.", "Did you mean 'scratch'?"],
  ["zzzzzz", "ValueError", "There is no volume 'zzzzzz' on cluster 'lab'.", "There are: scratch, imagenet."],
  ["secret-data", "PermissionDeniedError", "Volume 'secret-data' of cluster 'lab' is not open to alice.", null],
])("volume %s", async (name, type, message, hint) => {
  const fault = await refused(`volumes: {/mnt/x: ${name}}\nrun: a\n`);
  expect([fault.type, fault.message]).toEqual([type, message]);
  if (hint !== null) {
    expect(fault.hint).toBe(hint);
  }
});

test("only jobs that bring something need newer nodes, and those with an image need containers", async () => {
  const shape = { nodes: 1, accelerators: null, cpus: 1, memoryGb: 0 };
  expect(withNeeds(shape, await payload("run: a\n"))).toEqual(shape);
  expect(withNeeds(shape, await payload("secrets: {A: b}\nrun: a\n"))).toEqual({ ...shape, brings: true });
  const own = await payload("resources: {image_id: docker:a}\nrun: a\n");
  expect(withNeeds(shape, own)).toEqual({ ...shape, brings: true, container: true });
  expect(withNeeds(shape, { ...(await payload("run: a\n")), launchSpec: {} })).toEqual({ ...shape, brings: true });
});

test("a launch spec goes along as it is, but for a promise that no disk keeps", async () => {
  const request = { kind: "launch" as const, noSetup: false, dryrun: false, uploads: {} };
  const launched = (launchSpec: LaunchSpec): Promise<Payload> => {
    const task = { ...readTask("run: a\n", { file: "t.yaml" }), launchSpec };
    return payloadOf(task, request, account, { cluster: "lab", volumes }, files as FileStore);
  };
  const spec: LaunchSpec = { noNewPrivileges: true, scratch: [{ path: "/fast", memory: true, sizeBytes: 4096 }] };
  expect((await launched(spec)).launchSpec).toEqual(spec);
  await expect(launched({ scratch: [{ path: "/slow", sizeBytes: 4096 }] })).rejects.toThrow(
    "storage.emptyDirVolume: the size of '/slow' can only be kept in memory.",
  );
});
