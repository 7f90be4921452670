/**
 * Starting one user's skylet: is the account one that this node may run as, is its folder there, does the login come up
 * and connect in time. Every failure becomes one text for the user that names the user, the node, the cause and a way
 * out. Nothing is read from the login. It knows nothing of connections: the caller says when the skylet is there.
 * Called by agent/skylets.ts.
 */
import { messageOf } from "../shared/errors.ts";
import type { Uid } from "../shared/ids.ts";
import type { Account } from "../shared/users-policy.ts";
import { AccountRefused, admitAccount, sessionTraits } from "./accounts.ts";
import type { AgentConfig } from "./config.ts";
import type { SkyletFault } from "./core/state.ts";
import { socketPathOf, userFolder } from "./folders.ts";
import { type SkyletCommand, startSkylet } from "./spawn.ts";
import type { Units } from "./units.ts";

const startLimitMs = 30_000;
/** How long the name service's answer is used again; a job's start must not wait for it each time. */
const accountCacheMs = 1_000;
const cachedAccountsMax = 10_000;

/** The installed files that a skylet is started from, each readable by every user; and those that answer an admin's questions. */
export type Installed = Pick<SkyletCommand, "script" | "node" | "bundle" | "version"> & {
  doctor?: { program: string; configFile: string } | null;
  /** The program that agent/hardware.ts is; null: what it says is not known. */
  hardware?: string | null;
};

/** No skylet came. The message is for the user, `fault` says whether another try may help. */
export class SkyletNotStarted extends Error {
  override readonly name = "SkyletNotStarted";
  readonly fault: SkyletFault;

  constructor(message: string, fault: SkyletFault) {
    super(message);
    this.fault = fault;
  }
}

export class SkyletStarts {
  private readonly config: AgentConfig;
  private readonly installed: Installed;
  private readonly cached = new Map<string, { account: Account; at: number }>();

  private readonly units: Units | null;

  /** `units`: sessions are opened by systemd; null: by this process. */
  constructor(config: AgentConfig, installed: Installed, units: Units | null) {
    this.config = config;
    this.installed = installed;
    this.units = units;
  }

  /** The only version of skylets that this agent speaks to. */
  get version(): string {
    return this.installed.version;
  }

  /** The account, admitted by this node's config; what the name service said is used again for a second. */
  async account(uid: Uid, user: string): Promise<Account> {
    const key = `${uid}/${user}`;
    const known = this.cached.get(key);
    if (known !== undefined && performance.now() - known.at < accountCacheMs) {
      return known.account;
    }
    const account = await admitAccount(uid, user, this.config);
    if (this.cached.size >= cachedAccountsMax) {
      this.cached.clear();
    }
    this.cached.set(key, { account, at: performance.now() });
    return account;
  }

  /**
   * Starts a skylet and waits until `ready` resolves. Returns the traits of the session that was opened. Throws
   * SkyletNotStarted, also when `closing` comes before the login has begun.
   */
  async start(uid: Uid, user: string, ready: Promise<void>, closing: AbortSignal): Promise<string> {
    const { runtime_dir: runtimeDir, single_user: direct } = this.config;
    let account: Account;
    try {
      account = await this.account(uid, user);
    } catch (error) {
      throw error instanceof AccountRefused
        ? new SkyletNotStarted(error.message, "refused")
        : new SkyletNotStarted(this.text(user, messageOf(error)), "passing");
    }
    let fault: SkyletFault = "failed";
    try {
      const dir = await userFolder(runtimeDir, account, !direct);
      closing.throwIfAborted();
      const command: SkyletCommand = {
        ...this.installed,
        socket: socketPathOf(runtimeDir),
        dir,
        idleSeconds: this.config.skylet_idle_seconds,
        agentUid: process.getuid?.() ?? 0,
      };
      const started = this.units?.start(account, command) ?? startSkylet(account, command, direct);
      const late = `it was not ready within ${startLimitMs / 1000} seconds`;
      const timer = new AbortController();
      const problem = await Promise.race([
        ready.then(() => null),
        started.ended.then(({ how, isError }) => {
          fault = isError ? "failed" : "passing";
          return `the login ended with ${how} before the user's part was ready`;
        }),
        limit(startLimitMs, timer.signal).then(() => {
          fault = "passing";
          return late;
        }),
      ]);
      timer.abort();
      if (problem !== null) {
        started.abandon();
        throw new Error(problem);
      }
      started.settle();
    } catch (error) {
      throw new SkyletNotStarted(this.text(user, messageOf(error)), fault);
    }
    return sessionTraits(account);
  }

  private text(user: string, cause: string): string {
    const { node, single_user: direct } = this.config;
    const way = direct
      ? `Check that ${this.installed.bundle} is there.`
      : `Check that 'sudo -H su --login ${user} -c true' works there as root and that ${user} may read ${this.installed.bundle}.`;
    return `the session of user '${user}' could not be started on node ${node}: ${cause}. ${way}`.slice(0, 1000);
  }
}

function limit(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => clearTimeout(timer));
  });
}
