/**
 * The command line of sky-doctor, which root runs on a machine, or which the agent starts when an admin asks from afar:
 * `--inspect` reads one request from standard input and answers in JSON lines. It changes nothing on the machine. It ends
 * by itself after half a minute, whatever hangs. Exit codes: 0 nothing bad was found, 1 something was, 2 wrong use.
 */
import { readFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import * as z from "zod";
import { type InspectRequest, inspectRequestSchema } from "../shared/agent-wire.ts";
import { type DoctorLine, doctorLineBytesMax, type Finding, worstOf } from "../shared/doctor.ts";
import { doctorText, marksFor } from "../shared/doctor-text.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import { uidSchema, userNameSchema } from "../shared/ids.ts";
import { build, versionText } from "../shared/version.ts";
import type { KnownUser } from "./check.ts";
import { journalLines } from "./journal.ts";
import { machineProbes, untilEnded } from "./probes.ts";
import { examine } from "./run.ts";
import { readSite } from "./site.ts";

const usage = `Usage: sky-doctor [--config FILE] [--users FILE] [--json] [--fail-on warn|error]
       sky-doctor --version

Checks this machine for what breaks clusters in practice, and says what mends it.
It changes nothing. Run it as root.

  --config FILE              the agent's config (default /etc/sky-onprem/agent.yaml)
  --coordinator-config FILE  the coordinator's, on the head
                             (default /etc/sky-onprem/coordinator.yaml)
  --users FILE               users as the head knows them, to compare with: JSON,
                             [{"name": "alice", "uid": 1001}]; - is standard input
  --json                     one JSON line a finding

  --fail-on LEVEL            what makes the exit code 1: error (default) or warn

Exit codes: 0 nothing that bad was found, 1 something was, 2 wrong use.
`;

const inputBytesMax = 1024 * 1024;
const wholeLimitMs = 32_000;
const usersSchema = z.array(z.strictObject({ name: userNameSchema, uid: uidSchema })).max(1_000);

/** Written at once: this process ends right after its last line. */
function print(text: string): void {
  let bytes = Buffer.from(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EAGAIN") {
        // Nobody reads any more.
        process.exit(1);
      }
    }
  }
}

function say(line: DoctorLine): void {
  const text = JSON.stringify(line);
  if (Buffer.byteLength(text) < doctorLineBytesMax) {
    print(`${text}\n`);
  }
}

function readUsers(file: string): KnownUser[] {
  const text = readFileSync(file === "-" ? 0 : file, "utf8");
  if (text.length > inputBytesMax) {
    throw new SkyError("ValueError", `The list of users is longer than ${inputBytesMax} bytes.`);
  }
  const parsed = usersSchema.safeParse(JSON.parse(text));
  if (!parsed.success) {
    throw new SkyError("ValueError", 'The list of users is not JSON of the form [{"name": "alice", "uid": 1001}].');
  }
  return parsed.data;
}

interface Files {
  agent: string;
  coordinator: string;
}

async function look(files: Files, users: KnownUser[] | null): Promise<Finding[]> {
  const probes = machineProbes();
  const findings = await examine(probes, await readSite(probes, files.agent, files.coordinator, users));
  await untilEnded();
  return findings;
}

function begin(): void {
  const host = readFileSync("/proc/sys/kernel/hostname", "utf8").trim().slice(0, 255);
  say({ type: "begin", version: build, host, clockMs: Date.now() });
}

/** The answer to the agent: everything as lines; the end says that nothing is missing. */
async function inspect(files: Files): Promise<void> {
  const text = readFileSync(0, "utf8").slice(0, inputBytesMax);
  const request: InspectRequest = inspectRequestSchema.parse(JSON.parse(text));
  begin();
  if (request.kind === "doctor") {
    for (const finding of await look(files, request.users)) {
      say({ type: "finding", finding });
    }
  } else {
    for (const line of await journalLines(request)) {
      say(line);
    }
  }
  say({ type: "end" });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      config: { type: "string", default: "/etc/sky-onprem/agent.yaml" },
      "coordinator-config": { type: "string", default: "/etc/sky-onprem/coordinator.yaml" },
      users: { type: "string" },
      json: { type: "boolean", default: false },
      "fail-on": { type: "string", default: "error" },
      inspect: { type: "boolean", default: false },
      version: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
    strict: true,
  });
  if (values.help || values.version) {
    print(values.help ? usage : `${versionText("sky-doctor")}\n`);
    return 0;
  }
  if (process.getuid?.() !== 0) {
    throw new SkyError(
      "PermissionDeniedError",
      "The doctor must be root to look at the machine.",
      "Run: sudo sky admin doctor --local",
    );
  }
  const failOn = values["fail-on"];
  if (failOn !== "warn" && failOn !== "error") {
    throw new SkyError("ValueError", "--fail-on is warn or error.");
  }
  const files = { agent: values.config, coordinator: values["coordinator-config"] };
  if (values.inspect) {
    await inspect(files);
    return 0;
  }
  const users = values.users === undefined ? null : readUsers(values.users);
  if (values.json) {
    begin();
  }
  const findings = await look(files, users);
  if (values.json) {
    for (const finding of findings) {
      say({ type: "finding", finding });
    }
    say({ type: "end" });
  } else {
    const host = readFileSync("/proc/sys/kernel/hostname", "utf8").trim();
    const columns = process.stdout.isTTY ? Math.max(40, process.stdout.columns || 80) : 80;
    print(
      `${doctorText([{ name: host, findings, notes: [] }], columns, marksFor(process.stdout.isTTY, process.env))}\n`,
    );
  }
  const worst = worstOf(findings);
  return worst === "error" || (worst === "warn" && failOn === "warn") ? 1 : 0;
}

setTimeout(() => {
  process.stderr.write(`sky-doctor: gave up after ${wholeLimitMs / 1000} s.\n`);
  process.exit(1);
}, wholeLimitMs).unref();

main().then(
  // Probes that hang are not waited for.
  (code) => process.exit(code),
  (error: unknown) => {
    const hint = error instanceof SkyError && error.hint !== null ? `\n${error.hint}` : "";
    const text =
      error instanceof SkyError || error instanceof TypeError
        ? messageOf(error)
        : `it failed: ${messageOf(error).slice(0, 500)}`;
    process.stderr.write(`sky-doctor: ${text}${hint}\n`);
    process.exit(2);
  },
);
