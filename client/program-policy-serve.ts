/**
 * The definition of `sky policy serve`, which serves an admin policy (code) to others. It must never do the work itself:
 * client/commands/policy/serve.ts does. Called by program-policy.ts.
 */
import type { ServeFlags } from "./commands/policy/serve.ts";
import { examples, integer, type Register } from "./program-parts.ts";

export const registerPolicyServe: Register = (group, context, outcome) => {
  group
    .command("serve")
    .description("serve an admin policy to other programs, SkyPilot included")
    .argument("<module>", "MODULE.CLASS, such as my-package/policies.MyPolicy")
    .option("--host <address>", "where to listen", "127.0.0.1")
    .option("--port <number>", "0: one that is free", integer(0), 8080)
    .option("--packages <folder>", "where the code lies (default: ~/.sky/policies)")
    .addHelpText(
      "after",
      examples(
        "sky policy serve our-policies.EightAtMost",
        "sky policy serve example_policy.UseSpotForGpuPolicy --packages /etc/sky-onprem/policies --port 8081",
      ),
    )
    .action(async (module: string, flags: ServeFlags) => {
      const { serve } = await import("./commands/policy/serve.ts");
      outcome.code = await serve(context, module, flags);
    });
};
