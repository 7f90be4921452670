/**
 * Setup and run inside of a container, by the user's own podman or docker: the texts that start it, enter it and end it.
 * Pure. One container for an attempt, so that run finds what setup installed; home, attempt's folder and the places of
 * files lie in it at the same paths. Its first process runs the scripts, told by one fifo and answering by another, so
 * that no program of the engine stands between a job and its signals or its log. It must never put a password into an
 * argument or a file that others can read. Called by prepare.ts and attempt-folder.ts.
 */
import { vendorOf } from "../../shared/accelerators.ts";
import type { WantedAttempt } from "../../shared/agent-wire.ts";
import { SkyError } from "../../shared/errors.ts";
import type { Payload } from "../../shared/job.ts";
import type { Scratch } from "./scratch.ts";
import { attemptVariable, folderVariable, shellQuoted } from "./environment.ts";

export type ContainerEngine = "podman" | "docker";

export interface ContainerPlan {
  engine: ContainerEngine;
  /** The attempt's folder and the user's home, absolute. */
  folder: string;
  home: string;
  uid: number;
  gid: number;
  wanted: WantedAttempt;
  payload: Payload;
  /** The job's own folders; null: none. */
  scratch: Scratch | null;
}

/** Names of the files in the attempt's folder that only containers have. */
export const containerFiles = {
  registryPassword: "registry-password",
  registryLogin: "registry",
  /** The container's first process. */
  main: "container-main.sh",
  /** Fifos: two lines, a log and a script; its exit code. */
  orders: "container.orders",
  answers: "container.answers",
} as const;

/** Of this attempt on this node. */
function containerName({ wanted }: Pick<ContainerPlan, "wanted">): string {
  return `sky-${wanted.attempt}-${wanted.rank}`;
}

export interface Registry {
  username: string;
  password: string;
  server: string;
}

/** Null: the image needs no login. Source: SkyPilot's SKYPILOT_DOCKER_* variables, all three or none. */
export function registryOf({ envs, secrets }: Payload): Registry | null {
  const all = { ...envs, ...secrets };
  const [username, password, server] = ["USERNAME", "PASSWORD", "SERVER"].map((name) => all[`SKYPILOT_DOCKER_${name}`]);
  if (username === undefined || password === undefined || server === undefined) {
    return null;
  }
  return { username, password, server };
}

/** The image with its registry, as SkyPilot adds it. */
function imageName({ payload }: ContainerPlan): string {
  const name = payload.image?.name ?? "";
  const server =
    registryOf(payload)
      ?.server.replace(/^https?:\/\//u, "")
      .replace(/\/+$/u, "") ?? "";
  return server === "" || name.startsWith(`${server}/`) ? name : `${server}/${name}`;
}

/** Paths that the scripts must find where they are, each with whether it may only be read. */
function places({ home, folder, payload }: ContainerPlan): [path: string, readOnly: boolean][] {
  const files = payload.files ?? [];
  const volumes = files.flatMap((plan): [string, boolean][] =>
    plan.kind === "volume" ? [[plan.path, plan.readOnly]] : [],
  );
  const outside = files.flatMap((plan): [string, boolean][] =>
    plan.destination.startsWith("/") && !plan.destination.startsWith(`${home}/`) && plan.kind !== "volume"
      ? [[plan.destination, false]]
      : [],
  );
  return [[home, false], [folder, false], ...volumes, ...outside];
}

/** Device files of a maker's accelerators, all of them. */
const devicePlaces: Readonly<Record<string, readonly string[]>> = {
  AMD: ["/dev/kfd", "/dev/dri"],
  Intel: ["/dev/dri"],
};

/** The granted devices and no others; of other makers all that there are, of which variables name the granted ones. */
function deviceOptions({ engine, wanted }: ContainerPlan): string[] {
  const { devices } = wanted.grant;
  if (devices.length === 0) {
    return [];
  }
  const kind = wanted.acceleratorKind ?? "";
  const vendor = vendorOf(kind) ?? "NVIDIA";
  if (vendor !== "NVIDIA") {
    const places = /^gaudi/i.test(kind) ? undefined : devicePlaces[vendor];
    if (places === undefined) {
      const text = `a container cannot be given a ${kind} here; run the task without 'image_id'.`;
      throw new SkyError("NotSupportedError", text);
    }
    return places.flatMap((place) => ["--device", place]);
  }
  const names = wanted.visibleDevices ?? devices.map(String);
  return engine === "podman"
    ? names.flatMap((name) => ["--device", `nvidia.com/gpu=${name}`])
    : ["--gpus", `"device=${names.join(",")}"`];
}

/** Without a word of the job's policies the machine's own. */
function networkOf({ engine, payload }: ContainerPlan): string {
  const isOwn = payload.launchSpec?.container?.hostNetwork === false;
  return isOwn ? (engine === "podman" ? "private" : "bridge") : "host";
}

/** What the job's policies say of its container. */
function boundOptions(plan: ContainerPlan): string[] {
  const { container = {}, noNewPrivileges } = plan.payload.launchSpec ?? {};
  const { pull, readOnlyRoot, capabilities, seccomp, hostIpc, shmBytes } = container;
  const option = (isSet: boolean, ...words: string[]): string[] => (isSet ? words : []);
  return [
    ...option(pull !== undefined, `--pull=${pull}`),
    ...option(readOnlyRoot === true, "--read-only"),
    ...option(capabilities !== undefined, "--cap-drop=ALL", ...(capabilities ?? []).map((one) => `--cap-add=${one}`)),
    ...option(seccomp === "unconfined", "--security-opt=seccomp=unconfined"),
    ...option(hostIpc !== undefined, `--ipc=${hostIpc === true ? "host" : "private"}`),
    ...option(shmBytes !== undefined && hostIpc !== true, `--shm-size=${shmBytes}`),
    ...option(noNewPrivileges === true, "--security-opt=no-new-privileges"),
    ...limitOptions(plan),
    ...scratchOptions(plan),
  ];
}

/** podman's containers stay in the attempt's cgroup, which has the limits; docker's are its daemon's. */
function limitOptions({ engine, wanted }: ContainerPlan): string[] {
  const { cpuCores, memoryBytes } = wanted.limits ?? {};
  if (engine === "podman") {
    return wanted.limits === undefined ? [] : ["--cgroups=disabled"];
  }
  return [
    ...(cpuCores === undefined ? [] : [`--cpus=${cpuCores}`]),
    ...(memoryBytes === undefined ? [] : [`--memory=${memoryBytes}`, `--memory-swap=${memoryBytes}`]),
  ];
}

function scratchOptions({ scratch }: ContainerPlan): string[] {
  const bad = scratch?.mounted.find(({ path }) => /[:,]/u.test(path));
  if (bad !== undefined) {
    const text = `the scratch folder '${bad.path}' cannot be mounted into a container: its name holds a colon or a comma.`;
    throw new SkyError("InvalidTaskError", text);
  }
  const home = scratch?.home ?? null;
  const mounted = (scratch?.mounted ?? []).map(({ path, source, sizeBytes }) =>
    source === null
      ? `--tmpfs=${path}:rw,exec,mode=1777${sizeBytes === null ? "" : `,size=${sizeBytes}`}`
      : `--volume=${source}:${path}`,
  );
  return [...(home === null ? [] : [`--volume=${home}:${home}`]), ...mounted];
}

/** Words of the engine's `run`, without the engine. Throws a SkyError for a path that no engine can mount. */
export function containerRunWords(plan: ContainerPlan): string[] {
  const { engine, folder, home, uid, gid, payload, scratch } = plan;
  const mounts = places(plan).flatMap(([path, readOnly]) => {
    if (path.includes(":")) {
      throw new SkyError("InvalidTaskError", `'${path}' cannot be mounted into a container: its name holds a colon.`);
    }
    return ["--volume", `${path}:${path}${readOnly ? ":ro" : ""}`];
  });
  const login =
    registryOf(payload) === null || engine === "docker"
      ? []
      : ["--authfile", `${folder}/${containerFiles.registryLogin}`];
  return [
    "run",
    ...login,
    ...["--detach", "--name", containerName(plan), "--network", networkOf(plan)],
    // A machine that was restarted has nobody who ends it; docker would be late with an end that was asked for as well.
    ...(engine === "podman" ? ["--rm", "--userns=keep-id"] : ["--user", `${uid}:${gid}`]),
    // The home keeps its label where SELinux rules.
    ...["--security-opt", "label=disable"],
    ...["--env", `HOME=${scratch?.home ?? home}`, "--env", `${folderVariable}=${folder}`, "--workdir", home],
    ...mounts,
    ...deviceOptions(plan),
    ...(payload.image?.options ?? []),
    // Last: where two say different things, these count.
    ...boundOptions(plan),
    ...["--entrypoint", "/bin/bash", imageName(plan)],
    ...["--noprofile", "--norc", `${folder}/${containerFiles.main}`],
  ];
}

function quoted(words: readonly string[]): string {
  return words.map((word) => shellQuoted(word, "A word for the container")).join(" ");
}

/** docker takes the place of its logins before the command; podman with each. */
function engineWords({ engine, folder, wanted, payload }: ContainerPlan): string[] {
  const isOwn = engine === "docker" && registryOf(payload) !== null;
  if (engine === "podman" && wanted.limits !== undefined) {
    // systemd would put the container elsewhere than the job that has the limits.
    return ["podman", "--cgroup-manager=cgroupfs"];
  }
  return isOwn ? ["docker", "--config", `${folder}/${containerFiles.registryLogin}`] : [engine];
}

function loginLines(plan: ContainerPlan): string {
  const registry = registryOf(plan.payload);
  if (registry === null) {
    return "";
  }
  const file = `${plan.folder}/${containerFiles.registryLogin}`;
  const words = [
    ...engineWords(plan),
    "login",
    ...(plan.engine === "podman" ? ["--authfile", file] : []),
    ...["--username", registry.username, "--password-stdin", registry.server],
  ];
  const input = shellQuoted(`${plan.folder}/${containerFiles.registryPassword}`, "The attempt's path");
  return `  ${quoted(words)} 2>&1 >/dev/null <${input} || exit 125\n`;
}

/** What a stop sends to every process: the scripts are to have their grace time, so nothing around them may end by it. */
const outlivesStops = "trap : TERM INT HUP QUIT";

/** The container's first process (bash): runs one script after the other, until the container is removed. */
export function containerMain({ folder }: ContainerPlan): string {
  const [orders, answers] = [containerFiles.orders, containerFiles.answers].map((name) =>
    shellQuoted(`${folder}/${name}`, "The attempt's path"),
  );
  return `# Written by sky-skylet; see agent/skylet/container.ts.
${outlivesStops}
# Open both ways: no end is read when a writer goes.
exec 7<>${orders} 9>${answers}
echo ready >&9
while IFS= read -r log <&7 && IFS= read -r script <&7; do
  /bin/bash -i "$script" </dev/null >>"$log" 2>/dev/null 7>&- 9>&-
  echo "$?" >&9
done
`;
}

/** Nothing of the job begins in a container that is outside of the limits. */
function limitLines(plan: ContainerPlan): string {
  if (plan.engine === "docker" || plan.wanted.limits === undefined) {
    return "";
  }
  const engine = quoted(engineWords(plan));
  const name = containerName(plan);
  return `  groupOf() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }
  main=$(${engine} container inspect --format '{{.State.Pid}}' ${name} 2>/dev/null)
  if [ "$(groupOf "\${main:-0}" 2>/dev/null)" != "$(groupOf self)" ]; then
    echo "The container is outside of the job's control group, where its limits do not hold: nothing was begun."
    ${engine} rm --force --time 0 ${name} >/dev/null 2>&1
    exit 125
  fi
`;
}

/**
 * A program for the runner (bash): starts the attempt's container when there is none yet, and has the script, its second
 * argument, run there with its output in the log, its first. Its exit code is the script's; 125: there is no container, 137:
 * it has ended.
 */
export function containerScript(plan: ContainerPlan): string {
  const engine = quoted(engineWords(plan));
  const folder = shellQuoted(plan.folder, "The attempt's path");
  // What the engine leaves running, for all of the user's containers, is no part of this attempt.
  const unmarked = `env -u ${folderVariable} -u ${attemptVariable}`;
  return `# Written by sky-skylet; see agent/skylet/container.ts.
${outlivesStops}
cd ${folder} || exit 125
isThere() { [ "$(${engine} container inspect --format '{{.State.Running}}' ${containerName(plan)} 2>/dev/null)" = true ]; }
if [ ! -e ${containerFiles.answers} ]; then
${loginLines(plan)}  mkfifo -m 600 ${containerFiles.orders} ${containerFiles.answers} || exit 125
  exec 9<>${containerFiles.answers}
  ${unmarked} ${engine} ${quoted(containerRunWords(plan))} 2>&1 >/dev/null || exit 125
  until read -r -t 5 _ <&9; do
    isThere || { echo "The container has ended before its first script."; exit 125; }
  done
${limitLines(plan)}fi
# Read-only, so that the container's end is the end of the answers; the opening must not wait for a writer.
exec 9<>${containerFiles.answers} 7<>${containerFiles.orders}
exec 8<${containerFiles.answers} 9>&-
printf '%s\n%s\n' "$1" "$2" >&7
while :; do
  read -r code <&8 && exit "$code"
  # More than 128: a signal has come, and the script has its grace time.
  [ "$?" -gt 128 ] || { echo "The container has ended before the script."; exit 137; }
done
`;
}

/** Ends the attempt's container and everything in it; says so and fails when that cannot be. Without effect when there is none. */
export function containerEndScript(plan: ContainerPlan): string {
  const engine = quoted(engineWords(plan));
  const name = containerName(plan);
  const begun = shellQuoted(`${plan.folder}/${containerFiles.answers}`, "The attempt's path");
  return `#!/bin/sh
# Written by sky-skylet; see agent/skylet/container.ts.
[ -e ${begun} ] || exit 0
${engine} rm --force --time 0 ${name} >/dev/null 2>&1 && exit 0
said=$(${engine} rm --force ${name} 2>&1) && exit 0
case $said in *[Nn]o?such?container*) exit 0 ;; esac
echo "The job's container ${name} could not be removed: $said"
exit 1
`;
}
