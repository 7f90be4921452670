/** Programs for containers: where they lie, and who may use docker's socket. */
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type ContainerPlaces, containerPrograms } from "./containers.ts";

let folder: string;
let server: Server;
let places: ContainerPlaces;
const ownGid = process.getgid?.() ?? 0;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sky-containers-"));
  server = createServer();
  const dockerSocket = join(folder, "docker.sock");
  await new Promise<void>((resolve) => server.listen(dockerSocket, resolve));
  places = { programs: [join(folder, "none"), folder], dockerSocket, members: () => Promise.resolve([]) };
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

it("podman counts where it is, docker where its socket is open to all", async () => {
  expect(await containerPrograms(places)).toEqual([]);
  writeFileSync(join(folder, "docker"), "");
  chmodSync(places.dockerSocket, 0o600);
  expect(await containerPrograms(places)).toEqual([]);
  writeFileSync(join(folder, "podman"), "");
  expect(await containerPrograms(places)).toEqual(["podman"]);
  chmodSync(places.dockerSocket, 0o666);
  expect(await containerPrograms(places)).toEqual(["podman", "docker"]);
  expect(await containerPrograms({ ...places, dockerSocket: join(folder, "podman") })).toEqual(["podman"]);
});

it.runIf(process.getuid?.() === 0 || ownGid !== 0)("docker of a group counts when the group has members", async () => {
  writeFileSync(join(folder, "docker"), "");
  const gid = ownGid === 0 ? 65_533 : ownGid;
  chownSync(places.dockerSocket, -1, gid);
  chmodSync(places.dockerSocket, 0o660);
  expect(await containerPrograms(places)).toEqual([]);
  const asked: number[] = [];
  const members = (asking: number): Promise<string[]> => {
    asked.push(asking);
    return Promise.resolve(["alice"]);
  };
  expect(await containerPrograms({ ...places, members })).toEqual(["docker"]);
  expect(asked).toEqual([gid]);
  chmodSync(places.dockerSocket, 0o640);
  expect(await containerPrograms({ ...places, members })).toEqual([]);
});

it("asks the machine itself without a fault", async () => {
  expect(["podman", "docker"]).toEqual(expect.arrayContaining(await containerPrograms()));
});
