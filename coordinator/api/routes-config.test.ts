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
