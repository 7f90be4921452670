/**
 * `sky admin doctor`: asks the coordinator to look at its machines, or with `--local` looks at this one, and shows what is
 * wrong, why it matters and the command that mends it. It must never run such a command itself.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Finding, worstOf } from "../../../shared/doctor.ts";
import { doctorText, marksFor } from "../../../shared/doctor-text.ts";
import { SkyError } from "../../../shared/errors.ts";
import { type Context, UsageError } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

export interface DoctorFlags extends ClusterFlags {
  local?: boolean;
  output: "table" | "json";
  failOn: "warn" | "error";
}

/** Wide enough for the commands' explanations, also where the output is no terminal. */
const columnsMax = 80;

function codeOf(findings: readonly Finding[], failOn: DoctorFlags["failOn"]): number {
  const worst = worstOf(findings);
  return worst === "error" || (worst === "warn" && failOn === "warn") ? 1 : 0;
}

/** Runs sky-doctor on this machine; resolves with its exit code. */
async function onThisMachine(flags: DoctorFlags): Promise<number> {
  const program = join(dirname(fileURLToPath(import.meta.url)), "doctor.mjs");
  if (!existsSync(program)) {
    throw new SkyError(
      "NotSupportedError",
      "sky-doctor is not installed beside this sky.",
      "On a node: sudo sky-doctor",
    );
  }
  const words = [program, "--fail-on", flags.failOn, ...(flags.output === "json" ? ["--json"] : [])];
  const child = spawn(process.execPath, words, { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(new SkyError("InternalError", `sky-doctor cannot be run: ${error.message}.`)),
    );
    child.once("close", (code) => resolve(code ?? 1));
  });
}

/** Runs the command; resolves with the exit code: 0 nothing as bad as `--fail-on` was found, else 1. */
export async function doctor(context: Context, names: string[], flags: DoctorFlags): Promise<number> {
  if (flags.local === true) {
    if (names.length > 0 || flags.cluster !== undefined || flags.socket !== undefined) {
      throw new UsageError("--local looks at this machine only: it takes no nodes and no cluster.");
    }
    return await onThisMachine(flags);
  }
  const { screen } = context;
  const calls = await adminCallsTo(context, flags);
  try {
    if (flags.output === "table") {
      screen.note("Looking at the machines; this takes up to half a minute.");
    }
    const result = await calls.doctor(names.length === 0 ? null : [...new Set(names)]);
    const findings = [...result.coordinator, ...result.nodes.flatMap((node) => node.findings)];
    if (flags.output === "json") {
      screen.print(JSON.stringify(result, null, 2));
    } else {
      const own = { name: `cluster ${result.cluster}`, findings: result.coordinator, notes: [] };
      const marks = marksFor(Number.isFinite(screen.columns), context.env);
      screen.print(doctorText([own, ...result.nodes], Math.min(columnsMax, screen.columns), marks));
    }
    return codeOf(findings, flags.failOn);
  } finally {
    calls.close();
  }
}
