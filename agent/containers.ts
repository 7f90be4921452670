/**
 * Which programs run containers for ordinary users on this machine. podman needs nothing but itself; docker's socket is as
 * good as root's rights, so docker counts only where somebody besides root may use it. Decides nothing: whether a certain
 * user may is found by that user's skylet. Called by agent/inventory.ts at start and by agent/watch.ts again and again.
 */
import { access, stat } from "node:fs/promises";
import { join } from "node:path";
import { runTool } from "./spawn.ts";

export type ContainerProgram = "podman" | "docker";

export interface ContainerPlaces {
  /** Where packages put programs: what is elsewhere is not there for every user. */
  programs: string[];
  dockerSocket: string;
  /** Names of the group's members besides root. */
  members: (gid: number) => Promise<string[]>;
}

const askLimitMs = 10_000;

/** As `getent group` has them; those whose primary group it is are not among them. None when it cannot be asked. */
async function groupMembers(gid: number): Promise<string[]> {
  const answer = await runTool("getent", ["group", String(gid)], askLimitMs).catch(() => null);
  const names = answer?.stdout.trim().split(":")[3] ?? "";
  return names.split(",").filter((name) => name !== "" && name !== "root");
}

const usualPlaces: ContainerPlaces = {
  programs: ["/usr/bin", "/usr/local/bin"],
  dockerSocket: "/var/run/docker.sock",
  members: groupMembers,
};

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Somebody besides root may connect to it. */
async function isOpenSocket({ dockerSocket, members }: ContainerPlaces): Promise<boolean> {
  const found = await stat(dockerSocket).catch(() => null);
  if (found === null || !found.isSocket()) {
    return false;
  }
  const allows = (bits: number): boolean => (found.mode & bits) === bits;
  return allows(0o006) || (allows(0o060) && found.gid !== 0 && (await members(found.gid)).length > 0);
}

/** Never rejects; podman comes first. */
export async function containerPrograms(places: ContainerPlaces = usualPlaces): Promise<ContainerProgram[]> {
  const has = async (name: string): Promise<boolean> =>
    (await Promise.all(places.programs.map((folder) => isThere(join(folder, name))))).includes(true);
  const [podman, docker] = await Promise.all([has("podman"), has("docker")]);
  return [
    ...(podman ? (["podman"] as const) : []),
    ...(docker && (await isOpenSocket(places)) ? (["docker"] as const) : []),
  ];
}
