/**
 * What every command gets: the terminal, the environment, the clock and the way to a cluster's head. It exists so that a
 * command can be run in a test with a home, a terminal and a head of its own. Made by client/program.ts.
 */
import { SkyError } from "../../shared/errors.ts";
import type { RegisteredCluster } from "../local/registered.ts";
import type { Screen } from "../output/screen.ts";
import type { HeadStreams } from "../sdk/transport.ts";

export interface Context {
  screen: Screen;
  env: NodeJS.ProcessEnv;
  /** The caller's home, where `~/.sky` lies. */
  home: string;
  /** The folder that relative paths start from. */
  cwd: string;
  /** The command line as the person could type it again. */
  commandLine: string;
  /** `--async`: calls that change something are left to themselves once they were taken. */
  leavesRequests?: boolean;
  /** Seconds since 1970. */
  now(): number;
  /** Connects to the head as the caller; client/ssh, loaded only when needed. */
  connect(cluster: RegisteredCluster): Promise<HeadStreams>;
  /** Resolves when the person presses Ctrl-C; `done` ends the waiting and gives Ctrl-C its usual meaning back. */
  interrupted(): { signal: AbortSignal; done: () => void };
}

/** The command line was wrong: `sky` ends with 2. */
export class UsageError extends SkyError {
  constructor(message: string, hint: string | null = null) {
    super("ValueError", message, hint);
  }
}
