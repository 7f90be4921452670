/**
 * Flags of SkyPilot's launch and exec that only rented machines can honour. They are known here so that a habit is
 * answered with the reason, not with "unknown option"; help and completion do not show them. Used by client/program.ts.
 */
import { Option } from "commander";
import { resourceRefusals } from "../shared/task-refusals.ts";
import { UsageError } from "./commands/context.ts";

/** As one types them, and the field of `resources` that asks for the same. */
const refusedFlags: readonly (readonly [flags: string, field: string])[] = [
  ["-i, --idle-minutes-to-autostop <minutes>", "autostop"],
  ["--down", "autostop"],
  ["--use-spot", "use_spot"],
  ["--region <name>", "region"],
  ["--zone <name>", "zone"],
  ["-t, --instance-type <name>", "instance_type"],
  ["--disk-size <size>", "disk_size"],
  ["--disk-tier <tier>", "disk_tier"],
  ["--network-tier <tier>", "network_tier"],
  ["--clone-disk-from <cluster>", "disk_tier"],
];

export function refusedOptions(): Option[] {
  return refusedFlags.map(([flags]) => new Option(flags).hideHelp());
}

/** Throws UsageError for the first of them that was given. */
export function refuseFlags(given: object): void {
  for (const [flags, field] of refusedFlags) {
    const option = new Option(flags);
    if (Object.hasOwn(given, option.attributeName())) {
      throw new UsageError(`${option.long ?? flags} cannot be used here. ${resourceRefusals[field]?.reason ?? ""}`);
    }
  }
}

/** `--infra` as `--cloud` says it: `*` asks for nothing, and of `local/NAME` only the kind of place counts. */
export function cloudOfInfra(infra: string | undefined): string | undefined {
  return infra === undefined || infra === "*" ? undefined : infra.split("/")[0];
}
