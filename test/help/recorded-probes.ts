/**
 * A machine as it was recorded, for tests of the doctor's checks: what tools printed, what files held. A tool that was not
 * recorded is not installed there, and a file that was not is not there, which every check must bear.
 */
import type { Site } from "../../doctor/check.ts";
import { ProbeFault, type Probes } from "../../doctor/probes.ts";
import { usersPolicySchema } from "../../shared/users-policy.ts";

export interface Recording {
  /** By the beginning of the command line; the longest that fits counts. A text is what it printed, ending with code 0; `slow`: no answer in time. */
  tools?: Record<string, string | { code?: number; stdout?: string; stderr?: string; ms?: number }>;
  files?: Record<string, string>;
  folders?: Record<string, string[]>;
  links?: Record<string, string>;
  /** By `host port`. */
  greetings?: Record<string, string>;
}

export function recorded(recording: Recording): Probes {
  return {
    async tool(argv, limitMs = 10_000) {
      const line = argv.join(" ");
      const key = Object.keys(recording.tools ?? {})
        .filter((start) => line.startsWith(start))
        .sort((a, b) => b.length - a.length)[0];
      const answer = key === undefined ? undefined : recording.tools?.[key];
      if (answer === undefined) {
        throw new ProbeFault("missing", `${argv[0]} is not installed`);
      }
      if (answer === "slow") {
        throw new ProbeFault("slow", `'${line.slice(0, 40)}' did not end within ${limitMs / 1000} seconds`);
      }
      const nothing = { code: 0, stdout: "", stderr: "", ms: 5 };
      return typeof answer === "string" ? { ...nothing, stdout: answer } : { ...nothing, ...answer };
    },
    file: async (path) => recording.files?.[path] ?? null,
    list: async (path) => recording.folders?.[path] ?? null,
    link: async (path) => recording.links?.[path] ?? null,
    async greeting(host, port) {
      const text = recording.greetings?.[`${host} ${port}`];
      if (text === undefined) {
        throw new ProbeFault("failed", "ECONNREFUSED");
      }
      return text;
    },
  };
}

/** A node of a cluster whose head is another machine. */
export function siteOf(changes: Partial<Site> = {}): Site {
  return {
    node: "n1",
    coordinator: { address: "10.0.0.1", port: 7422 },
    policy: usersPolicySchema.parse({}),
    runtimeDir: "/run/sky-onprem",
    stateDir: "/var/lib/sky-onprem/agent",
    configFile: "/etc/sky-onprem/agent.yaml",
    keyFile: "/var/lib/sky-onprem/agent/node_key",
    declaredAccelerators: null,
    head: null,
    users: null,
    ...changes,
  };
}
