/** `sky files` as a person sees it: words in, text and exit code out, against the real API and its store of uploads. */
import { connect } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startTestCluster, type TestCluster } from "../test/help/api-parts.ts";
import { type Person, startPerson } from "../test/help/person.ts";
import { until } from "../test/help/until.ts";
import { packOf, piecesOf } from "../test/help/uploads.ts";

let person: Person;
let cluster: TestCluster;

beforeEach(async () => {
  [person, cluster] = [await startPerson(), await startTestCluster()];
  await person.initialize();
  person.head.connect = async () => ({ openStream: async () => connect(cluster.socket), close: () => undefined });
});
afterEach(async () => {
  await person.close();
  await cluster.close();
});

it("shows what uploads take, and forgets them", async () => {
  await cluster.files.putPack(0, piecesOf(packOf([Buffer.alloc(1_500_000, 7)]), 65_536));
  const { code, out } = await person.sky(["files"]);
  expect([code, out]).toMatchInlineSnapshot(`
    [
      0,
      "CLUSTER  USED    QUOTA  TREES
    lab      1.5 MB  50 GB  0
    Uploads are kept for 14 days after their last use. \`sky files clean\` forgets what no job needs.
    ",
    ]
  `);
  const listed = JSON.parse((await person.sky(["files", "lab", "-o", "json"])).out) as unknown;
  expect(listed).toEqual({ lab: { bytes: 1_503_232, quota_bytes: 50e9, manifests: 0, keep_days: 14 } });
  const cleaned = await person.sky(["files", "clean", "lab"]);
  expect([cleaned.code, cleaned.out]).toMatchInlineSnapshot(`
    [
      0,
      "Cluster lab: 0 B of uploads forgotten. What unfinished jobs need, and what came within the last minute, stays.
    ",
    ]
  `);
  expect(JSON.parse((await person.sky(["files", "clean", "-o", "json"])).out)).toEqual({ lab: { freed_bytes: 0 } });
});

it("forgets them later when nobody waits, and the request can be asked for", async () => {
  const { code, out } = await person.sky(["files", "clean", "--async"]);
  const id = /^Submitted sky\.files\.clean request: (\S+)$/m.exec(out)?.[1] ?? "";
  expect([code, id]).toEqual([0, expect.stringMatching(/^[0-9a-f-]{36}$/)]);
  await until(async () => (await person.sky(["api", "status", id, "-o", "json"])).out.includes('"SUCCEEDED"'));
});

it("says which cluster does not answer", async () => {
  cluster.unavailable.cause = "Redis is away";
  person.head.connect = async () => {
    throw new Error("no route to host");
  };
  const { code, err } = await person.sky(["files"]);
  expect([code, err]).toEqual([1, expect.stringContaining("no route to host")]);
});
