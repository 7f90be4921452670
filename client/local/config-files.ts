/**
 * What the config files of this machine and `--config` say, as layers: the user's file, the project's, the command line.
 * It reads the two files and nothing else, changes nothing, and knows no key: shared/config-layers.ts does. Used by the
 * commands that send a task, and by `sky config show`.
 */
import { readFileSync, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import {
  type ConfigLayer,
  type ConfigTree,
  mergeLayers,
  readConfig,
  readOverrides,
} from "../../shared/config-layers.ts";
import { messageOf, SkyError } from "../../shared/errors.ts";

const fileBytesMax = 1024 * 1024;

/** Where files are looked for. `options`: the values of `--config`, in order. */
export interface ConfigPlaces {
  home: string;
  cwd: string;
  env: Readonly<Record<string, string | undefined>>;
  options?: readonly string[];
}

/**
 * The layers of this machine, the lowest first; a file that is not there is no layer. `task`: what a task file says, which
 * only the command line is above. Throws SkyError naming file and line.
 */
export function clientLayers(places: ConfigPlaces, task?: ConfigLayer): ConfigLayer[] {
  const user = fileLayer(
    places,
    "SKYPILOT_GLOBAL_CONFIG",
    join(places.home, ".sky", "config.yaml"),
    "~/.sky/config.yaml",
  );
  const project = fileLayer(places, "SKYPILOT_PROJECT_CONFIG", join(places.cwd, ".sky.yaml"), ".sky.yaml");
  const line = optionsLayer(places);
  return [user, project, task ?? null, line].filter((layer) => layer !== null);
}

/** What the command line alone says. */
export function lineConfig(places: ConfigPlaces): ConfigTree {
  return optionsLayer(places)?.tree ?? {};
}

/** All layers of this machine in one, as a call sends it; what only servers say is left out there. */
export function clientConfig(places: ConfigPlaces): ConfigTree {
  return mergeLayers(clientLayers(places)).tree;
}

function fileLayer(places: ConfigPlaces, variable: string, usual: string, shown: string): ConfigLayer | null {
  const named = places.env[variable];
  if (named === undefined || named === "") {
    const text = readConfigFile(usual, shown);
    return text === null ? null : { origin: shown, tree: readConfig(text, shown) };
  }
  const text = readConfigFile(expanded(named, places), named);
  if (text === null) {
    throw new SkyError(
      "ValueError",
      `FileNotFoundError: ${variable} names the config file ${named}, which is not there.`,
      `Create it, or take the variable back: unset ${variable}`,
    );
  }
  return { origin: `${named} (${variable})`, tree: readConfig(text, named) };
}

function optionsLayer(places: ConfigPlaces): ConfigLayer | null {
  const options = places.options ?? [];
  const [first] = options;
  if (first === undefined) {
    return null;
  }
  const files = options.filter((option) => isFile(expanded(option, places)));
  if (files.length === 0 && options.length === 1 && !first.includes("=")) {
    const hint = "Give a file, or key=value such as docker.run_options='--shm-size=8g'.";
    throw new SkyError("ValueError", `Invalid config override: ${first}: there is no such file.`, hint);
  }
  if (files.length === 0) {
    return { origin: "--config", tree: readOverrides(options) };
  }
  if (options.length > 1) {
    const hint = "Put everything into the file, or give only key=value options.";
    throw new SkyError("ValueError", "--config takes one file or any number of key=value options, not both.", hint);
  }
  return {
    origin: `${first} (--config)`,
    tree: readConfig(readConfigFile(expanded(first, places), first) ?? "", first),
  };
}

function expanded(path: string, places: ConfigPlaces): string {
  const rest = /^~(?:$|[/\\])(.*)$/s.exec(path)?.[1];
  const full = rest === undefined ? path : join(places.home, rest);
  return isAbsolute(full) ? full : resolve(places.cwd, full);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Null: there is none. */
function readConfigFile(path: string, shown: string): string | null {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined) {
      return null;
    }
    if (!found.isFile()) {
      throw new Error("it is not a file");
    }
    if (found.size > fileBytesMax) {
      throw new Error("it is over 1 MB");
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    const cause = code === "EACCES" ? "you may not read it" : messageOf(error);
    throw new SkyError("ValueError", `Cannot read the config file ${shown}: ${cause}.`);
  }
}
