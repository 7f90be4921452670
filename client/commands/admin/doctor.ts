/**
 * `sky admin doctor`: asks the coordinator to look at its machines, or with `--local` looks at this one, and shows what is
 * wrong, why it matters and the command that mends it. It must never run such a command itself.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { doctorLineBytesMax, doctorLineSchema, type Finding, worstOf } from "../../../shared/doctor.ts";
import { doctorText, marksFor } from "../../../shared/doctor-text.ts";
import { messageOf, SkyError } from "../../../shared/errors.ts";
import type { DoctorResult } from "../../../shared/inspect-api.ts";
import { LineReader, parseFrame } from "../../../shared/lines.ts";
import { type Context, UsageError } from "../context.ts";
import { adminCallsTo, type ClusterFlags } from "./cluster.ts";

export interface DoctorFlags extends ClusterFlags {
  local?: boolean;
  output: "table" | "json";
  failOn: "warn" | "error";
}

/** Wide enough for the commands' explanations, also where the output is no terminal. */
const columnsMax = 80;
/** Where it is, there is a head. */
const headConfig = "/etc/sky-onprem/coordinator.yaml";

function codeOf(findings: readonly Finding[], failOn: DoctorFlags["failOn"]): number {
  const worst = worstOf(findings);
  return worst === "error" || (worst === "warn" && failOn === "warn") ? 1 : 0;
}

/** sky-doctor lies beside the client in a release. Null: this sky came without one. */
function program(): string | null {
  const path = join(dirname(fileURLToPath(import.meta.url)), "doctor.mjs");
  return existsSync(path) ? path : null;
}

/** Runs sky-doctor on this machine; resolves with its exit code. */
async function onThisMachine(flags: DoctorFlags): Promise<number> {
  const path = program();
  if (path === null) {
    throw new SkyError(
      "NotSupportedError",
      "sky-doctor is not installed beside this sky.",
      "On a node: sudo sky admin doctor --local",
    );
  }
  const words = [path, "--fail-on", flags.failOn, ...(flags.output === "json" ? ["--json"] : [])];
  const child = spawn(process.execPath, words, { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(new SkyError("InternalError", `sky-doctor cannot be run: ${error.message}.`)),
    );
    child.once("close", (code) => resolve(code ?? 1));
  });
}

/** What sky-doctor finds here, where root calls it on the head; the coordinator itself has no root. Null: not that. */
async function onTheHead(): Promise<DoctorResult["nodes"][number] | null> {
  const path = program();
  if (process.getuid?.() !== 0 || path === null || !existsSync(headConfig)) {
    return null;
  }
  const found = { name: hostname(), findings: [] as Finding[], notes: [] as string[] };
  const child = spawn(process.execPath, [path, "--json"], { stdio: ["ignore", "pipe", "ignore"] });
  const reader = new LineReader(doctorLineBytesMax);
  try {
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      for (const text of reader.push(chunk)) {
        const line = parseFrame(doctorLineSchema, text);
        if (line.type === "finding") {
          found.findings.push(line.finding);
        }
      }
    }
  } catch (error) {
    found.notes.push(`sky-doctor on this machine: ${messageOf(error)}`);
  }
  return found;
}

/** The head's own findings in place of the words that nobody has looked at it. */
function withHead(result: DoctorResult, head: DoctorResult["nodes"][number]): DoctorResult {
  const isMissing = result.coordinator.some((finding) => finding.check === "head");
  return isMissing
    ? {
        ...result,
        coordinator: result.coordinator.filter((finding) => finding.check !== "head"),
        nodes: [head, ...result.nodes],
      }
    : result;
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
    const [asked, head] = await Promise.all([
      calls.doctor(names.length === 0 ? null : [...new Set(names)]),
      names.length === 0 ? onTheHead() : null,
    ]);
    const result = head === null ? asked : withHead(asked, head);
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
