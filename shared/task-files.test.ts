/** What a task brings along: sources, mounts and volumes as they are understood, and what is refused with its line. */
import { describe, expect, test } from "vitest";
import { SkyError } from "./errors.ts";
import type { FileMount, Task, VolumeMount } from "./task.ts";
import { readTask, writeTask } from "./task-file.ts";
import { localSourcesOf } from "./task-files.ts";

function read(text: string): Task {
  return readTask(text, { file: "t.yaml" });
}

function faultOf(text: string): string {
  try {
    read(text);
  } catch (error) {
    if (error instanceof SkyError) {
      return error.message;
    }
    throw error;
  }
  throw new Error("accepted");
}

describe("workdir", () => {
  test.each([
    [".", { kind: "local", path: "." }],
    ["~/My Code", { kind: "local", path: "~/My Code" }],
    ["'C:\\code'", { kind: "local", path: "C:\\code" }],
    ["{url: https://example.org/a.git}", { kind: "git", url: "https://example.org/a.git", ref: null }],
    ["{url: git@example.org:a/b.git, ref: v1}", { kind: "git", url: "git@example.org:a/b.git", ref: "v1" }],
  ])("%s", (value, workdir) => {
    const task = read(`workdir: ${value}\nrun: a\n`);
    expect(task.workdir).toEqual(workdir);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each([
    ["s3://bucket", "t.yaml:2: 'workdir' must be a folder of your machine, or a git repository"],
    ["{ref: main}", "t.yaml:2: 'workdir' names no git repository: it needs 'url'."],
    ["{url: --upload-pack=evil}", "t.yaml:2: 'workdir.url' is no address of a git repository"],
    ["{url: ext::sh -c evil}", "'workdir.url' is no address"],
    ["{url: 'https://me:word@h/a'}", "'workdir.url' holds a password, which everybody on the machine could see."],
    ["{url: https://h/a, ref: --force}", "'workdir.ref' must be a branch, a tag or a commit."],
    ["{url: https://h/a, branch: x}", "unknown field 'workdir.branch'."],
    ["7", "'workdir' must be text; YAML reads this as 7."],
    ["''", "'workdir' must not be empty."],
  ])("refused: %s", (value, text) => {
    expect(faultOf(`run: a\nworkdir: ${value}\n`)).toContain(text);
  });
});

/** One mount of the file, at `/m`. */
function mount(rest: Omit<FileMount, "destination">): FileMount[] {
  return [{ destination: "/m", ...rest }];
}

describe("file_mounts", () => {
  test.each<[string, Pick<Task, "fileMounts" | "volumes">]>([
    ["~/data", { fileMounts: mount({ source: { kind: "local", path: "~/data" }, mode: "COPY" }) }],
    ["s3://b/x", { fileMounts: mount({ source: { kind: "uri", uri: "s3://b/x" }, mode: "COPY" }) }],
    ["{source: gs://b}", { fileMounts: mount({ source: { kind: "uri", uri: "gs://b" }, mode: "MOUNT" }) }],
    [
      "{source: s3://b, name: b, mode: mount_cached, persistent: true}",
      { fileMounts: mount({ source: { kind: "uri", uri: "s3://b" }, mode: "MOUNT_CACHED" }) },
    ],
    ["{name: b, store: gcs}", { fileMounts: mount({ source: { kind: "uri", uri: "gs://b" }, mode: "MOUNT" }) }],
    [
      "{source: s3://b, type: DATASET_RO}",
      { fileMounts: mount({ source: { kind: "uri", uri: "s3://b" }, mode: "MOUNT", readOnly: true }) },
    ],
    [
      "{source: s3://b, config: {mount: {read_only: true}}}",
      { fileMounts: mount({ source: { kind: "uri", uri: "s3://b" }, mode: "MOUNT", readOnly: true }) },
    ],
    ["{source: ./d, mode: COPY}", { fileMounts: mount({ source: { kind: "local", path: "./d" }, mode: "COPY" }) }],
    [
      "{source: [./a, ~/b/c]}",
      {
        fileMounts: [
          { destination: "/m/a", source: { kind: "local", path: "./a" }, mode: "COPY" },
          { destination: "/m/c", source: { kind: "local", path: "~/b/c" }, mode: "COPY" },
        ],
      },
    ],
    ["{name: shared, store: volume}", { volumes: [{ destination: "/m", name: "shared" }] }],
  ])("%s", (value, found) => {
    const task = read(`file_mounts:\n  /m: ${value}\nrun: a\n`);
    expect({ fileMounts: task.fileMounts, volumes: task.volumes }).toEqual(found);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each([
    ["~/a", "a"],
    ["a/./b", "a/b"],
    ["/a//b", "/a/b"],
    ["~/.ssh/config", ".ssh/config"],
  ])("destination %s", (written, destination) => {
    expect(read(`file_mounts: {${written}: /x}\n`).fileMounts?.[0]?.destination).toBe(destination);
  });

  test.each([
    [
      "/m/: /x",
      'File mount paths cannot end with a slash (try "/mydir: /mydir" or "/myfile: /myfile"). Found: target=/m/',
    ],
    ["'~': /x", "'~' cannot be a destination"],
    ["~bob/x: /x", "'~bob/x' cannot be a destination"],
    ["../x: /x", "'../x' cannot be a destination: it must not contain '..'."],
    ["~/a/../../x: /x", "it must not contain '..'."],
    ["s3://b: /x", "File mount destination paths cannot be cloud storage"],
    ["/m: ftp://h/x", "nothing is fetched from ftp:// here. Known: s3://, gs://"],
    ["/m: [a]", "'/m' must be text."],
    ["/m: {source: ./d, mode: MOUNT}", "it cannot be mounted with MOUNT"],
    ["/m: {source: ./d, name: b}", "No bucket is made here"],
    ["/m: {source: [s3://a, s3://b]}", "'source' as a list must name paths of your machine."],
    ["/m: {source: [./a, x/a]}", "Each of several sources must have a name of its own"],
    ["/m: {name: b}", "A bucket by 'name' alone cannot be found"],
    ["/m: {}", "A mount needs a 'source'"],
    [`/m: {source: s3://${"a".repeat(4000)}, _bucket_sub_path: ${"b".repeat(200)}}`, "is longer than 4096 characters."],
    ["/m: {source: s3://a, name: b}", "a bucket is not renamed"],
    ["/m: {source: s3://a, persistent: false}", "buckets are never deleted here"],
    ["/m: {source: https://h/x}", "A web address can only be copied: write `mode: COPY`."],
    ["/m: {source: https://a.blob.core.windows.net/c, mode: MOUNT}", "A web address can only be copied"],
    ["/m: {source: s3://a, mode: LINK}", "'mode: LINK' is not known. Known: MOUNT, COPY, MOUNT_CACHED."],
    ["/m: {source: s3://a, mode: COPY, type: DATASET_RO}", "Only what is mounted can be read-only"],
    ["/m: {sorce: s3://a}", "unknown field 'file_mounts.sorce'. Did you mean 'source'?"],
    [
      "/m: {source: s3://a, config: {mount_cached: {transfers: 4}}}",
      "'file_mounts.config.mount_cached' cannot be used",
    ],
  ])("refused: %s", (entry, text) => {
    const fault = faultOf(`run: a\nfile_mounts:\n  ${entry}\n`);
    expect(fault).toContain("t.yaml:3: ");
    expect(fault).toContain(text);
  });

  test("the working folder's place belongs to workdir", () => {
    const fault = faultOf("workdir: .\nfile_mounts: {~/sky_workdir: /x}\nrun: a\n");
    expect(fault).toContain("Cannot use '~/sky_workdir' as a destination path of a file mount");
    expect(read("file_mounts: {~/sky_workdir: /x}\n").fileMounts?.[0]?.destination).toBe("sky_workdir");
  });

  test("two things in one place", () => {
    expect(faultOf("file_mounts:\n  ~/a: /x\n  a: /y\n")).toContain("Two things are to be laid at '~/a'.");
    expect(faultOf("file_mounts: {/a: /x}\nvolumes: {/a: v}\n")).toContain("Two things are to be laid at '/a'.");
  });
});

describe("volumes", () => {
  test.each<[string, Omit<VolumeMount, "destination">]>([
    ["shared", { name: "shared" }],
    ["{name: shared}", { name: "shared" }],
    ["{name: shared, sub_path: a/b/}", { name: "shared", subPath: "a/b" }],
  ])("%s", (value, volume) => {
    const task = read(`volumes:\n  /v: ${value}\nrun: a\n`);
    expect(task.volumes).toEqual([{ destination: "/v", ...volume }]);
    expect(read(writeTask(task))).toEqual(task);
  });

  test.each([
    ["{size: 10}", "no disks are made here"],
    ["{sub_path: a}", "A volume needs the 'name'"],
    ["{name: v, sub_path: ../x}", "'sub_path' must lie inside the volume"],
    ["{name: v, sub_path: /x}", "'sub_path' must lie inside the volume"],
    ["[v]", "'/v' must be text."],
  ])("refused: %s", (value, text) => {
    expect(faultOf(`volumes:\n  /v: ${value}\n`)).toContain(text);
  });
});

test("variables stand for their text in paths, and nowhere else", () => {
  const task = read(
    [
      "envs: {NAME: run-1, USED: 1}",
      "secrets: {KEY: k3y}",
      "workdir: ~/work/${NAME}",
      "file_mounts:",
      "  /out/$NAME: s3://bucket-$KEY/${NAME}/${MISSING}",
      "volumes: {'/v-${NAME}': shared}",
      "run: echo $NAME",
    ].join("\n"),
  );
  expect(task.workdir).toEqual({ kind: "local", path: "~/work/run-1" });
  expect(task.fileMounts).toEqual([
    { destination: "/out/run-1", source: { kind: "uri", uri: "s3://bucket-k3y/run-1/${MISSING}" }, mode: "COPY" },
  ]);
  expect(task.volumes).toEqual([{ destination: "/v-run-1", name: "shared" }]);
  expect(task.run).toBe("echo $NAME");
  expect(read(writeTask(task))).toEqual(task);
});

test("a variable that holds a variable would be read in two ways", () => {
  expect(faultOf("envs: {A: $B, B: x}\nworkdir: /$A\n")).toContain("t.yaml:2: 'workdir' still names $B");
  expect(faultOf("envs: {A: x, B: x}\nfile_mounts:\n  /$A: /y\n  /$B: /z\n")).toContain(
    "t.yaml:4: '/$B' stands here twice once its variables are replaced.",
  );
});

test("a short text cannot name a long value without end", () => {
  const text = `envs: {A: ${"x".repeat(100_000)}}\nworkdir: ${"$A".repeat(1_000_000)}\nrun: a\n`;
  expect(faultOf(text)).toContain("t.yaml:2: 'workdir' is too long once its variables are replaced.");
});

test("what a client must upload, each source once", () => {
  const task = read(
    "workdir: .\nfile_mounts:\n  /a: ~/x\n  /b: ~/x\n  /c: s3://x\n  /d: ./y\nvolumes: {/v: v}\nrun: a\n",
  );
  expect(localSourcesOf(task)).toEqual(["~/x", "./y", "."]);
  expect(localSourcesOf(read("run: a\n"))).toEqual([]);
});
