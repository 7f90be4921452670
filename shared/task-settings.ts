/**
 * What a task says of its container and its ports: `image_id`, `config.docker.run_options` and `ports`. Pure: reads YAML
 * nodes and values. Called by shared/task-reader.ts, shared/task-resources.ts and, for flags, by client/commands. It must
 * never decide whether a node can run a container.
 */
import { SkyError } from "./errors.ts";
import { optionsValue, readOptionWords } from "./run-options.ts";
import { isNull, shownText, type TaskFields } from "./task-fields.ts";
import { configRefusals } from "./task-refusals.ts";
import { plainValue, type YamlEntry, type YamlNode } from "./yaml11.ts";

const imagePrefix = "docker:";
/** As in the payload's schema. */
const textMax = 1000;
const portsMax = 100;
const portMax = 65_535;
/** Registry, path, tag and digest; nothing that a program could take for an option. */
const imagePattern = /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/;

const configNames = { what: "'config'", path: "config.", supported: ["docker"], refused: configRefusals };
const dockerNames = { what: "'docker'", path: "config.docker.", supported: ["run_options"], refused: {} };

/**
 * The image of `docker:IMAGE`, without the prefix. SkyPilot's client writes a mapping of region to image, of which only
 * one without a region makes sense. Throws SkyError("ValueError") for anything else.
 */
export function readImage(value: unknown): string {
  const text = typeof value === "object" && value !== null ? onlyRegion(value) : value;
  if (typeof text !== "string" || !text.startsWith(imagePrefix)) {
    throw new SkyError(
      "ValueError",
      "'image_id' must be docker:IMAGE, the image of a container: machines of one's own have no images to boot from.",
    );
  }
  const image = text.slice(imagePrefix.length);
  if (!isImageName(image)) {
    throw new SkyError("ValueError", `'image_id: ${shownText(text)}' names no image, such as docker:python:3.12-slim.`);
  }
  return image;
}

/** Whether a node may be asked for it. */
export function isImageName(text: string): boolean {
  return imagePattern.test(text) && text.length <= textMax;
}

function onlyRegion(regions: object): unknown {
  const entries = Object.entries(regions);
  return entries.length === 1 && entries[0]?.[0] === "None" ? entries[0][1] : null;
}

export function imageValue(image: string): string {
  return `${imagePrefix}${image}`;
}

/** `8080`, `9000-9010`, `"80,443"` or a list of these, each once. Throws SkyError("ValueError"). */
export function readPorts(value: unknown): string[] {
  const items = (Array.isArray(value) ? value : [value]).flatMap((item): string[] =>
    typeof item === "string" && item.length <= textMax
      ? item.split(",").map((part) => part.trim())
      : [typeof item === "number" ? String(item) : ""],
  );
  const ports = items.map((item) => {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(item);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (!(first >= 1 && first <= last && last <= portMax)) {
      throw new SkyError(
        "ValueError",
        `'ports' must be ports from 1 to ${portMax}, ranges such as 9000-9010, or a list of these. Found: ${shownText(item)}`,
      );
    }
    return match?.[2] === undefined ? String(first) : `${first}-${last}`;
  });
  const distinct = [...new Set(ports)];
  if (distinct.length > portsMax) {
    throw new SkyError("ValueError", `'ports' has more than ${portsMax} entries; write ranges.`);
  }
  return distinct;
}

/** Options for `docker run` or `podman run`, one word each, from a task's `config`; null when there are none. */
export function readRunOptions(fields: TaskFields, entry: YamlEntry | undefined): string[] | null {
  if (entry === undefined || isNull(entry.node)) {
    return null;
  }
  const docker = fields.of(entry.node, configNames).get("docker");
  const options = docker === undefined ? undefined : fields.of(docker.node, dockerNames).get("run_options");
  if (options === undefined) {
    return null;
  }
  const nodes: readonly YamlNode[] = options.node.kind === "list" ? options.node.items : [options.node];
  // YAML takes `-p` and `80` of a list for text and a number; on a command line both are words.
  const words = readOptionWords(
    nodes.map((node) => (node.kind === "scalar" && node.value !== null ? node.text : plainValue(node))),
  );
  if ("fault" in words) {
    fields.fault(options, `'config.docker.run_options' ${words.fault}`);
    return null;
  }
  return words.length === 0 ? null : words;
}

/** As `readRunOptions` reads it back. */
export function runOptionsValue(options: readonly string[]): Record<string, unknown> {
  return { docker: { run_options: optionsValue(options) } };
}
