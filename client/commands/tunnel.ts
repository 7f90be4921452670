/**
 * `sky tunnel`: lets SkyPilot's own Python client use a cluster, as this person: a port on this machine whose calls go
 * over the person's SSH to the coordinator. The credential is drawn for this run, printed once and kept nowhere. Called by
 * client/program-tunnel.ts.
 */
import { randomBytes } from "node:crypto";
import { SkyError } from "../../shared/errors.ts";
import type { HeadStreams } from "../sdk/transport.ts";
import { openTunnel } from "../tunnel/server.ts";
import { tunnelUser } from "../tunnel/guard.ts";
import { callsTo, type LocalCluster, oneCluster } from "./clusters.ts";
import type { Context } from "./context.ts";

export interface TunnelFlags {
  cluster?: string;
  port?: number;
}

/** The connection to the head, made again when it was lost. */
class Way {
  readonly #connect: () => Promise<HeadStreams>;
  #head: Promise<HeadStreams> | null = null;

  constructor(connect: () => Promise<HeadStreams>) {
    this.#connect = connect;
  }

  async openStream() {
    const had = this.#head;
    try {
      return await (await this.#present()).openStream();
    } catch (error) {
      this.#drop(had);
      // The first one is new: another would fail as well.
      if (had === null || (error instanceof SkyError && error.type === "NotSupportedError")) {
        throw error;
      }
    }
    return (await this.#present()).openStream();
  }

  close(): void {
    this.#drop(this.#head);
  }

  #present(): Promise<HeadStreams> {
    this.#head ??= this.#connect();
    const head = this.#head;
    head.catch(() => this.#drop(head));
    return head;
  }

  #drop(head: Promise<HeadStreams> | null): void {
    if (head !== null && this.#head === head) {
      this.#head = null;
    }
    head?.then(
      (streams) => streams.close(),
      () => undefined,
    );
  }
}

/** The cluster's own name, which the Python client must use. Throws SkyError when the cluster cannot be reached. */
async function nameThere(context: Context, cluster: LocalCluster): Promise<string> {
  const calls = callsTo(context, cluster);
  try {
    return (await calls.whoami()).cluster;
  } finally {
    calls.close();
  }
}

/** Runs the command; resolves with the exit code when the person presses Ctrl-C. */
export async function tunnel(context: Context, flags: TunnelFlags): Promise<number> {
  const { screen } = context;
  const cluster = await oneCluster(context, flags.cluster);
  const name = await nameThere(context, cluster);
  const way = new Way(() => context.connect(cluster.registered));
  const secret = randomBytes(24).toString("base64url");
  const { port, close } = await openTunnel(flags.port ?? 0, secret, () => way.openStream());
  const { signal, done } = context.interrupted();
  try {
    const url = `http://${tunnelUser}:${secret}@127.0.0.1:${port}`;
    screen.print(url);
    screen.note(`Calls to it reach cluster '${name}' as ${cluster.registered.user}. Keep it to yourself.`);
    screen.note(`Now, with SkyPilot's Python client: sky api login -e ${url}`);
    screen.note(`It calls the cluster '${name}': sky launch -c ${name} task.yaml. Ctrl-C here ends the tunnel.`);
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    screen.note("The tunnel is closed.");
    return 0;
  } finally {
    done();
    await close();
    way.close();
  }
}
