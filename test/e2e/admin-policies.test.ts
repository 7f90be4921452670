/**
 * Admin policies with real programs and real users: each of examples/policies runs on a cluster whose config names it, and
 * what it does is what people see. Nothing that a request carries can name code; the Python client hears the refusal in
 * its own class.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkout } from "../../scripts/cluster/layout.ts";
import { must } from "../help/run.ts";
import { ask } from "../help/policy-calls.ts";
import { sky, skyOk, startSky } from "../help/sky.ts";
import { clusterName, jobLines, plain, queueOf, type Site, startSite, submit, untilStatus } from "../help/site.ts";
import { until } from "../help/until.ts";
import { type TestUser, writeHomeFile } from "../help/users.ts";

const examples = join(checkout, "examples/policies");
/** The examples, as a site would set them. */
const ours = `
import * as sky from "sky-onprem";
import {
  AddVolumesPolicy, GPUStaticQuotaPolicy, RateLimitLaunchPolicy, TokenBucketRateLimiter,
} from "./example_policy/index.ts";
export class HomeVolumes extends AddVolumesPolicy {
  static override volumes = { "~/data0": "pvc0" };
}
export class SlowRate extends RateLimitLaunchPolicy {
  static override rateLimiter = new TokenBucketRateLimiter(2, 0.000001);
}
export class SmallQuota extends GPUStaticQuotaPolicy {
  static override quotaPerUser = { V100: 2 };
}
export class Watching extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig, ...request }: sky.UserRequest): sky.MutatedUserRequest {
    console.log(JSON.stringify({ name: request.requestName, options: request.requestOptions, config: skypilotConfig }));
    task.updateEnvs({ WATCHED: request.user?.name ?? "nobody" });
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
`;

let site: Site;
let alice: TestUser;
let bob: TestUser;
let packages: string;

/** Of UseLocalGcpCredentialsPolicy. In a folder where nobody can exchange what another user left there. */
const keyFile = "/tmp/google_application_credentials.json";

beforeAll(async () => {
  rmSync(keyFile, { force: true });
  packages = mkdtempSync("/tmp/sky-packages-");
  cpSync(join(examples, "example_policy"), join(packages, "example_policy"), { recursive: true });
  mkdirSync(join(packages, "pvc0"));
  writeFileSync(join(packages, "pvc0/data.txt"), "of the volume\n");
  writeFileSync(join(packages, "ours.ts"), ours);
  await must(["chmod", "-R", "u=rwX,go=rX", packages]);
  site = await startSite({
    ...{ users: 2, accelerators: "V100:4,-" },
    coordinatorConfig: {
      admin_policy: "example_policy.DoNothingPolicy",
      policies: { packages },
      volumes: [{ name: "pvc0", path: join(packages, "pvc0") }],
    },
  });
  [alice, bob] = site.users as [TestUser, TestUser];
});
afterAll(async () => {
  await site?.stop();
  rmSync(packages, { recursive: true, force: true });
  // Not before: later jobs of the same user bring it again.
  rmSync(keyFile, { force: true });
});

/** Exchanges the cluster's policy, as an admin does: by its config and a restart. */
async function withPolicy(admin_policy: string): Promise<void> {
  const file = join(site.cluster.dir, "coordinator.yaml");
  const config = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  await site.cluster.kill("coordinator");
  writeFileSync(file, JSON.stringify({ ...config, admin_policy }));
  site.cluster.startPart("coordinator");
  await site.cluster.ready();
}

async function launch(user: TestUser, args: readonly string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await sky(user, ["launch", "-c", clusterName, "-y", ...args], { env });
  return { code, out: plain(stdout), err: plain(stderr) };
}

test("every example has a test", () => {
  const own = readFileSync(import.meta.filename, "utf8");
  const index = readFileSync(join(examples, "example_policy/index.ts"), "utf8");
  const names = [...index.matchAll(/\b(\w+Policy)\b(?=[ ,])/g)].map(([, name = ""]) => name);
  expect(names.length).toBe(12);
  expect(names.filter((name) => !own.includes(`example_policy.${name}`) && !own.includes(`extends ${name}`))).toEqual(
    [],
  );
  const files = readdirSync(join(examples, "example_policy")).filter(
    (file) => !/^(index|accelerators)\.ts$/.test(file),
  );
  expect(files.filter((file) => !index.includes(`"./${file}"`))).toEqual([]);
});

describe("example_policy.DoNothingPolicy", () => {
  test("lets a job run, and is named on the way", async () => {
    const { code, out } = await launch(alice, ["--", "echo it ran"]);
    expect(out).toContain("Applying server admin policy: DoNothingPolicy\n");
    expect(jobLines(out)).toContain("it ran");
    expect(code).toBe(0);
    const { text, value } = await ask(alice, site.cluster.socket, "POST", "/optimize", { dag: "run: echo\n" });
    expect(value).toBeNull();
    expect(text).toMatch(/^Applying server admin policy: DoNothingPolicy\n/);
  });
});

describe("example_policy.RejectAllPolicy", () => {
  const words = "User request rejected by policy RejectAllPolicy: [RuntimeError] Reject all policy";

  test("refuses every way in, and the Python client hears its own exception", async () => {
    await withPolicy("example_policy.RejectAllPolicy");
    const before = (await queueOf(alice)).size;
    const { code, err } = await launch(alice, ["--", "true"]);
    expect([code, err]).toEqual([1, `Error: ${words}\n`]);
    expect((await launch(alice, ["--dryrun", "--", "true"])).err).toBe(`Error: ${words}\n`);
    expect((await sky(alice, ["exec", clusterName, "--", "true"])).stderr).toBe(`Error: ${words}\n`);
    const body = { task: "run: 'true'\n", dag: "run: 'true'\n", cluster_name: clusterName };
    for (const path of ["/launch", "/exec", "/validate", "/optimize"]) {
      const { status, error } = await ask(alice, site.cluster.socket, "POST", path, body);
      expect([path, status === 200, error]).toEqual([path, false, `UserRequestRejectedByPolicy: ${words}`]);
    }
    expect((await queueOf(alice)).size).toBe(before);
  });

  test("cannot be exchanged by what a request says", async () => {
    const body = { task: "run: 'true'\n", cluster_name: clusterName };
    const own = { admin_policy: "example_policy.DoNothingPolicy" };
    const sent = { ...body, override_skypilot_config: own, admin_policy: own.admin_policy };
    expect((await ask(alice, site.cluster.socket, "POST", "/launch", sent)).error).toContain(words);
    const inTask = { ...body, task: `config: ${JSON.stringify(own)}\nrun: 'true'\n` };
    expect((await ask(alice, site.cluster.socket, "POST", "/launch", inTask)).error).toContain(words);
  });
});

describe("policies that change the config", () => {
  test("example_policy.AddLabelsPolicy and example_policy.DynamicKubernetesContextsUpdatePolicy change what has no effect here", async () => {
    for (const name of ["AddLabelsPolicy", "DynamicKubernetesContextsUpdatePolicy"]) {
      await withPolicy(`example_policy.${name}`);
      const { code, out } = await launch(alice, ["--", "echo it ran"]);
      expect([code, out.includes(`Applying server admin policy: ${name}\n`), jobLines(out)]).toEqual([
        0,
        true,
        ["it ran"],
      ]);
    }
  });

  test("example_policy.DisablePublicIpPolicy demands a VPC of everybody", async () => {
    await withPolicy("example_policy.DisablePublicIpPolicy");
    const { code, err } = await launch(alice, ["--", "true"]);
    expect([code, err]).toEqual([
      1,
      "Error: User request rejected by policy DisablePublicIpPolicy: [RuntimeError] VPC name should be set. " +
        "Check organization wiki for more information.\n",
    ]);
    expect((await launch(alice, ["--config", "aws.vpc_name=ours", "--", "true"])).code).toBe(0);
  });
});

describe("what has no meaning on machines of one's own is refused with the reason", () => {
  test("example_policy.UseSpotForGpuPolicy: only what asks for accelerators", async () => {
    await withPolicy("example_policy.UseSpotForGpuPolicy");
    const { code, err } = await launch(alice, ["--gpus", "V100:1", "--", "true"]);
    expect(code).toBe(1);
    expect(err).toMatch(
      /^Error: The admin policy UseSpotForGpuPolicy changed the request, and what it made of it cannot be/,
    );
    expect(err).toContain("Nobody takes one's own machines away, so none is cheaper for it");
    expect((await launch(alice, ["--", "true"])).code).toBe(0);
  });

  test("example_policy.EnforceAutostopPolicy", async () => {
    await withPolicy("example_policy.EnforceAutostopPolicy");
    const { code, err } = await launch(alice, ["--", "true"]);
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(
        /^Error: User request rejected by policy EnforceAutostopPolicy: \[RuntimeError\] Autostop\/down must/,
      ),
    ]);
    expect(err).toContain("scheduling.max_time");
    // Whoever sets it hears from the cluster why that cannot be.
    const body = { task: "run: 'true'\n", cluster_name: clusterName, idle_minutes_to_autostop: 5 };
    const { error, text } = await ask(alice, site.cluster.socket, "POST", "/launch", body);
    expect(error).toMatch(
      /^NotSupportedError: 'idle_minutes_to_autostop' cannot be used here\. The machines are never stopped/,
    );
    expect(text).toContain("Applying server admin policy: EnforceAutostopPolicy");
  });

  test("example_policy.SetMaxAutostopIdleMinutesPolicy", async () => {
    await withPolicy("example_policy.SetMaxAutostopIdleMinutesPolicy");
    const { code, err } = await launch(alice, ["--", "true"]);
    expect(code).toBe(1);
    expect(err).toContain("The admin policy SetMaxAutostopIdleMinutesPolicy changed the request");
    expect(err).toContain("The machines are never stopped");
  });
});

test("ours.HomeVolumes mounts the volume in every task", async () => {
  await withPolicy("ours.HomeVolumes");
  const { code, out } = await launch(alice, ["--", "cat ~/data0/data.txt"]);
  expect([code, jobLines(out).filter((line) => !line.startsWith("files:"))]).toEqual([0, ["of the volume"]]);
});

describe("example_policy.UseLocalGcpCredentialsPolicy", () => {
  test("the server demands that the user's own policy was applied, which brings the key along", async () => {
    await withPolicy("example_policy.UseLocalGcpCredentialsPolicy");
    expect((await launch(alice, ["--", "true"])).err).toContain(
      "[RuntimeError] Policy UseLocalGcpCredentialsPolicy was not applied at client-side. Please install the policy and retry.",
    );
    const folder = join(alice.home, ".sky/policies");
    cpSync(join(examples, "example_policy"), join(folder, "example_policy"), { recursive: true });
    await must(["chown", "-R", `${alice.uid}:${alice.gid}`, folder]);
    await must(["chmod", "-R", "go-w", folder]);
    writeHomeFile(alice, ".sky/config.yaml", "admin_policy: example_policy.UseLocalGcpCredentialsPolicy\n");
    writeHomeFile(alice, "key.json", '{"type": "service_account"}\n', 0o600);
    writeHomeFile(alice, ".bashrc", 'gcloud() { echo "gcloud $* $(cat "${@: -1}")"; }\n');
    const env = { GOOGLE_APPLICATION_CREDENTIALS: join(alice.home, "key.json") };
    const { code, out } = await launch(alice, ["--", "echo it ran"], env);
    const lines = ["client", "server"].map((side) => `Applying ${side} admin policy: UseLocalGcpCredentialsPolicy\n`);
    expect(lines.map((line) => out.includes(line))).toEqual([true, true]);
    expect(jobLines(out).filter((line) => !line.startsWith("files:"))).toEqual([
      `gcloud auth activate-service-account --key-file ${keyFile} {"type": "service_account"}`,
      "it ran",
    ]);
    expect(code).toBe(0);
  });

  test("a project may choose among the user's policies and bring none of its own", async () => {
    const project = join(alice.home, "project");
    mkdirSync(join(project, ".sky/policies"), { recursive: true });
    writeFileSync(join(project, ".sky/policies/evil.mjs"), 'throw new Error("it ran");');
    writeFileSync(join(project, "evil.mjs"), 'throw new Error("it ran");');
    await must(["chown", "-R", `${alice.uid}:${alice.gid}`, project]);
    const chosen = async (name: string) => {
      writeFileSync(join(project, ".sky.yaml"), `admin_policy: ${name}\n`);
      return sky(alice, ["exec", clusterName, "--dryrun", "--", "true"], { cwd: project });
    };
    expect((await chosen("example_policy.RejectAllPolicy")).stderr).toContain("[RuntimeError] Reject all policy");
    expect((await chosen("evil.P")).stderr).toContain(
      `Failed to import policy module: evil: There is no such module. Please check if the module is installed in ${alice.home}/.sky/policies.`,
    );
    expect((await chosen("./evil.P")).stderr).toContain("names no policy");
    chmodSync(join(alice.home, ".sky/policies"), 0o777);
    expect((await chosen("example_policy.DoNothingPolicy")).stderr).toContain(
      "can be written to by a group or by everybody",
    );
    rmSync(join(alice.home, ".sky/config.yaml"));
    rmSync(join(alice.home, ".bashrc"));
  });
});

test("ours.SlowRate: a bucket of launches outlives the coordinator; looking costs nothing", async () => {
  await withPolicy("ours.SlowRate");
  const body = { dag: "run: 'true'\n" };
  expect((await ask(bob, site.cluster.socket, "POST", "/validate", body)).error).toBe("");
  expect((await launch(bob, ["-d", "--", "true"])).code).toBe(0);
  expect((await launch(bob, ["-d", "--", "true"])).code).toBe(0);
  const refused = `Error: User request rejected by policy SlowRate: [RuntimeError] Rate limit exceeded for user ${bob.name}\n`;
  expect((await launch(bob, ["-d", "--", "true"])).err).toBe(refused);
  await withPolicy("ours.SlowRate");
  expect((await launch(bob, ["-d", "--", "true"])).err).toBe(refused);
  expect((await launch(alice, ["-d", "--", "true"])).code).toBe(0);
  expect(existsSync(join(site.cluster.dir, "state/policies/rate_limit.json"))).toBe(true);
});

test("ours.SmallQuota: of launches at once exactly as many pass as the quota has room for", async () => {
  await withPolicy("ours.SmallQuota");
  const args = ["launch", "-c", clusterName, "-y", "-d", "--gpus", "v100:1", "--", "sleep 1000"];
  const ended = await Promise.all([1, 2, 3, 4].map(() => startSky(bob, args).ended));
  const refused = ended.filter(({ code }) => code !== 0);
  expect(refused.map(({ stderr }) => plain(stderr))).toEqual(
    Array(2).fill(
      `Error: User request rejected by policy SmallQuota: [RuntimeError] User ${bob.name} has exceeded the GPU quota for v100. ` +
        "In use: 2, Requested: 1, Quota: 2\n",
    ),
  );
  // Another's are another's; what has ended is not in use.
  const id = await submit(alice, ["--gpus", "V100:2", "--", "sleep 1000"]);
  expect((await sky(alice, ["exec", clusterName, "-d", "--gpus", "V100:1", "--", "true"])).code).toBe(1);
  await skyOk(alice, ["cancel", clusterName, "-y", String(id)]);
  await untilStatus(alice, id, "CANCELLED");
  await submit(alice, ["--gpus", "V100:2", "--", "true"]);
  await skyOk(alice, ["cancel", clusterName, "-a", "-y"]);
  await skyOk(bob, ["cancel", clusterName, "-a", "-y"]);
});

test("ours.Watching: its words are in the coordinator's log, and what it sets reaches the job", async () => {
  await withPolicy("ours.Watching");
  const { out } = await launch(bob, ["--config", "docker.run_options=--init", "--", 'echo "watched $WATCHED"']);
  expect(jobLines(out)).toEqual([`watched ${bob.name}`]);
  const log = site.cluster.log("coordinator");
  expect(log).toContain('"policy":"Watching"');
  expect(log).toContain('\\"name\\":\\"launch\\"');
  expect(log).toContain('\\"docker\\":{\\"run_options\\":');
  expect(log).toMatch(
    /"user":"skytest\w+","request":"launch","changed":true.*"msg":"the admin policy let a request pass"/,
  );
});

test("sky policy serve: the cluster asks a policy that another program serves", async () => {
  const args = ["policy", "serve", "example_policy.RejectAllPolicy", "--packages", packages, "--port", "0"];
  const serving = startSky(bob, args, { limitMs: 200_000 });
  const url = await until(() => /http:\S+/.exec(serving.stdout())?.[0], "the policy's address", 60_000);
  await withPolicy(url);
  expect((await launch(alice, ["--", "true"])).err).toBe(
    `Error: User request is rejected by admin policy ${url}: "Reject all policy"\n`,
  );
  serving.child.kill("SIGINT");
  expect(await serving.ended).toMatchObject({ code: 0 });
  const gone = `User request rejected by policy RestfulAdminPolicy(policy_url=${url}): [sky.exceptions.RestfulPolicyError]`;
  expect((await launch(alice, ["--", "true"])).err).toContain(gone);
});
