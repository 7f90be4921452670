/**
 * The agent's command line: `agent.mjs --config FILE`, `--check`, `--version`, and `accept-state STATEID --config FILE`
 * for the admin who confirms another coordinator's state. It ends at once when told to, because running jobs are not
 * its children's concern: nothing is stopped, nothing is said goodbye to. The program that systemd or dev-cluster runs.
 */
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { destination, type Logger, pino } from "pino";
import { parseConfig } from "../shared/config-file.ts";
import { effectiveConfig } from "../shared/effective-config.ts";
import { messageOf, SkyError } from "../shared/errors.ts";
import { stateIdSchema } from "../shared/ids.ts";
import { build, commit, version, versionText } from "../shared/version.ts";
import { Notifier } from "../system/notify.ts";
import { prepareFolders, startAgent } from "./agent.ts";
import { type AgentConfig, agentConfigSchema } from "./config.ts";
import { declaredAccelerators } from "./inventory.ts";
import { Ledger } from "./ledger.ts";
import { readLinkKeys } from "./link.ts";
import type { Installed } from "./skylet-starts.ts";

const usage = `Usage: sky-agent --config FILE            run the agent
       sky-agent --config FILE --check    check the config and the keys, print every
                                          key with its value, then end
       sky-agent accept-state STATEID --config FILE
                                          obey a coordinator whose state is another one than before
       sky-agent --version`;

async function readConfig(file: string): Promise<AgentConfig> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new SkyError("ValueError", `The config file ${file} cannot be read: ${messageOf(error)}`);
  });
  const config = parseConfig(text, file, agentConfigSchema);
  const { uid, mode } = await stat(file);
  if (!config.single_user && process.getuid?.() === 0 && (uid !== 0 || (mode & 0o022) !== 0)) {
    const text = `The config file ${file} says whom this machine may run as, but others than root could change it.`;
    throw new SkyError("PermissionDeniedError", text, `Run: chown root: ${file}; chmod go-w ${file}`);
  }
  if (config.accelerators !== undefined) {
    declaredAccelerators(config.accelerators);
  }
  return config;
}

/** The skylet's bundle and its start script lie beside the agent's bundle, or in dist/ when the sources are run. */
function findInstalled(configFile: string): Installed {
  const here = dirname(fileURLToPath(import.meta.url));
  const bundle = [join(here, "skylet.mjs"), join(here, "../dist/skylet.mjs")].find((path) => existsSync(path));
  if (bundle === undefined) {
    throw new SkyError("ValueError", `There is no skylet.mjs beside ${here}.`, "Run ./scripts/build first.");
  }
  const program = [join(here, "doctor.mjs"), join(here, "../dist/doctor.mjs")].find((path) => existsSync(path));
  const doctor = program === undefined ? null : { program, configFile: resolve(configFile) };
  const hardware = [join(here, "hardware.mjs"), join(here, "../dist/hardware.mjs")].find((path) => existsSync(path));
  const script = join(here, "start-skylet.sh");
  return { script, node: process.execPath, bundle, version: build, doctor, hardware: hardware ?? null };
}

async function acceptState(stateId: string, config: AgentConfig): Promise<void> {
  if (!stateIdSchema.safeParse(stateId).success) {
    throw new SkyError(
      "ValueError",
      `'${stateId.slice(0, 40)}' is not a state id.`,
      "It is in the agent's log line that refused it.",
    );
  }
  const prepared = await prepareFolders(config);
  await new Ledger(prepared.state_dir).saveIdentity({ stateId, epoch: 0 });
  process.stdout.write(`Node ${config.node} will obey the coordinator with state ${stateId}.\n`);
  process.stdout.write("A running agent takes it over at its next connection, or at once on SIGHUP.\n");
}

async function run(config: AgentConfig, file: string): Promise<void> {
  const notifier = Notifier.open();
  const log: Logger = pino(
    { level: config.log_level, base: { node: config.node } },
    destination({ fd: 1, sync: true }),
  );
  process.on("SIGTERM", () => {
    notifier.stopping();
    process.exit(0);
  });
  process.on("SIGINT", () => process.exit(0));
  for (const fatal of ["uncaughtException", "unhandledRejection"]) {
    process.on(fatal, (error: unknown) => {
      log.fatal({ error: error instanceof Error ? error.stack : String(error) }, "the agent ends; running jobs go on");
      process.exit(1);
    });
  }
  log.info(
    { version, commit, coordinator: config.coordinator.address, single_user: config.single_user },
    "agent starts",
  );
  const agent = await startAgent(config, findInstalled(file), log);
  const status = `Node ${config.node} of the coordinator at ${config.coordinator.address}.`;
  process.on("SIGHUP", () => {
    notifier.reloading();
    agent.reconnect();
    notifier.ready(status);
  });
  // Ready without the coordinator: running jobs are kept, and users' skylets served, also while it is away.
  notifier.ready(status);
  notifier.watch();
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { config: { type: "string" }, check: { type: "boolean" }, version: { type: "boolean" } },
    allowPositionals: true,
    strict: true,
  });
  if (values.version === true) {
    process.stdout.write(`${versionText("sky-agent")}\n`);
    return;
  }
  const [command, stateId, ...rest] = positionals;
  const isKnown = command === undefined || (command === "accept-state" && stateId !== undefined && rest.length === 0);
  if (values.config === undefined || !isKnown) {
    throw new SkyError("ValueError", usage);
  }
  process.umask(0o022);
  const config = await readConfig(values.config);
  if (stateId !== undefined) {
    await acceptState(stateId, config);
  } else if (values.check === true) {
    await readLinkKeys(config);
    process.stdout.write(`# ${values.config}: ok\n${effectiveConfig(config, agentConfigSchema)}`);
  } else {
    await run(config, values.config);
  }
}

main().catch((error: unknown) => {
  const hint = error instanceof SkyError && error.hint !== null ? `\n${error.hint}` : "";
  process.stderr.write(`sky-agent: ${messageOf(error)}${hint}\n`);
  process.exit(1);
});
