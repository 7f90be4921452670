// Files of this machine go to the job, and its logs come back.
//   node examples/sdk/files.mjs my-cluster
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as sky from "sky-onprem";

const clusterName = process.argv[2] ?? "my-cluster";
const folder = mkdtempSync(join(tmpdir(), "sky-example-"));
try {
  writeFileSync(join(folder, "count.sh"), "wc -w < ~/words.txt\n");
  writeFileSync(join(folder, "words.txt"), "one two three\n");

  const task = new sky.Task({ name: "files", workdir: folder, run: "echo there are $(sh count.sh) words" }).setFileMounts({
    "~/words.txt": join(folder, "words.txt"),
  });
  const { jobId } = await sky.get(await sky.launch(task, { clusterName }));
  const code = await sky.tailLogs(clusterName, jobId, { outputStream: { write: () => true } });

  const paths = await sky.get(await sky.downloadLogs(clusterName, jobId === null ? [] : [jobId]));
  for (const path of Object.values(paths)) {
    console.log(readFileSync(join(path, "run.log"), "utf8").trim());
  }
  process.exitCode = code;
} finally {
  rmSync(folder, { recursive: true });
}
