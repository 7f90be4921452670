/**
 * The command line of `sky tunnel`. It must never do a command's work itself. Called by client/program.ts.
 */
import type { TunnelFlags } from "./commands/tunnel.ts";
import { examples, integer, type Register } from "./program-parts.ts";

export const registerTunnel: Register = (program, context, outcome) => {
  program
    .command("tunnel")
    .description("let SkyPilot's own Python client use a cluster, as you")
    .option("-c, --cluster <name>", "the local cluster; may be left out when only one is initialized")
    .option("--port <port>", "the port on this machine (default: a free one)", integer(1))
    .addHelpText("after", examples("sky tunnel -c lab", "sky tunnel -c lab --port 8765"))
    .action(async (flags: TunnelFlags) => {
      const { tunnel } = await import("./commands/tunnel.ts");
      outcome.code = await tunnel(context, flags);
    });
};
