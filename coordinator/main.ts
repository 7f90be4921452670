/**
 * The coordinator's program: `coordinator.mjs --config FILE [--check] [--version]`. Reads the config, serves the API from
 * the beginning, and keeps a generation of the state alive. TERM and INT end it within three seconds without touching a
 * job. It must never print a secret. Started by systemd, by scripts/dev-cluster and by the quickstart.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseConfig } from "../shared/config-file.ts";
import { effectiveConfig } from "../shared/effective-config.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import { commit, version, versionText } from "../shared/version.ts";
import { Notifier } from "../system/notify.ts";
import { SystemAccounts } from "./accounts.ts";
import { startApi } from "./api/server.ts";
import { Owner } from "./backup/owner.ts";
import { isStateVerb, runStateVerb } from "./backup/verbs.ts";
import { type CoordinatorConfig, coordinatorConfigSchema } from "./config.ts";
import { DiskFileStore } from "./files/store.ts";
import { type Log, openLog } from "./log.ts";
import { checkServer, openLink } from "./redis.ts";
import type { ApiParts } from "./parts.ts";
import { openAdminPolicy, requirePolicyPlace } from "./policy/admin-policy.ts";
import { type Standing, Supervisor } from "./supervisor.ts";

/** Paths of unix sockets are cut off by the kernel at 107 bytes; temporary names beside them need some of that. */
const socketPathBytesMax = 100;
/** Milliseconds after which a stop no longer waits for anything. */
const stopLimitMs = 2_500;
/** Milliseconds after which systemd is told that the API answers, although the first try at Redis is still under way. */
const readyLimitMs = 20_000;
const usage = `Usage: coordinator.mjs --config FILE [--check]
       coordinator.mjs --version
       coordinator.mjs backup FILE --config FILE [--move]
       coordinator.mjs restore FILE --config FILE [--replace]

  --config FILE  the coordinator's config (YAML)
  --check        read the config, ask the Redis server whether it is fit, print every key with its value, and exit
  --version      print the version and exit
`;
/** Exit codes: wrong use or config; a fault in the program (EX_SOFTWARE of sysexits.h). */
const exitUsage = 2;
const exitFault = 70;

/** Reads and checks the config file. Throws SkyError naming the file, the line and the fault. */
function readConfig(file: string): CoordinatorConfig {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new SkyError("ValueError", `The config file cannot be read: ${messageOf(error)}.`);
  }
  const config = parseConfig(text, file, coordinatorConfigSchema);
  for (const [key, path] of [
    ["socket", config.socket],
    ["redis.socket", config.redis.socket],
  ] as const) {
    const bytes = Buffer.byteLength(path);
    if (bytes > socketPathBytesMax) {
      throw new SkyError(
        "ValueError",
        `${file}: ${key} is ${bytes} bytes long; the path of a socket may have ${socketPathBytesMax}.`,
        "Choose a shorter folder, for example below /run.",
      );
    }
  }
  return config;
}

/**
 * What --check does: everything that can be asked without disturbing a coordinator that runs. Asked by root, it looks
 * with the rights of the account whose folder it is, which could have put anything there.
 */
async function check(config: CoordinatorConfig): Promise<void> {
  const owner = existsSync(config.state_dir) ? Owner.of(config.state_dir) : null;
  owner?.enter();
  try {
    if (!statSync(config.host_key).isFile()) {
      throw new SkyError("ValueError", `The host key ${config.host_key} is not a file.`);
    }
    readFileSync(config.host_key);
    await requirePolicyPlace(config);
    const link = await openLink(config.redis.socket, "sky-check");
    try {
      await checkServer(link, config.redis.socket);
    } finally {
      link.close();
    }
  } finally {
    owner?.leave();
  }
  process.stdout.write(`# The config is good: cluster ${config.cluster}, ${config.nodes.length} node(s).\n`);
  process.stdout.write(effectiveConfig(config, coordinatorConfigSchema));
}

/**
 * Tells systemd that the service is ready once the first try at Redis has ended, well or not: an API that says why it
 * waits is of more use than a start that fails. A unit that is ordered after this one never waits for Redis to come.
 */
function announcer(notifier: Notifier): (standing: Standing) => void {
  let standing: Standing = { works: null, text: "Serving; the first try at Redis is under way." };
  let isReady = false;
  const tell = (): void => {
    if (isReady) {
      notifier.status(standing.text);
    } else {
      isReady = true;
      notifier.ready(standing.text);
    }
  };
  const late = setTimeout(tell, readyLimitMs);
  return (next) => {
    clearTimeout(late);
    standing = next;
    tell();
  };
}

/** Serves until TERM or INT. */
async function serve(config: CoordinatorConfig): Promise<void> {
  const notifier = Notifier.open();
  const log: Log = openLog(config.log_level);
  log.info({ version, commit, cluster: config.cluster }, "coordinator starts");
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "a fault in the program; it ends");
    process.exit(exitFault);
  });
  const tellStanding = announcer(notifier);
  const files = new DiskFileStore(config, log);
  const adminPolicy = await openAdminPolicy(config, log);
  const supervisor = new Supervisor(config, log, files, tellStanding);
  const parts: ApiParts = {
    current: () => supervisor.current(),
    onLive: (listener) => supervisor.onLive(listener),
    accounts: new SystemAccounts(),
    files,
    adminPolicy,
  };
  const api = await startApi(parts, config, { version, commit }, log);
  const running = supervisor.run();
  notifier.watch(() => supervisor.isWell());
  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, "coordinator stops; jobs are not touched");
    notifier.stopping();
    setTimeout(() => process.exit(0), stopLimitMs).unref();
    supervisor.stop();
    void Promise.allSettled([api.close(), adminPolicy.close(), running]).then(() => process.exit(0));
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  await running;
}

async function main(): Promise<void> {
  const [verb, ...rest] = process.argv.slice(2);
  if (isStateVerb(verb)) {
    return runStateVerb(verb, rest, readConfig);
  }
  const { values } = parseArgs({
    options: {
      config: { type: "string" },
      check: { type: "boolean", default: false },
      version: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
  } else if (values.version) {
    process.stdout.write(`${versionText("sky-coordinator")}\n`);
  } else if (values.config === undefined) {
    throw new SkyError("ValueError", "--config FILE is missing.", "See --help.");
  } else if (values.check) {
    await check(readConfig(values.config));
  } else {
    await serve(readConfig(values.config));
  }
}

main().catch((error: unknown) => {
  const hint = error instanceof SkyError && error.hint !== null ? `\n${error.hint}` : "";
  process.stderr.write(`sky-coordinator: ${messageOf(error)}${hint}\n`);
  process.exitCode = exitUsage;
});
