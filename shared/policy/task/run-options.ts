/**
 * Options of `podman run` and `docker run` as policies see them: what `config.docker.run_options` says of security, mounts
 * and limits, as canonical fields, and which of its options no field stands for. Pure. It must never take an option for
 * harmless that it does not know, nor lose one behind another: what could be read in two ways counts as unknown. Called by
 * the adapter of tasks. The words themselves are read by shared/run-options.ts.
 */
import { type Item, type PlainValue } from "../words.ts";
import { printQuantity } from "../fields/quantity.ts";

export interface OptionFields {
  /** By canonical path; itemized fields as arrays. */
  fields: Map<string, PlainValue>;
  /** Names of options (`--device`), or words that are no options, that no field stands for. */
  raw: string[];
}

interface Option {
  name: string;
  /** Null: it came without one. */
  value: string | null;
}

const shortNames: Readonly<Record<string, string>> = {
  c: "cpu-shares",
  d: "detach",
  e: "env",
  h: "hostname",
  i: "interactive",
  l: "label",
  m: "memory",
  P: "publish-all",
  p: "publish",
  q: "quiet",
  t: "tty",
  u: "user",
  v: "volume",
  w: "workdir",
};
/** They take no word after them; `=false` takes them back. */
const flags = new Set(
  "detach init interactive no-healthcheck no-hosts privileged publish-all quiet read-only rm tty".split(" "),
);
/** They take a word. */
const valued = new Set(
  (
    "add-host annotation cap-add cap-drop cpu-shares cpus cpuset-cpus cpuset-mems dns dns-option dns-search entrypoint env " +
    "group-add health-cmd health-interval health-retries health-timeout hostname ipc label log-driver log-opt memory " +
    "memory-reservation memory-swap mount network network-alias oom-score-adj pids-limit platform publish pull " +
    "security-opt shm-size stop-signal stop-timeout tmpfs ulimit user volume workdir"
  ).split(" "),
);
/** Known, and nothing that a policy speaks of is changed by them. */
const harmless = new Set(
  (
    "add-host cap-drop cpu-shares cpuset-cpus cpuset-mems detach dns dns-option dns-search entrypoint health-cmd " +
    "health-interval health-retries health-timeout hostname init label log-driver log-opt memory-reservation memory-swap " +
    "network-alias no-healthcheck no-hosts oom-score-adj pids-limit platform publish-all quiet rm stop-signal " +
    "stop-timeout ulimit"
  ).split(" "),
);

/** What the words say. A later option wins over an earlier one where only one can count, as in the engines. */
export function optionFieldsOf(words: readonly string[]): OptionFields {
  const found: OptionFields = { fields: new Map(), raw: [] };
  for (const option of optionsOf(words, found.raw)) {
    if (!harmless.has(option.name) && !taken(option, found.fields)) {
      found.raw.push(`--${option.name}`);
    }
  }
  return { fields: found.fields, raw: [...new Set(found.raw)] };
}

/** Words as the engines part them: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-it`. */
function optionsOf(words: readonly string[], raw: string[]): Option[] {
  const options: Option[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? "";
    const parsed = word.startsWith("--") ? longOption(word) : shortOptions(word);
    if (parsed === null) {
      raw.push(word.slice(0, 80));
      continue;
    }
    options.push(...parsed);
    const last = parsed.at(-1);
    const next = words[at + 1];
    if (last === undefined || last.value !== null || !valued.has(last.name)) {
      continue;
    }
    if (next === undefined || next.startsWith("-")) {
      // An engine takes the next word as the value; it is looked at as an option as well, so that nothing hides there.
      raw.push(`--${last.name}`);
      options.pop();
    } else {
      last.value = next;
      at += 1;
    }
  }
  return options;
}

function longOption(word: string): Option[] | null {
  const match = /^--([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(word);
  if (match?.[1] === undefined) {
    return null;
  }
  return [{ name: match[1] === "net" ? "network" : match[1], value: match[2] ?? null }];
}

/** `-it`, `-eA=B`, `-e=A=B`: letters until one that takes a value, which the rest is. */
function shortOptions(word: string): Option[] | null {
  if (!/^-[A-Za-z]/.test(word)) {
    return null;
  }
  const options: Option[] = [];
  for (let at = 1; at < word.length; at += 1) {
    const name = shortNames[word[at] ?? ""];
    if (name === undefined) {
      return null;
    }
    const rest = word.slice(at + 1);
    if (valued.has(name) || rest.startsWith("=")) {
      options.push({ name, value: rest === "" ? null : rest.replace(/^=/, "") });
      return options;
    }
    options.push({ name, value: null });
  }
  return options;
}

/** Whether a field stands for what the option says; it is set then. */
function taken({ name, value }: Option, fields: Map<string, PlainValue>): boolean {
  if (flags.has(name)) {
    const isOn = value === null || /^(1|t|true)$/i.test(value);
    const isOff = value !== null && /^(0|f|false)$/i.test(value);
    const path = flagPaths[name];
    if (path === undefined || !(isOn || isOff)) {
      return false;
    }
    fields.set(path, isOn);
    return true;
  }
  const reader = Object.hasOwn(readers, name) ? readers[name] : undefined;
  return value !== null && (reader?.(value, fields) ?? false);
}

const flagPaths: Readonly<Record<string, string>> = {
  interactive: "stdin",
  privileged: "privileged",
  "read-only": "security.readOnlyRootFilesystem",
  tty: "tty",
};

type Reader = (value: string, fields: Map<string, PlainValue>) => boolean;

function added(fields: Map<string, PlainValue>, path: string, item: Item): true {
  const items = fields.get(path);
  fields.set(path, [...(Array.isArray(items) ? items : []), item]);
  return true;
}

function set(fields: Map<string, PlainValue>, path: string, value: PlainValue): true {
  fields.set(path, value);
  return true;
}

/** What says nothing of where a mount leads: others may lay a second folder over the first (`O,upperdir=`). */
const plainMounts = new Set(
  "ro rw z Z bind rbind shared slave private rshared rslave rprivate exec noexec dev nodev suid nosuid".split(" "),
);

/** A folder of the machine as it is written: rules on paths read letters, and `..` leads elsewhere. */
function isPlainPath(path: string): boolean {
  return /^[/~.]/.test(path) && !path.split("/").includes("..");
}

const pullWords: Readonly<Record<string, string>> = { always: "Always", missing: "IfNotPresent", never: "Never" };

const readers: Readonly<Record<string, Reader>> = {
  "cap-add": (value, fields) => {
    const names = value.split(",").map((name) => name.trim().toUpperCase().replace(/^CAP_/, ""));
    const before = fields.get("security.capabilities");
    const all = [...(Array.isArray(before) ? before : []), ...names];
    return (
      names.every((name) => /^[A-Z_]{1,40}$/.test(name)) && set(fields, "security.capabilities", [...new Set(all)])
    );
  },
  "security-opt": (value, fields) => {
    const match = /^(seccomp|no-new-privileges)(?:[=:](.*))?$/.exec(value);
    const rest = match?.[2];
    if (match?.[1] === "seccomp") {
      return rest === "unconfined" && set(fields, "security.seccompProfileType", "Unconfined");
    }
    const isKnown = match !== null && (rest === undefined || rest === "true" || rest === "false");
    return isKnown && set(fields, "security.allowPrivilegeEscalation", rest === "false");
  },
  cpus: (value, fields) => /^\d{1,6}(\.\d{1,6})?$/.test(value) && set(fields, "compute.cpuCoreLimit", Number(value)),
  env: (value, fields) => {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(value);
    const [, name, text] = match ?? [];
    return (
      name !== undefined && added(fields, "environmentVariables", text === undefined ? { name } : { name, value: text })
    );
  },
  "group-add": (value, fields) => {
    const before = fields.get("security.supplementalGroups");
    const all = [...(typeof before === "string" ? before.split(",") : []), value];
    return /^[A-Za-z0-9_.-]+$/.test(value) && set(fields, "security.supplementalGroups", all.join(","));
  },
  ipc: (value, fields) =>
    ["host", "private", "shareable", "none"].includes(value) && set(fields, "security.hostIpc", value === "host"),
  memory: (value, fields) => {
    const bytes = engineBytes(value);
    return bytes !== null && set(fields, "compute.cpuMemoryLimit", bytes);
  },
  mount: readMount,
  network: (value, fields) =>
    ["host", "none", "bridge", "private", "slirp4netns", "pasta"].includes(value) &&
    set(fields, "security.hostNetwork", value === "host"),
  publish: readPublished,
  pull: (value, fields) => {
    const word = Object.hasOwn(pullWords, value) ? pullWords[value] : undefined;
    return word !== undefined && set(fields, "imagePullPolicy", word);
  },
  "shm-size": (_, fields) => set(fields, "compute.largeShmRequest", true),
  tmpfs: (value, fields) => {
    const [path = ""] = value.split(":");
    return path.startsWith("/") && added(fields, "storage.emptyDirVolume", { path, medium: "Memory" });
  },
  user: (value, fields) => {
    const match = /^(\d{1,10}|root)(?::(\d{1,10}|root))?$/.exec(value);
    const [, uid, gid] = match ?? [];
    if (uid === undefined) {
      return false;
    }
    set(fields, "security.runAsUid", uid === "root" ? 0 : Number(uid));
    return gid === undefined || set(fields, "security.runAsGid", gid === "root" ? 0 : Number(gid));
  },
  volume: (value, fields) => {
    const [source = "", mountPath = "", options = "", ...rest] = value.split(":");
    const said = options === "" ? [] : options.split(",");
    const isPlain = rest.length === 0 && said.every((word) => plainMounts.has(word));
    if (!isPlain || !isPlainPath(source) || !mountPath.startsWith("/") || !isPlainPath(mountPath)) {
      return false;
    }
    const isReadOnly = said.includes("ro");
    return added(fields, "storage.hostPath", { path: source, mountPath, ...(isReadOnly ? { readOnly: true } : {}) });
  },
  workdir: (value, fields) => value.startsWith("/") && set(fields, "workingDir", value),
};

const mountNames = new Map([
  ["type", "type"],
  ["source", "source"],
  ["src", "source"],
  ["target", "target"],
  ["destination", "target"],
  ["dst", "target"],
  ["readonly", "readonly"],
  ["ro", "readonly"],
]);

/** `type=bind,source=/a,target=/b,readonly`. Of what is said twice the engines take one or the other: it is not taken. */
function readMount(value: string, fields: Map<string, PlainValue>): boolean {
  const parts = new Map<string, string>();
  for (const part of value.split(",")) {
    const at = part.indexOf("=");
    const name = mountNames.get(at < 0 ? part : part.slice(0, at));
    if (name === undefined || parts.has(name)) {
      return false;
    }
    parts.set(name, at < 0 ? "true" : part.slice(at + 1));
  }
  const { source = "", target = "", readonly = "false" } = Object.fromEntries(parts);
  if (!target.startsWith("/") || !isPlainPath(target)) {
    return false;
  }
  if (parts.get("type") === "tmpfs" && source === "") {
    return added(fields, "storage.emptyDirVolume", { path: target, medium: "Memory" });
  }
  if (parts.get("type") !== "bind" || !isPlainPath(source)) {
    return false;
  }
  const isReadOnly = readonly === "true";
  return added(fields, "storage.hostPath", {
    path: source,
    mountPath: target,
    ...(isReadOnly ? { readOnly: true } : {}),
  });
}

/** `80`, `8080:80`, `127.0.0.1:8080:80`, each with `/tcp` or `/udp`. Ranges are not taken. */
function readPublished(value: string, fields: Map<string, PlainValue>): boolean {
  const match = /^(?:(?:[\d.]+:)?(\d{1,5})?:)?(\d{1,5})(?:\/(?:tcp|udp))?$/.exec(value);
  const [, external, container] = match ?? [];
  return (
    container !== undefined &&
    added(fields, "ports", {
      container: Number(container),
      ...(external === undefined ? {} : { external: Number(external) }),
    })
  );
}

const engineUnits: Readonly<Record<string, bigint>> = { "": 1n, b: 1n, k: 2n ** 10n, m: 2n ** 20n, g: 2n ** 30n };

/** `512m` is 512Mi to the engines. Null: another form. */
function engineBytes(text: string): string | null {
  const match = /^(\d{1,15})([bkmg]?)b?$/i.exec(text);
  const unit = match === null ? undefined : engineUnits[(match[2] ?? "").toLowerCase()];
  return match?.[1] === undefined || unit === undefined
    ? null
    : printQuantity({ digits: BigInt(match[1]) * unit, scale: 0 });
}
