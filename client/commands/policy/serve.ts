/**
 * `sky policy serve`: serves an admin policy out of a folder of packages to others until Ctrl-C. It contacts no cluster.
 */
import { resolve } from "node:path";
import { policyPlace } from "../../../shared/admin-policy/names.ts";
import { openPolicyProcess, usualPackages } from "../../policy/apply.ts";
import { servePolicy } from "../../policy/serve.ts";
import { type Context, UsageError } from "../context.ts";

export interface ServeFlags {
  host: string;
  port: number;
  packages?: string;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/** Runs the command; resolves with the exit code. */
export async function serve(context: Context, module: string, { host, port, packages }: ServeFlags): Promise<number> {
  const { screen } = context;
  const place = policyPlace(module);
  if (place.kind === "url") {
    throw new UsageError("Name a module to serve, not a URL: sky policy serve my-policies.MyPolicy");
  }
  const folder = packages === undefined ? usualPackages(context.home) : resolve(context.cwd, packages);
  const worker = openPolicyProcess(place, folder, context, (line) => screen.note(line));
  const { signal, done } = context.interrupted();
  try {
    // What is wrong with the code is said now, not to the first caller.
    await worker.start();
    const server = await servePolicy(worker, host, port);
    if (!isLoopback(host)) {
      screen.note(`Whoever can connect to ${host} may ask the policy: there is no other check.`);
    }
    const shown = host.includes(":") ? `[${host}]` : host;
    screen.print(`Serving admin policy ${place.shown} at http://${shown}:${server.port}/ (Ctrl-C ends it)`);
    await new Promise<void>((ended) => {
      signal.addEventListener("abort", () => ended(), { once: true });
    });
    await server.close();
    return 0;
  } finally {
    done();
    worker.close();
  }
}
