/** The server's layer of SkyPilot's config over a real socket, and what a request makes of its caller's. */
import { expect, it } from "vitest";
import { startTestCluster } from "../../test/help/api-parts.ts";
import { coordinatorConfigSchema } from "../config.ts";
import { configOf } from "./routes-config.ts";

it("users see the server's layer, but not its policy's address", async () => {
  const cluster = await startTestCluster(["one"]);
  try {
    cluster.config.sky_config = { docker: { run_options: ["--init"] }, admin_policy: "https://policy.example/token" };
    const reply = await cluster.call("GET", "/onprem/config");
    expect([reply.status, reply.json]).toEqual([
      200,
      { cluster: "lab", config: { docker: { run_options: ["--init"] } } },
    ]);
    const { tree, warning } = configOf(cluster.config, { admin_policy: "mine.Policy", docker: { run_options: [] } });
    expect(tree).toEqual({ docker: { run_options: [] }, admin_policy: "https://policy.example/token" });
    expect(warning).toContain("'admin_policy'");
  } finally {
    await cluster.close();
  }
});

it("a faulty server layer refuses to start and names the near match", () => {
  const fault = coordinatorConfigSchema.shape.sky_config.safeParse({ dockr: {} }).error?.issues[0]?.message;
  expect(fault).toContain("unknown key 'dockr'. Did you mean 'docker'?");
});

it("options for containers: the task's own, else the caller's, else the server's; a warning goes to the request's text", async () => {
  const cluster = await startTestCluster(["one"]);
  try {
    cluster.config.sky_config = { docker: { run_options: ["--server"] }, allowed_clouds: ["ssh"] };
    const node = cluster.loop.state.nodes.get("one");
    Object.assign(node?.inventory ?? {}, { containers: ["podman"] });
    const send = async (task: string, override_skypilot_config?: object): Promise<string[] | undefined> => {
      const body = { task: `${task}\nrun: 'true'\n`, cluster_name: "lab", override_skypilot_config };
      const result = await cluster.result("/launch", body);
      expect(result.error).toBe("null");
      const { job_id } = JSON.parse(result.return_value) as { job_id: number };
      const record = await cluster.queue.read(0, job_id);
      return (await cluster.store.getPayload(0, record?.taskRef ?? ""))?.image?.options;
    };
    const image = "resources: {image_id: 'docker:debian'}";
    expect(await send(image)).toEqual(["--server"]);
    expect(await send(image, { docker: { run_options: "--a --b" }, allowed_clouds: ["aws"] })).toEqual(["--a", "--b"]);
    const own = `${image}\nconfig: {docker: {run_options: [--own]}}`;
    expect(await send(own, { docker: { run_options: ["--a"] } })).toEqual(["--own"]);
    expect(await send("resources: {}", { docker: { run_options: ["--a"] } })).toBeUndefined();
  } finally {
    await cluster.close();
  }
});
