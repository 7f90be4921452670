/**
 * docs/tasks.md and the code say the same: every field that is known has its row, every row is a field that is known,
 * and what is refused is refused with the sentence that the page shows. The example on the page is a task.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkout } from "../scripts/cluster/layout.ts";
import { fieldAt } from "../shared/policy/fields/fields.ts";
import { onPremGrade } from "../shared/policy/grades-table.ts";
import { readPipeline, readTask } from "../shared/task-file.ts";
import {
  configRefusals,
  mountCachedRefusal,
  mountRefusals,
  recoveryRefusals,
  type Refusals,
  resourceRefusals,
  taskRefusals,
} from "../shared/task-refusals.ts";

const page = readFileSync(join(checkout, "docs/tasks.md"), "utf8");

/** The rows of the table beneath a heading row: field to what stands beside it. */
function rowsOf(heading: string, section: string | null = null): Map<string, string> {
  const text = section === null ? page : page.slice(page.indexOf(`\n## ${section}\n`));
  const [, table = ""] = text.split(`| ${heading} | here |\n| --- | --- |\n`);
  const rows = (table.split("\n\n")[0] ?? "").split("\n").filter((line) => line.startsWith("|"));
  return new Map(
    rows.map((row) => {
      const [, name, here] = /^\| `([^`]+)` \| (.*) \|$/.exec(row) ?? [];
      expect(name, row).toBeDefined();
      return [name ?? "", here ?? ""];
    }),
  );
}

function messageOf(text: string): string {
  try {
    readPipeline(text, { file: "t.yaml" });
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  return "";
}

/** Notes of SkyPilot's client have a paragraph of their own. */
const isNote = (reason: string): boolean => reason.startsWith("A note that SkyPilot's client");

interface Table {
  heading: string;
  section?: string;
  refused: Refusals;
  /** A task in which a field of this table stands. */
  within: (field: string) => string;
}
const tables: Table[] = [
  { heading: "field", section: "The task", refused: taskRefusals, within: (field) => field },
  { heading: "field", section: "resources", refused: resourceRefusals, within: (field) => `resources: {${field}}` },
  {
    heading: "field of job_recovery",
    refused: recoveryRefusals,
    within: (field) => `resources: {job_recovery: {${field}}}`,
  },
  { heading: "field of a mount", refused: mountRefusals, within: (field) => `file_mounts: {/m: {${field}}}` },
  {
    heading: "field of config of a mount",
    refused: { mount_cached: mountCachedRefusal },
    within: (field) => `file_mounts: {/m: {source: s3://b, config: {${field}}}}`,
  },
  { heading: "field of a volume", refused: {}, within: (field) => `volumes: {/v: {${field}}}` },
  { heading: "field of config", section: "config", refused: configRefusals, within: (field) => `config: {${field}}` },
];

describe.each(tables)("$heading $section", ({ heading, section, refused, within }) => {
  const rows = rowsOf(heading, section);
  const unknown = messageOf(`${within("zzzzzzzzz: 1")}\nrun: a\n`);
  const supported = (/Known fields: (.*)\./.exec(unknown)?.[1] ?? "").split(", ");
  const withReason = Object.entries(refused).filter(([, { reason }]) => !isNote(reason));

  test("has a row for every field that is known, and no other", () => {
    expect(unknown).toContain("unknown field");
    expect([...rows.keys()].sort()).toEqual([...supported, ...withReason.map(([name]) => name)].sort());
  });

  test("gives the sentences of the refusals", () => {
    for (const [name, { reason }] of withReason) {
      expect(rows.get(name)).toContain(`refused: ${reason}`);
      expect(messageOf(`${within(`${name}: something`)}\nrun: a\n`)).toContain(reason);
    }
  });

  test("says which values are taken all the same", () => {
    for (const [name, here] of rows) {
      const value = /\(`([^`]+)` asks for nothing and is taken\)$/.exec(here)?.[1];
      if (value !== undefined) {
        expect(messageOf(`${within(`${name}: ${value}`)}\nrun: a\n`), name).toBe("");
      }
      expect(value !== undefined, name).toBe(refused[name]?.harmless !== undefined);
    }
  });
});

test("the header of several tasks", () => {
  const fields = [...rowsOf("field of a header").keys()];
  expect(fields.sort()).toEqual(["execution", "name", "primary_tasks", "termination_delay"]);
  const header = "name: g\nexecution: parallel\nprimary_tasks: [a]\ntermination_delay: 30s\n";
  expect(messageOf(`${header}---\nname: a\nrun: b\n`)).toBe("");
});

test("workload: every row is a field that something here honours", () => {
  for (const field of rowsOf("field of workload").keys()) {
    const isOwn = ["project", "kind", "interactive"].includes(field);
    expect(isOwn || (fieldAt(field) !== null && onPremGrade(field).grade !== "no effect"), field).toBe(true);
  }
  const example = /```yaml\n(workload:\n.*?)```/s.exec(page)?.[1] ?? "";
  expect(readTask(`${example}run: a\n`, { file: "example" }).workload?.fields).toEqual({
    "compute.cpuCoreLimit": 8,
    "compute.cpuMemoryLimit": "32Gi",
    "storage.emptyDirVolume": [{ path: "/scratch", medium: "Memory", sizeLimit: "4Gi" }],
  });
});

test("every note of SkyPilot's client is named", () => {
  const notes = [taskRefusals, resourceRefusals, mountRefusals].flatMap((refused) =>
    Object.entries(refused).flatMap(([name, { reason }]) => (isNote(reason) ? [name] : [])),
  );
  for (const name of notes) {
    expect(page).toContain(`\`${name}\``);
  }
});

test("the example is a task", () => {
  const example = /```yaml\n(.*?)```/s.exec(page)?.[1] ?? "";
  const task = readTask(example, { file: "example", secretOverrides: { WANDB_API_KEY: "k" } });
  expect(task.volumes).toEqual([{ destination: "data", name: "shared", subPath: "imagenet" }]);
  expect(task.image).toBe("pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime");
});
