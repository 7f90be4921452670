/** Jobs with an image, by the real skylet and runner; a small program of the test stands in for podman. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StandInAgent } from "../../test/help/stand-in-agent.ts";
import { until } from "../../test/help/until.ts";
import { type ContainerPlan, containerRunWords } from "./container.ts";

let agent: StandInAgent;
let bin = "";

/** Notes each call; a container is a file with the pid of a process of the machine, in a session of its own. */
const podman = `#!/bin/sh
root=$(dirname "$0")
echo "$*" >>"$root/calls"
case $1 in
  unshare) ;;
  login) cat >"$root/password" ;;
  container) [ -e "$root/$5" ] && echo true ;;
  run)
    [ ! -e "$root/broken" ] || { echo "no such image" >&2; exit 125; }
    while [ "$1" != --entrypoint ]; do
      case $1 in --name) name=$2 ;; SKY_ONPREM_FOLDER=*) folder=$1 ;; esac
      shift
    done
    shift 3
    IN_CONTAINER=yes env "$folder" setsid /bin/bash "$@" </dev/null >/dev/null 2>&1 &
    echo $! >"$root/$name" ;;
  rm)
    [ ! -e "$root/stuck" ] || { echo "it will not go" >&2; exit 2; }
    while [ $# -gt 1 ]; do shift; done
    [ ! -e "$root/$1" ] || { kill -9 "-$(cat "$root/$1")"; rm "$root/$1"; } ;;
esac
`;

beforeEach(async () => {
  agent = new StandInAgent();
  await agent.open();
  bin = join(agent.root, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "podman"), podman);
  chmodSync(join(bin, "podman"), 0o755);
  await agent.start("", { PATH: `${bin}:${process.env["PATH"]}` });
});

afterEach(async () => {
  await agent.close();
});

const calls = (): string[] => readFileSync(join(bin, "calls"), "utf8").trimEnd().split("\n");
const left = (): string[] => readdirSync(bin).filter((name) => name.startsWith("sky-"));

test("setup and run share one container, which is gone before the end is told", async () => {
  const wanted = agent.wanted({ setup: true });
  const image = { name: "lab/tools:1", options: ["--shm-size", "1g"] };
  const logDir = await agent.launch(wanted, {
    image,
    setup: "echo setup $IN_CONTAINER",
    run: "echo run $IN_CONTAINER; exit 5",
  });
  expect(await agent.state(wanted.attempt, "exited")).toMatchObject({ setupExit: 0, runExit: 5 });
  expect(readFileSync(join(logDir, "setup.log"), "utf8")).toBe("setup yes\n");
  expect(readFileSync(join(logDir, "tasks", "run.log"), "utf8")).toBe("run yes\n");
  expect(calls().map((call) => call.split(" ")[0])).toEqual(["unshare", "run", "rm"]);
  expect(calls().find((call) => call.startsWith("run"))).toContain(
    "--shm-size 1g --entrypoint /bin/bash lab/tools:1 --noprofile --norc ",
  );
  expect(left()).toEqual([]);
});

test("a cancel ends the container; one that cannot be started fails the setup with what podman said", async () => {
  const wanted = agent.wanted();
  await agent.launch(wanted, { image: { name: "x", options: [] }, run: "echo >~/here; sleep 100" });
  await until(() => existsSync(join(agent.home, "here")), "the run script");
  expect(left()).toHaveLength(1);
  await agent.stop(wanted.attempt, 10);
  expect(left()).toEqual([]);
  writeFileSync(join(bin, "broken"), "");
  const broken = agent.wanted({ setup: true });
  const logDir = await agent.launch(broken, { image: { name: "x", options: [] }, setup: "true", run: "true" });
  expect((await agent.state(broken.attempt, "exited")).setupExit).toBe(125);
  expect(readFileSync(join(logDir, "setup.log"), "utf8")).toBe("no such image\n");
});

test("a cancelled script has its grace time in the container, and its last words are in the log", async () => {
  const wanted = agent.wanted();
  const run = "trap 'echo saving; sleep 0.5; echo saved; exit 3' TERM; touch ~/here; while true; do sleep 0.1; done";
  const logDir = await agent.launch(wanted, { image: { name: "x", options: [] }, run });
  await until(() => existsSync(join(agent.home, "here")), "the run script");
  await agent.stop(wanted.attempt, 30);
  expect(readFileSync(join(logDir, "tasks", "run.log"), "utf8")).toBe("saving\nsaved\n");
  expect(left()).toEqual([]);
});

test("a container that ends by itself ends its job; one that cannot be removed is told of", async () => {
  const killed = agent.wanted();
  const logDir = await agent.launch(killed, {
    image: { name: "x", options: [] },
    run: `echo last; kill -9 -- -$(cat ${bin}/sky-*)`,
  });
  expect((await agent.state(killed.attempt, "exited")).runExit).toBe(137);
  const lines = readFileSync(join(logDir, "tasks", "run.log"), "utf8");
  expect(lines).toMatch(/^last\nThe container has ended before the script\.\n/);

  writeFileSync(join(bin, "stuck"), "");
  const stuck = agent.wanted();
  const stuckDir = await agent.launch(stuck, { image: { name: "x", options: [] }, run: "echo done" });
  expect((await agent.state(stuck.attempt, "exited")).runExit).toBe(0);
  expect(readFileSync(join(stuckDir, "tasks", "run.log"), "utf8")).toMatch(
    /^done\nThe job's container sky-\S+ could not be removed: it will not go\n$/,
  );
  await agent.stop(stuck.attempt, 0);
  expect((await agent.state(stuck.attempt, "exited")).fault).toContain("could not be removed: it will not go");
  rmSync(join(bin, "stuck"));
});

test("a registry's password goes in by a file of the user's alone, never as an argument", async () => {
  const wanted = agent.wanted();
  const secrets = {
    SKYPILOT_DOCKER_USERNAME: "me",
    SKYPILOT_DOCKER_PASSWORD: "s3cret words",
    SKYPILOT_DOCKER_SERVER: "registry.example",
  };
  await agent.launch(wanted, { image: { name: "lab/x", options: [] }, secrets, run: "true" });
  expect((await agent.state(wanted.attempt, "exited")).runExit).toBe(0);
  expect([readFileSync(join(bin, "password"), "utf8"), calls().join("\n")]).toEqual([
    "s3cret words",
    expect.not.stringContaining("s3cret"),
  ]);
  expect(calls().find((call) => call.startsWith("run"))).toContain("registry.example/lab/x");
  expect(statSync(join(agent.dir, wanted.attempt, "registry-password")).mode & 0o777).toBe(0o600);
});

test("the words for devices, users and places", () => {
  const wanted = agent.wanted({
    acceleratorKind: "H100",
    grant: { node: "n", devices: [2, 3], share: 1, cpus: 1, memoryGb: 1 },
  });
  const files = [
    { kind: "volume" as const, destination: "~/v", name: "v", path: "/srv/v", readOnly: true },
    { kind: "upload" as const, destination: "/data", manifest: "0".repeat(64) },
  ];
  const payload = { setup: null, run: null, envs: {}, files, image: { name: "x", options: [] } };
  const plan: ContainerPlan = {
    engine: "docker",
    folder: "/run/f",
    home: "/home/a",
    uid: 7,
    gid: 8,
    wanted,
    payload,
    scratch: null,
  };
  const docker = containerRunWords(plan).join(" ");
  expect(docker).toContain("--user 7:8");
  expect(docker).toContain("--volume /srv/v:/srv/v:ro --volume /data:/data");
  expect(docker).toContain('--gpus "device=2,3"');
  const words = containerRunWords({ ...plan, engine: "podman" }).join(" ");
  expect(words).toContain("--userns=keep-id");
  expect(words).toContain("--device nvidia.com/gpu=2 --device nvidia.com/gpu=3");
  const of = (acceleratorKind: string): string =>
    containerRunWords({ ...plan, wanted: { ...wanted, acceleratorKind } }).join(" ");
  expect(of("MI300X")).toContain("--device /dev/kfd --device /dev/dri");
  expect(of("ARCA770")).toContain("--device /dev/dri");
  expect(of("ARCA770")).not.toContain("kfd");
  expect(() => of("Gaudi2")).toThrow("a container cannot be given a Gaudi2 here");
  expect(() => of("tpu-v4")).toThrow("a container cannot be given a tpu-v4 here");
  expect(() => containerRunWords({ ...plan, home: "/home/a:b" })).toThrow("colon");
});
